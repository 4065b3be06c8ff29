"""Boxes, ready decoded, and scores as outputs of their own, which int8 files have so that each gets its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.detectors.heads.grid import Rows, strides_of, units_on_grid
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
from edge.detectors.heads.tables import yolo
from edge.detectors.pictures import Steps

NAME, BEST_NAME = "yolo-parts", "yolo-best"
IOU_THRESHOLD = yolo.IOU_THRESHOLDS[yolo.YOLOV8]
BEST_STEPS = Steps(
    (0.0,), (255.0,), resize="letterbox-centre", antialias=False, fill=0, source="as Qualcomm AI Hub does"
)


@dataclass(frozen=True)
class Boxes:
    """The output with the boxes: its place, its rows on noise, and how they become (y1, x1, y2, x2) in pixels."""

    place: int
    rows: Rows
    units: str
    corners: bool
    height: int
    width: int

    def told(self) -> str:
        kind = "x1, y1, x2, y2" if self.corners else "x, y, width, height"
        return f"{self.rows.told()}; boxes are {kind} in {self.units}"

    def read(self, outputs: Sequence[np.ndarray], kept: np.ndarray) -> np.ndarray:
        """Returns `[n, 4]` (y1, x1, y2, x2) in pixels of the input, of the rows that are kept."""
        table = outputs[self.place][0].T if self.rows.channels_first else outputs[self.place][0]
        change = xyxy_to_yxyx if self.corners else centres_to_yxyx
        return in_pixels(change(table[kept]), self.units, height=self.height, width=self.width)


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of two outputs, boxes and class scores, or of three: boxes, best score and its class."""
    recognise_parts = {2: _boxes_and_scores, 3: _boxes_and_best}.get(len(seen.outputs))
    if recognise_parts is None or any(output.shape[:1] != [1] for output in seen.outputs):
        return []
    # With four classes the scores are as wide as the boxes, but they do not lie on the cells.
    found = [recognise_parts(seen, boxes) for place in range(len(seen.outputs)) for boxes in _boxes(seen, place)]
    return [head for head in found if head is not None]


def _boxes(seen: Seen, place: int) -> list[Boxes]:
    """Returns the boxes on their cells that an output has, none where it holds something else."""
    values = seen.outputs[place].values[0]
    for channels_first, table in ((False, values), (True, values.T)):
        if table.ndim != 2 or table.shape[1] != 4:
            continue
        grid = strides_of(len(table), seen.height, width=seen.width)
        if grid is None:
            continue
        rows = Rows(table, *grid, channels_first)
        units = units_on_grid(rows, seen.height, width=seen.width)
        if units is not None:
            # A width is as large as its centre's x only where a box is as large as the picture.
            corners = bool((table[:, 2:] >= table[:, :2]).mean() > 0.95)
            return [Boxes(place, rows, seen.units or units, corners, seen.height, seen.width)]
    return []


def _boxes_and_scores(seen: Seen, boxes: Boxes) -> Head | None:
    scores = _rows_first(seen.outputs[1 - boxes.place].values, len(boxes.rows.values))
    if scores is None or not are_shares(scores) or not seen.allows(NAME) or not seen.fits_classes(scores.shape[1]):
        return None
    why = (
        f"{boxes.told()}, and {scores.shape[1]} class scores stand apart; suppression within a class at IoU "
        f"{IOU_THRESHOLD:g}"
    )
    return Head(NAME, why, partial(_read_scores, boxes=boxes), yolo.STEPS, boxes.units)


def _boxes_and_best(seen: Seen, boxes: Boxes) -> Head | None:
    places = [place for place in range(3) if place != boxes.place]
    columns = [seen.outputs[place].values.reshape(-1) for place in places]
    if not seen.allows(BEST_NAME) or any(len(column) != len(boxes.rows.values) for column in columns):
        return None
    # Scores are no whole numbers throughout, so that classes are known by it; but int8 may round all scores of noise
    # to 0, and then only a name tells.
    are_classes = [bool((column == np.round(column)).all()) for column in columns]
    if all(are_classes):
        are_classes = ["class" in seen.outputs[place].name.lower() for place in places]
    if sum(are_classes) != 1 or not are_shares(columns[are_classes.index(False)]):
        return None
    why = (
        f"{boxes.told()}, with the best score of each row and its class; suppression within a class at IoU "
        f"{IOU_THRESHOLD:g}"
    )
    scores, classes = places[are_classes.index(False)], places[are_classes.index(True)]
    read = partial(_read_best, boxes=boxes, scores_place=scores, classes_place=classes)
    return Head(BEST_NAME, why, read, BEST_STEPS, boxes.units)


def _rows_first(output: np.ndarray, rows: int) -> np.ndarray | None:
    """Returns an output as `[rows, columns]`, whichever side is first in the file; None where it does not fit."""
    values = output[0]
    if values.ndim == 1:
        values = values[:, None]
    fitting = [table for table in (values, values.T) if table.ndim == 2 and len(table) == rows]
    return fitting[0] if fitting else None


def _read_scores(outputs: Sequence[np.ndarray], score_threshold: float, *, boxes: Boxes) -> Found:
    """Every class of a row that reaches the score is a candidate of its own, as in YOLOv8's own validation."""
    scores = _rows_first(outputs[1 - boxes.place], len(boxes.rows.values))
    if scores is None:
        raise ValueError(
            f"expected scores of {len(boxes.rows.values)} rows. Received: {outputs[1 - boxes.place].shape}."
        )
    kept, classes = np.nonzero(scores >= score_threshold)
    return _suppressed(boxes.read(outputs, kept), scores[kept, classes], classes=classes)


def _read_best(
    outputs: Sequence[np.ndarray], score_threshold: float, *, boxes: Boxes, scores_place: int, classes_place: int
) -> Found:
    """Source: qai_hub_models, models/_shared/yolo/model.py, yolo_detect_postprocess."""
    scores, classes = outputs[scores_place].reshape(-1), outputs[classes_place].reshape(-1)
    kept = np.flatnonzero(scores >= score_threshold)
    return _suppressed(boxes.read(outputs, kept), scores[kept], classes=classes[kept])


def _suppressed(boxes: np.ndarray, scores: np.ndarray, *, classes: np.ndarray) -> Found:
    return suppressed(boxes, scores, classes=classes, iou_threshold=IOU_THRESHOLD, limit=yolo.LIMIT)
