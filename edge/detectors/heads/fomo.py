"""The head of FOMO, by Edge Impulse: a grid that says for each cell which object has its centre there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.head import Found, Head, Seen
from edge.detectors.pictures import Steps

NAME = "fomo"
LEAST_SCORE = 0.5  # Edge Impulse's own; lower, and neighbouring cells melt into one object
STRIDES = (2, 4, 8, 16, 32)
STEPS = Steps((0.0,), (255.0,), resize="crop", source="as Edge Impulse does")


def recognise(seen: Seen) -> list[Head]:
    """Returns the reading of `[1, rows, columns, 1 + classes]`, the first channel of which is background."""
    if len(seen.outputs) != 1 or len(seen.outputs[0].shape) != 4 or not seen.allows(NAME):
        return []
    batch, rows, columns, channels = seen.outputs[0].shape
    stride = seen.width // max(columns, 1)
    if batch != 1 or stride not in STRIDES or seen.height // rows != stride or not seen.fits_classes(channels - 1):
        return []
    sums = seen.outputs[0].values.sum(axis=3)
    if seen.asked is None and (seen.outputs[0].values.min() < -0.01 or np.abs(sums - 1).max() > 0.05):
        return []
    why = (
        f"a grid of {rows} x {columns} cells of {stride} pixels, background and {channels - 1} class scores, sum 1; "
        f"neighbouring cells of score {LEAST_SCORE:g} and more are one object: the boxes show where, not how large"
    )
    return [Head(NAME, why, partial(_read, stride=stride), STEPS, "pixels")]


def decode(grid: np.ndarray, score_threshold: float, *, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (y1, x1, y2, x2) in pixels, scores and classes of `[rows, columns, 1 + classes]`.

    Cells join the first object of their class that they touch, and an object that touches an earlier one goes, as in
    the original: it does not get wider to the left.

    Source: Edge Impulse's inferencing SDK, ei_fill_result_struct.h: ei_handle_cube, fill_result_struct_from_cubes.
    """
    objects: list[list[float]] = []  # y, x, height, width, score, class
    for y, x in np.argwhere((grid[..., 1:] >= score_threshold).any(axis=2)).tolist():
        for label in np.flatnonzero(grid[y, x, 1:] >= score_threshold).tolist():
            cell = [y, x, 1, 1, float(grid[y, x, 1 + label]), label]
            if not any(_joined(one, cell) for one in objects if one[5] == label):
                objects.append(cell)
    kept: list[list[float]] = []
    told: list[list[float]] = []
    for one in objects:
        if not any(_joined(other, one) for other in kept if other[5] == one[5]):
            kept.append(one)
            told.append(list(one))
    table = np.array(told, np.float32).reshape(-1, 6)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1) * stride
    return boxes, table[:, 4], table[:, 5].astype(np.int64)


def _joined(one: list[float], cell: list[float]) -> bool:
    """Grows an object around a cell that touches it; returns whether it does."""
    y, x, height, width, score, _ = cell
    if one[1] + one[3] < x or one[0] + one[2] < y or one[1] > x + width or one[0] > y + height:
        return False
    one[1], one[0] = min(one[1], x), min(one[0], y)
    one[3] = max(one[3], x + width - one[1])
    one[2] = max(one[2], y + height - one[0])
    one[4] = max(one[4], score)
    return True


def _read(outputs: Sequence[np.ndarray], score_threshold: float, *, stride: int) -> Found:
    boxes, scores, classes = decode(outputs[0][0], max(score_threshold, LEAST_SCORE), stride=stride)
    order = np.argsort(-scores, kind="stable")
    return Found(boxes[order], scores[order], classes[order].astype(np.int32))
