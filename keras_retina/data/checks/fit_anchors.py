"""Anchors fitted to labelled boxes: the size, scales and ratios that overlap the boxes of a split best."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.data.resize import resize_transform
from keras_retina.foundation.errors import InputError, printable
from keras_retina.geometry.boxes import area
from keras_retina.recipe.model import Anchors, Model

POOR_IOU = 0.5  # the paper's threshold for a positive anchor
DIGITS = 3
SEARCHED_BOXES = 5000  # a search over them takes seconds; the result is judged on all boxes
SMALLEST_GAIN = 1e-3  # of mean IoU: not worth another set of anchors
_FIRST_STEP, _LAST_STEP = 0.2, 0.02  # of the logarithms; steps under 2 % raised the mean IoU by less than 0.0005
_LARGE = 0.95  # quantile of the box sides
_OCTAVE = np.log(2)
_Nearest = tuple[np.ndarray, np.ndarray, np.ndarray]


def input_boxes(dataset: Dataset, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns the boxes of a split at the network's input size and their classes, crowd boxes left out.

    Shapes: float32 `[n, 4]` as `[y1, x1, y2, x2]` input pixels, and int32 `[n]`.

    Raises:
        InputError: no box with an area is left.
    """
    size = (model.input.height, model.input.width)
    boxes, classes = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int32)]
    for record in dataset.records:
        scale = resize_transform(record.height, record.width, height=size[0], width=size[1], mode=model.input.resize)
        resized = record.boxes * np.array([*scale, *scale], np.float32)
        kept = ~record.crowd & np.all(resized[:, 2:] > resized[:, :2], axis=1)
        boxes.append(resized[kept])
        classes.append(record.classes[kept])
    joined = np.concatenate(boxes)
    if not len(joined):
        raise InputError(
            f"{printable(dataset.name)}: a split with boxes that are not crowd was expected. "
            f"Received: split={dataset.split!r}, which has none. Label some, or choose another split."
        )
    return joined, np.concatenate(classes)


def best_ious(boxes: np.ndarray, model: Model) -> np.ndarray:
    """Returns the IoU of each box with its best anchor, `[n, 4]` pixels inside the input to float32 `[n]`.

    Equal to the row maxima of `iou(boxes, AnchorGrid(...).boxes())`, at a thousandth of the work: both overlaps, along
    y and along x, only shrink when an anchor moves away, so of all anchors of a shape on a level the nearest is the
    best.
    """
    return _best_ious(_nearest(boxes, model), *_logarithms(model.anchors))


