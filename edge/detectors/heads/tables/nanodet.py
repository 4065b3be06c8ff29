"""The heads of NanoDet and NanoDet-Plus: class scores, and distances to the four sides as distributions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.grid import cells, means, rows_of
from edge.detectors.heads.head import Found, Head, Seen, are_shares, sigmoid, suppressed
from edge.detectors.pictures import Steps

NAME, PLUS_NAME = "nanodet", "nanodet-plus"
OFFSETS = {NAME: 0.5, PLUS_NAME: 0.0}  # NanoDet measures from the middle of a cell, NanoDet-Plus from its corner
BINS = 8  # of the published configurations: reg_max 7
IOU_THRESHOLD, LIMIT = 0.6, 100
STEPS = Steps(
    (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), bgr=True, antialias=False, source="as NanoDet does"
)  # fmt: skip


def recognise(seen: Seen) -> list[Head]:
    """Returns the reading of `[1, cells, classes + 4 * bins]`, in either order of its sides."""
    rows = rows_of(seen)
    if rows is None or rows.per_cell != 1:
        return []
    classes = seen.classes if seen.classes is not None else rows.columns - 4 * BINS
    bins, rest = divmod(rows.columns - classes, 4)
    if classes < 1 or rest or bins < 2:
        return []
    scores, distances = rows.values[:, :classes], rows.values[:, classes:]
    asked = seen.asked in OFFSETS
    if seen.asked is not None and not asked:
        return []
    logits = not are_shares(scores)
    # Scores before the sigmoid are told from distances by the number of class names alone.
    if not asked and (are_shares(distances) or (logits and (seen.classes is None or bins != BINS))):
        return []
    name = PLUS_NAME if len(rows.strides) == 4 else NAME
    if seen.asked is not None:
        name = seen.asked
    kind, start = ("logits" if logits else "scores"), ("corner" if name == PLUS_NAME else "middle")
    why = (
        f"{rows.told()}; columns are {classes} class {kind} and 4 distributions of {bins} distances, from the {start} "
        f"of a cell; suppression within a class at IoU {IOU_THRESHOLD:g}"
    )
    read = partial(
        read_rows,
        strides=rows.strides,
        channels_first=rows.channels_first,
        offset=OFFSETS[name],
        classes=classes,
        logits=logits,
        height=seen.height,
        width=seen.width,
    )
    return [Head(name, why, read, STEPS, "pixels")]


def decode(
    rows: np.ndarray, places: np.ndarray, *, classes: int, score_threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns candidates of `[n, classes + 4 * bins]`: (y1, x1, y2, x2) in pixels, scores and classes.

    A distance is the mean of its distribution in strides. `places` is `cells(...)`: the point that the distances to
    the left, upper, right and lower side start from.

    Source: NanoDet, nanodet/model/head/nanodet_plus_head.py, get_bboxes; the middle of a cell is in gfl_head.py.
    """
    near, labels = np.nonzero(rows[:, :classes] >= score_threshold)
    unique, which = np.unique(near, return_inverse=True)
    distances = means(rows[unique, classes:]) * places[unique, 2:]
    x, y = places[unique, 0], places[unique, 1]
    left, upper, right, lower = distances.T
    boxes = np.stack([y - upper, x - left, y + lower, x + right], axis=1)
    return boxes[which], rows[near, labels], labels


def read_rows(
    outputs: Sequence[np.ndarray],
    score_threshold: float,
    *,
    strides: Sequence[int],
    channels_first: bool,
    offset: float,
    classes: int,
    logits: bool,
    height: int,
    width: int,
) -> Found:
    """Reads `[1, cells, classes + 4 * bins]`, or its transpose, from points `offset` of a cell away from its corner."""
    table = outputs[0][0].T if channels_first else outputs[0][0]
    if logits:
        table = np.concatenate([sigmoid(table[:, :classes]), table[:, classes:]], axis=1)
    places = cells(strides, height, width=width, offset=offset)
    boxes, scores, labels = decode(table, places, classes=classes, score_threshold=score_threshold)
    boxes = np.clip(boxes, 0, np.array([height, width, height, width], np.float32))
    return suppressed(boxes, scores, classes=labels, iou_threshold=IOU_THRESHOLD, limit=LIMIT)
