"""Anchor coverage: which labelled boxes no anchor comes near to, so that training hardly sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.checks.fit_anchors import POOR_IOU, best_ious
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import ResizeMode, resize_image, resize_transform
from keras_retina.foundation.drawing import draw_boxes
from keras_retina.geometry.boxes import iou
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Model

WORST_KEPT = 24
_TILE = 240  # pixels
_BOX_COLOUR, _ANCHOR_COLOUR = (46, 204, 113), (255, 60, 60)


@dataclass(frozen=True)
class CoveredBox:
    """A labelled box, the anchor nearest to it (both `[4]`, `[y1, x1, y2, x2]` input pixels) and their IoU."""

    record: Record
    class_name: str
    box: np.ndarray
    anchor: np.ndarray
    iou: float


@dataclass(frozen=True)
class AnchorCoverage:
    """Coverage of one split at one input size, crowd boxes left out.

    Attributes:
        boxes: class name -> number of boxes.
        poor: class name -> number of boxes whose best anchor IoU is under POOR_IOU.
        worst: the boxes of lowest best IoU, lowest first, at most WORST_KEPT.
    """

    boxes: dict[str, int]
    poor: dict[str, int]
    worst: tuple[CoveredBox, ...]

    def poor_share(self, class_name: str | None = None) -> float:
        """Returns the share of poorly covered boxes, 0..1, of one class or of all; 0 without boxes."""
        names = list(self.boxes) if class_name is None else [class_name]
        total = sum(self.boxes[name] for name in names)
        return sum(self.poor[name] for name in names) / total if total else 0.0


def anchor_coverage(dataset: Dataset, model: Model) -> AnchorCoverage:
    """Finds for each box of a split the IoU with its best anchor at the network's input size."""
    size, resize = (model.input.height, model.input.width), model.input.resize
    boxes, classes, owners = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for number, record in enumerate(dataset.records):
        scale = resize_transform(record.height, record.width, height=size[0], width=size[1], mode=resize)
        boxes.append((record.boxes * np.array([*scale, *scale], np.float32))[~record.crowd])
        classes.append(record.classes[~record.crowd])
        owners.append(np.full(len(boxes[-1]), number))
    joined, indices = np.concatenate(boxes), np.concatenate(classes)
    ious = best_ious(joined, model)
    counts, poor = (np.bincount(one, minlength=len(dataset.class_names)) for one in (indices, indices[ious < POOR_IOU]))
    worst = np.argsort(ious, kind="stable")[:WORST_KEPT]
    anchors = detector_spec(model, ()).anchors() if len(worst) else np.zeros((0, 4), np.float32)
    owner = np.concatenate(owners)
    return AnchorCoverage(
        dict(zip(dataset.class_names, counts.tolist(), strict=True)),
        dict(zip(dataset.class_names, poor.tolist(), strict=True)),
        tuple(
            CoveredBox(
                dataset.records[owner[index]],
                dataset.class_names[indices[index]],
                joined[index],
                anchors[iou(joined[index : index + 1], anchors)[0].argmax()],
                float(ious[index]),
            )
            for index in worst
        ),
    )


def write_worst_coverage_picture(
    path: str | Path, worst: Sequence[CoveredBox], *, height: int, width: int, resize: ResizeMode
) -> None:
    """Writes a picture of the worst covered boxes: each box in green, its best anchor in red, class and IoU as text.

    Args:
        path: of the image file; the suffix gives the format.
        height, width, resize: the network input that the boxes are in.
    """
    columns = min(6, max(1, len(worst)))
    rows = max(1, -(-len(worst) // columns))
    sheet = np.full((rows * _TILE, columns * _TILE, 3), 255, np.uint8)
    for index, item in enumerate(worst):
        row, column = divmod(index, columns)
        tile = _tile(item, resize_image(read_image(item.record.path), height, width=width, mode=resize))
        sheet[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE] = tile
    Image.fromarray(sheet).save(path)


def _tile(item: CoveredBox, image: np.ndarray) -> np.ndarray:
    """Cuts out the box and its anchor with a margin, enlarged to `[_TILE, _TILE, 3]`; outside the image it is black."""
    both = np.stack([item.box, item.anchor])
    top_left, bottom_right = both[:, :2].min(axis=0), both[:, 2:].max(axis=0)
    side = float((bottom_right - top_left).max()) * 1.3 + 8
    y, x = (top_left + bottom_right) / 2 - side / 2
    picture = Image.fromarray(image).transform(
        (_TILE, _TILE), Image.Transform.EXTENT, (x, y, x + side, y + side), Image.Resampling.BILINEAR
    )
    # The anchor first, so that it never covers the text of the box.
    boxes = (both[::-1] - np.array([y, x, y, x])) * (_TILE / side)
    labels = ["", f"{item.class_name[:16]} {item.iou:.2f}"]
    tile = draw_boxes(
        np.asarray(picture), boxes, labels=labels, colours=[_ANCHOR_COLOUR, _BOX_COLOUR], line_width=2, font_size=13
    )
    tile[:, -1] = tile[-1] = 255  # a line between tiles
    return tile
