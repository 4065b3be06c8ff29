"""Do two pictures that look alike also show the same objects? A second look, inside their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_retina.data.fingerprints import on_all_cores
from keras_retina.data.images import grey_image, image_bytes
from keras_retina.data.records import Record

PATCH = 8  # cells along each side of a box
# Measured on up to 80 images of each of eight sets: in every set 99 % of the boxes differ by at most 4.8 levels from a
# copy at JPEG quality 30 or of half the size, and 99 % by at least 9.2 from another place of the same picture, as if
# the object had gone from there. Of a scene that was focused again, one box of 32 differs by more than 7.1.
PATCH_DIFFERENCE = 8.0  # mean over the cells, of 255; above it a box shows something else
MOST_CHANGED = 0.1  # of the boxes of two copies may seem to show something else
MOST_BOXES = 16  # of an image, evenly over its labels
_TOGETHER = 64  # images whose boxes are cut out of another at a time
_LEAST_AREA = 1e-3  # pixels; the sums are not exact enough for less
LEAST_SIDE = 240  # pixels of the shorter side that is looked at


def same_inside(records: Sequence[Record], pairs: np.ndarray) -> np.ndarray:
    """Tells for each pair of images whether the boxes of either show the same in both, bool `[pairs]`.

    A box of one image is compared with the same place in the other, relative to its size. Images without boxes have
    nothing that could differ. Every image is decoded twice, however many pairs it is in; no image is kept.

    Args:
        pairs: int `[pairs, 2]`, indices of `records`.
    """
    if not len(pairs):
        return np.zeros(0, bool)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.argsort(both_ways[:, 0], kind="stable")
    images, starts = np.unique(both_ways[order, 0], return_index=True)
    neighbours = dict(zip(images.tolist(), np.split(both_ways[order, 1], starts[1:]), strict=True))
    boxes = {index: _relative_boxes(records[index]) for index in neighbours}

    def own(index: int) -> np.ndarray:
        return np.rint(patches(_sums(records[index]), boxes[index])).astype(np.uint8)

    shown = dict(zip(boxes, on_all_cores(own, list(boxes), title="images that look alike"), strict=True))

    def changed(index: int) -> list[int]:
        """For each neighbour, how many of its boxes show something else here."""
        sums, around, numbers = _sums(records[index]), neighbours[index].tolist(), []
        for start in range(0, len(around), _TOGETHER):
            part = around[start : start + _TOGETHER]
            here = patches(sums, np.concatenate([boxes[other] for other in part]))
            there = np.concatenate([shown[other] for other in part])
            differs = np.abs(here - there).mean(axis=(1, 2)) > PATCH_DIFFERENCE
            owners = np.repeat(np.arange(len(part)), [len(boxes[other]) for other in part])
            numbers += np.bincount(owners[differs], minlength=len(part)).tolist()
        return numbers

    counts = np.zeros(len(both_ways), np.int64)
    results = on_all_cores(changed, list(boxes), title="objects of images that look alike")
    counts[order] = [number for numbers in results for number in numbers]
    differing = counts[: len(pairs)] + counts[len(pairs) :]
    totals = np.array([len(boxes[first]) + len(boxes[second]) for first, second in pairs.tolist()], np.int64)
    return differing <= MOST_CHANGED * totals


def summed(grey: np.ndarray) -> np.ndarray:
    """Returns the sum of all pixels above and left of each corner of a pixel.

    Shapes: uint8 `[height, width]` to unsigned integers `[height + 1, width + 1]`.
    """
    kind = np.uint32 if grey.size < 2**24 else np.uint64  # half the bytes, a tenth of the time
    sums = np.zeros((grey.shape[0] + 1, grey.shape[1] + 1), kind)
    grey.cumsum(axis=1, dtype=kind).cumsum(axis=0, dtype=kind, out=sums[1:, 1:])
    return sums


def patches(sums: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the mean level of each cell of each box, float32 `[boxes, PATCH, PATCH]`.

    Args:
        sums: as `summed` returns them.
        boxes: float `[boxes, 4]`, `[y1, x1, y2, x2]` in 0..1 of the image.
    """
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    steps = np.linspace(0, 1, PATCH + 1)
    y1, x1, y2, x2 = boxes.T[..., None] * np.array([height, width, height, width])[:, None, None]  # [boxes, 1] each
    ys, xs = y1 + (y2 - y1) * steps, x1 + (x2 - x1) * steps  # [boxes, PATCH + 1]
    corners = _between(sums, ys, xs=xs)
    totals = np.diff(np.diff(corners, axis=1), axis=2)
    areas = np.diff(ys, axis=1)[:, :, None] * np.diff(xs, axis=1)[:, None, :]
    return (totals / np.maximum(areas, _LEAST_AREA)).astype(np.float32)


def _between(sums: np.ndarray, ys: np.ndarray, *, xs: np.ndarray) -> np.ndarray:
    """Returns the sum of all pixels above and left of each point, parts of pixels too, `[boxes, PATCH + 1] * 2`."""
    top, left = (np.clip(np.floor(v).astype(int), 0, n - 2) for v, n in ((ys, sums.shape[0]), (xs, sums.shape[1])))
    down, right = (ys - top)[:, :, None], (xs - left)[:, None, :]
    top, left = top[:, :, None], left[:, None, :]
    upper = sums[top, left] * (1 - right) + sums[top, left + 1] * right
    lower = sums[top + 1, left] * (1 - right) + sums[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def _relative_boxes(record: Record) -> np.ndarray:
    """Returns at most MOST_BOXES boxes, float64 `[n, 4]` in 0..1 of the image."""
    few = np.linspace(0, len(record.boxes) - 1, min(len(record.boxes), MOST_BOXES)).round().astype(int)
    return record.boxes[few].astype(np.float64) / (record.height, record.width, record.height, record.width)


def _sums(record: Record) -> np.ndarray:
    return summed(grey_image(image_bytes(record.path), record.path, least=LEAST_SIDE)[0])