def coverage(ious: np.ndarray, classes: np.ndarray, *, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns boxes, share of boxes under POOR_IOU and mean best IoU of all boxes and, under `classes`, of each class.

    A class without boxes has None for the share and the mean. Shapes: both `[n]`.
    """
    rows = {name: _summary(ious[classes == index]) for index, name in enumerate(class_names)}
    return {**_summary(ious), "classes": rows}


def fit_anchors(boxes: np.ndarray, classes: np.ndarray, model: Model) -> Anchors:
    """Returns anchors of higher mean best IoU than the recipe's, rounded to DIGITS, or the recipe's own.

    The numbers of scales and ratios stay. No class gets more boxes under POOR_IOU than with the recipe's anchors, and
    the smallest scale is 1. The scales stay within an octave, as the next level has twice the sides: spread further
    they would serve the sizes that most boxes have, and leave those in between with a few anchors a box. The sides
    (size x scale) and ratios climb by pattern search on their logarithms, from the recipe's and from the centres of
    1-D k-means. Nothing is random.

    Args:
        boxes: float32 `[n, 4]`, `[y1, x1, y2, x2]` input pixels, every one with an area.
        classes: int32 `[n]`.

    Raises:
        InputError: there are no boxes, or the anchors are those that an imported detector was trained with.

    Source: YOLO9000, section 2 (Dimension Clusters) for k-means; Hooke and Jeeves, Direct Search (1961).
    """
    if not len(boxes):
        raise InputError("at least one box was expected. Received: boxes=[]. Choose a split with boxes.")
    if model.anchors.whole_pixels or model.anchors.clip or model.anchors.offset != 0.5:
        raise InputError(
            "model.anchors: expected anchors in the middle of their cells, not clipped or in whole pixels. Received: "
            f"offset={model.anchors.offset}, whole_pixels={model.anchors.whole_pixels}, clip={model.anchors.clip}, as "
            "imported detectors have them. Keep those of a detector that is trained already."
        )
    few = np.linspace(0, len(boxes) - 1, min(len(boxes), SEARCHED_BOXES)).round().astype(int)
    judge = _Judge(boxes[few], classes[few], model=model)
    starts = (_logarithms(model.anchors), _cluster_centres(boxes[few], model))
    found = [_rounded(*judge.climb(*start)) for start in starts]
    judge = _Judge(boxes, classes, model=model)
    score, best = max(((judge.score(*_logarithms(one)), one) for one in found), key=lambda pair: pair[0])
    excess, mean = judge.score(*_logarithms(model.anchors))
    return best if score >= (excess, mean + SMALLEST_GAIN) else model.anchors


class _Judge:
    """Scores anchors, given as logarithms of sides in strides and of ratios, on boxes `[n, 4]`."""

    def __init__(self, boxes: np.ndarray, classes: np.ndarray, *, model: Model) -> None:
        self.nearest, self.classes = _nearest(boxes, model), classes
        sides, ratios = _logarithms(model.anchors)
        self.poor = np.bincount(classes[_best_ious(self.nearest, sides, ratios=ratios) < POOR_IOU])
        # Twice the side in strides is the same side one level lower, on a grid twice as fine: IoU alone would move
        # everything to the lowest level, whose features do not see so far. Half an octave up is enough to reach every
        # side from some level; more is for boxes larger than the anchors of the last level.
        large = np.quantile(np.sqrt(area(boxes)), _LARGE)
        self.longest = max(sides.max() + _OCTAVE / 2, np.log(large / 2 ** model.pyramid.levels[1]))

    def score(self, sides: np.ndarray, ratios: np.ndarray) -> tuple[int, float]:
        """Returns minus the poor boxes beyond the recipe's, summed over classes, then the mean IoU; more is better."""
        ious = _best_ious(self.nearest, sides, ratios=ratios)
        poor = np.bincount(self.classes[ious < POOR_IOU], minlength=len(self.poor))
        before = np.pad(self.poor, (0, len(poor) - len(self.poor)))
        return -int(np.maximum(poor - before, 0).sum()), float(ious.mean(dtype=np.float64))

    def allowed(self, point: np.ndarray, count: int) -> np.ndarray:
        """Returns the point with its `count` sides not too long, and within an octave less half their even spacing."""
        sides = np.minimum(point[:count], self.longest)
        sides = np.maximum(sides, sides.max() - _OCTAVE * (count - 0.5) / count)
        return np.concatenate([sides, point[count:]])

    def climb(self, sides: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves one value, or all sides or all ratios together or apart, while that helps; then in smaller steps."""
        count, size = len(sides), len(sides) + len(ratios)
        moves = np.zeros((4, size))
        moves[0, :count] = moves[1, count:] = 1
        moves[2, :count], moves[3, count:] = np.linspace(-1, 1, count), np.linspace(-1, 1, len(ratios))
        moves = np.concatenate([moves, np.eye(size), -moves, -np.eye(size)])
        point, step = self.allowed(np.concatenate([sides, ratios]), count), _FIRST_STEP
        best = self.score(point[:count], point[count:])
        while step > _LAST_STEP:
            moved = False
            for move in moves:
                tried = self.allowed(point + step * move, count)
                score = self.score(tried[:count], tried[count:])
                if score > best:
                    point, best, moved = tried, score, True
            step = step if moved else step / 2
        return point[:count], point[count:]


def _nearest(boxes: np.ndarray, model: Model) -> _Nearest:
    """Returns box sides `[2, n]`, distances to the nearest cell centre `[levels, 2, n]`, and strides `[levels]`."""
    first, last = model.pyramid.levels
    strides = 2.0 ** np.arange(first, last + 1)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).T  # [2, n]
    cells = centres / strides[:, None, None]  # [levels, 2, n]
    counts = np.array([[model.input.height], [model.input.width]]) // strides[:, None, None]
    offset = model.anchors.offset
    nearest = np.clip(np.rint(cells - offset), 0, counts - 1) + offset
    distances = np.abs(cells - nearest) * strides[:, None, None]
    return (boxes[:, 2:] - boxes[:, :2]).T.astype(np.float32), distances.astype(np.float32), strides


def _best_ious(nearest: _Nearest, sides: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """`best_ious` of what `_nearest` returns and of what `_logarithms` returns."""
    lengths, distances, strides = nearest
    logs = [(side + ratio / 2, side - ratio / 2) for side in sides for ratio in ratios]
    shapes = np.exp(logs)[:, :, None].astype(np.float32)  # [shapes, 2, 1]: height and width in strides
    best = np.zeros(lengths.shape[1], np.float32)
    for stride, distance in zip(strides.astype(np.float32), distances, strict=True):
        anchors = stride * shapes
        overlaps = np.minimum(np.minimum(lengths, anchors), (lengths + anchors) / 2 - distance)  # [shapes, 2, n]
        np.maximum(overlaps, 0, out=overlaps)
        shared = overlaps[:, 0] * overlaps[:, 1]
        ious = shared / (lengths[0] * lengths[1] + anchors[:, 0] * anchors[:, 1] - shared)
        np.maximum(best, ious.max(axis=0), out=best)
    return best


def _logarithms(anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logarithms of the sides in strides `[scales]` and of the ratios `[ratios]`."""
    return np.log(anchors.size * np.array(anchors.scales)), np.log(anchors.ratios)


def _rounded(sides: np.ndarray, ratios: np.ndarray) -> Anchors:
    lengths = np.exp(np.sort(sides))
    size, *scales = (_round(value) for value in (lengths[0], *lengths / lengths[0]))
    return Anchors(size=size, scales=tuple(scales), ratios=tuple(_round(value) for value in np.exp(np.sort(ratios))))


def _round(value: float) -> float:
    return max(round(float(value), DIGITS), 10.0**-DIGITS)  # a recipe's numbers are above 0


def _cluster_centres(boxes: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns k-means centres of the boxes' sides in strides and of their ratios, both as logarithms."""
    heights, widths = np.log((boxes[:, 2:] - boxes[:, :2]).astype(np.float64)).T
    sides, own = (heights + widths) / 2, _logarithms(model.anchors)[0].min()
    level = np.clip(np.floor((sides - own) / _OCTAVE), *model.pyramid.levels)  # the last one whose anchors are smaller
    folded = sides - level * _OCTAVE
    return _k_means(folded, len(model.anchors.scales)), _k_means(heights - widths, len(model.anchors.ratios))


def _k_means(values: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` centres of `[n]` numbers, from quantiles on; a centre nearest to no number stays."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(50):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        filled = [values[nearest == index].mean() if np.any(nearest == index) else c for index, c in enumerate(centres)]
        if np.array_equal(filled, centres):
            break
        centres = np.array(filled)
    return centres


def _summary(ious: np.ndarray) -> dict[str, Any]:
    poor, mean = (float(np.mean(ious < POOR_IOU)), float(ious.mean(dtype=np.float64))) if len(ious) else (None, None)
    return {"boxes": len(ious), "poor_share": poor, "mean_iou": mean}
