"""One table of YOLO: v8 and 11, v5 and its kind, v6, and those with suppression inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.grid import Rows, rows_of, units_on_grid
from edge.detectors.heads.head import (
    Found,
    Head,
    Seen,
    are_shares,
    centres_to_yxyx,
    in_pixels,
    suppressed,
    xyxy_to_yxyx,
)
from edge.detectors.pictures import Steps

YOLOV8, YOLOV5, YOLOV6, YOLO_NMS = "yolov8", "yolov5", "yolov6", "yolo-nms"
IOU_THRESHOLDS = {YOLOV8: 0.7, YOLOV5: 0.6, YOLOV6: 0.65}  # of each one's own validation
LIMIT = 300
Decode = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray, np.ndarray]]
STEPS = Steps((0.0,), (255.0,), resize="letterbox-centre", antialias=False, source="as Ultralytics does")


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of one output as YOLO boxes, none where it is something else."""
    rows = rows_of(seen)
    if rows is None or units_on_grid(rows, seen.height, width=seen.width) is None:
        suppressed_inside = _with_suppression(seen)  # 300 rows are the cells of some inputs too
        if suppressed_inside or rows is None:
            return suppressed_inside
    found = []
    for name, first, per_cell in ((YOLOV8, 4, 1), (YOLOV5, 5, 3), (YOLOV6, 5, 1)):
        classes = rows.columns - first
        if not seen.allows(name) or not seen.fits_classes(classes):
            continue
        if seen.asked is None and (rows.per_cell, has_no_objectness(rows)) != (per_cell, name == YOLOV6):
            continue
        on_grid = units_on_grid(rows, seen.height, width=seen.width)
        if seen.asked is None and (on_grid is None or not are_shares(rows.values[:, 4:])):
            continue
        units = seen.units or on_grid or "shares"
        read = partial(
            read_rows,
            decode=decode_yolov8 if name == YOLOV8 else decode_yolov5,
            iou_threshold=IOU_THRESHOLDS[name],
            channels_first=rows.channels_first,
            units=units,
            height=seen.height,
            width=seen.width,
        )
        found.append(Head(name, _why(name, rows, classes, units=units), read, STEPS, units))
    return found


def has_no_objectness(rows: Rows) -> bool:
    """Whether the fifth column is 1 everywhere: YOLOv6 writes it so that the code for YOLOv5 reads its tables."""
    return bool((np.abs(rows.values[:, 4] - 1) < 0.01).all())


def decode_yolov8(rows: np.ndarray, score_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns candidates of `[n, 4 + classes]`: x centre, y centre, width, height, and a score for each class.

    Every class of a row that reaches the score is a candidate of its own.

    Source: ultralytics/utils/nms.py, non_max_suppression with multi_label, as in its validation.
    """
    places, classes = np.nonzero(rows[:, 4:] >= score_threshold)
    return centres_to_yxyx(rows[places, :4]), rows[places, 4 + classes], classes


def decode_yolov5(rows: np.ndarray, score_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns candidates of `[n, 5 + classes]`: the box as in YOLOv8, how likely an object, and classes; both multiply.

    Source: yolov5/utils/general.py, non_max_suppression with multi_label, as in its validation.
    """
    likely = rows[rows[:, 4] >= score_threshold]
    scores = likely[:, 5:] * likely[:, 4:5]
    places, classes = np.nonzero(scores >= score_threshold)
    return centres_to_yxyx(likely[places, :4]), scores[places, classes], classes


def decode_suppressed(rows: np.ndarray, score_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what is in `[n, 6]`: x1, y1, x2, y2, score and class; rows that were not filled have a score of 0."""
    kept = rows[(rows[:, 4] >= score_threshold) & (rows[:, 4] > 0)]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")]
    return xyxy_to_yxyx(kept[:, :4]), kept[:, 4], np.round(kept[:, 5])


def read_rows(
    outputs: Sequence[np.ndarray],
    score_threshold: float,
    *,
    decode: Decode,
    iou_threshold: float,
    channels_first: bool,
    units: str,
    height: int,
    width: int,
) -> Found:
    """Reads `[1, n, 4 + classes]` or `[1, n, 5 + classes]`, of which `decode` makes candidates."""
    table = outputs[0][0].T if channels_first else outputs[0][0]
    boxes, scores, classes = decode(table, score_threshold)
    boxes = in_pixels(boxes, units, height=height, width=width)
    return suppressed(boxes, scores, classes=classes, iou_threshold=iou_threshold, limit=LIMIT)


def _with_suppression(seen: Seen) -> list[Head]:
    if len(seen.outputs) != 1 or not seen.allows(YOLO_NMS):
        return []
    values = seen.outputs[0].values
    if values.ndim != 3 or values.shape[0] != 1 or values.shape[2] != 6:
        return []
    scores, classes = values[0, :, 4], values[0, :, 5]
    if seen.asked is None and not (
        are_shares(scores) and (classes >= 0).all() and (classes == np.round(classes)).all()
    ):
        return []
    units, reason = seen.units, "as given"
    if units is None:
        filled = values[0, scores > 0, :4]
        units = "pixels" if filled.size and np.abs(filled).max() > 2 else "shares"
        reason = "by their size" if filled.size else "assumed: noise shows no box; --box-units says otherwise"
    why = f"{values.shape[1]} rows of x1, y1, x2, y2, score, class: suppression is inside; boxes in {units}, {reason}"
    read = partial(_read_suppressed, units=units, height=seen.height, width=seen.width)
    return [Head(YOLO_NMS, why, read, STEPS, units)]


def _read_suppressed(
    outputs: Sequence[np.ndarray], score_threshold: float, *, units: str, height: int, width: int
) -> Found:
    boxes, scores, classes = decode_suppressed(outputs[0][0], score_threshold)
    return Found(in_pixels(boxes, units, height=height, width=width), scores, classes.astype(np.int32))


def _why(name: str, rows: Rows, classes: int, *, units: str) -> str:
    extra = {YOLOV5: "an objectness and ", YOLOV6: "an objectness, which YOLOv6 writes as 1, and "}.get(name, "")
    return (
        f"{rows.told()}; columns are 4 of a box on its cell, in {units}, {extra}{classes} class scores; suppression "
        f"within a class at IoU {IOU_THRESHOLDS[name]:g}"
    )
