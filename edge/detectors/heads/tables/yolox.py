"""The head of YOLOX: boxes on the cells of a grid, decoded in the file or left to the reader."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.grid import Rows, cells, rows_of, units_on_grid
from edge.detectors.heads.head import Found, Head, Seen, are_shares, centres_to_yxyx, in_pixels, suppressed
from edge.detectors.heads.tables.yolo import has_no_objectness
from edge.detectors.pictures import Steps

NAME, GRID_NAME = "yolox", "yolox-grid"
IOU_THRESHOLD, LIMIT = 0.65, 300
STEPS = Steps((0.0,), (1.0,), bgr=True, resize="letterbox-grey", antialias=False, source="as YOLOX does")


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of `[1, cells, 5 + classes]`: boxes as they are, or still to be decoded on the grid."""
    rows = rows_of(seen)
    if rows is None or rows.per_cell != 1 or rows.channels_first or not seen.fits_classes(rows.columns - 5):
        return []
    units = units_on_grid(rows, seen.height, width=seen.width)
    name = GRID_NAME if units is None else NAME
    if seen.asked is None and (has_no_objectness(rows) or not are_shares(rows.values[:, 4:])):
        return []
    if seen.asked is not None:
        if seen.asked not in (NAME, GRID_NAME):
            return []
        name = seen.asked
    units = seen.units or units or "pixels"
    boxes = "boxes decoded in the file" if name == NAME else f"boxes of cells: {_steps_of_grid(rows)}"
    why = (
        f"{rows.told()}; {boxes}, an objectness and {rows.columns - 5} class scores; the best class of a row, "
        f"suppression within a class at IoU {IOU_THRESHOLD:g}"
    )
    read = partial(
        read_rows,
        strides=rows.strides if name == GRID_NAME else (),
        units=units,
        height=seen.height,
        width=seen.width,
    )
    return [Head(name, why, read, STEPS, units if name == NAME else "pixels")]


def decode_grid(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns `[n, 4]` x centre, y centre, width, height in pixels of `[n, 4]` as the network gives them.

    `places` is `cells(...)` with offset 0: (value + cell) * stride for the centre, exp(value) * stride for the size.

    Source: YOLOX, yolox/models/yolo_head.py, decode_outputs.
    """
    stride = places[:, 2:]
    with np.errstate(over="ignore"):
        return np.concatenate([rows[:, :2] * stride + places[:, :2], np.exp(rows[:, 2:4]) * stride], axis=1)


def decode(rows: np.ndarray, score_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns candidates of decoded `[n, 5 + classes]`: the best class of each row, its score times the objectness.

    Source: YOLOX, yolox/utils/boxes.py, postprocess.
    """
    classes = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
    kept = scores >= score_threshold
    return centres_to_yxyx(rows[kept, :4]), scores[kept], classes[kept]


def read_rows(
    outputs: Sequence[np.ndarray],
    score_threshold: float,
    *,
    strides: Sequence[int],
    units: str,
    height: int,
    width: int,
) -> Found:
    """Reads boxes that are decoded, or, where `strides` are given, on the cells of these."""
    table = outputs[0][0]
    if strides:
        places = cells(strides, height, width=width, offset=0.0)
        table = np.concatenate([decode_grid(table[:, :4], places), table[:, 4:]], axis=1)
    boxes, scores, classes = decode(table, score_threshold)
    boxes = in_pixels(boxes, units, height=height, width=width)
    return suppressed(boxes, scores, classes=classes, iou_threshold=IOU_THRESHOLD, limit=LIMIT)


def _steps_of_grid(rows: Rows) -> str:
    return f"(value + cell) * stride, exp(value) * stride, strides {', '.join(map(str, rows.strides))}"
