"""Maps of YOLOv6, YOLOv8 and YOLO11: how far the sides of a box are from the middle of its cell, and class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.detectors.heads.grid import means
from edge.detectors.heads.head import Head, Seen, are_shares, sigmoid
from edge.detectors.heads.levels.maps import Pyramid, Reading, are_sums, arranged, read_joined, sureness
from edge.detectors.heads.tables import yolo

YOLOV6, YOLOV8 = "yolov6-levels", "yolov8-levels"


@dataclass(frozen=True)
class Form:
    """How distances are written: `bins` of a distribution for each, whose mean they are; 1 is the distance itself."""

    name: str
    bins: int
    iou_threshold: float

    @property
    def box(self) -> int:
        return 4 * self.bins

    def told(self) -> str:
        return "4 distances" if self.bins == 1 else f"4 distributions of {self.bins} distances"


V6, V6_DISTRIBUTIONS = (Form(YOLOV6, bins, yolo.IOU_THRESHOLDS[yolo.YOLOV6]) for bins in (1, 17))
V8 = Form(YOLOV8, 16, yolo.IOU_THRESHOLDS[yolo.YOLOV8])


def recognise(seen: Seen, pyramid: Pyramid, *, values: Sequence[np.ndarray]) -> list[Reading]:
    """Returns the readings as distances and scores, each with how sure it is (`levels.recognise`)."""
    if pyramid.has_anchors:
        return []
    found = [_reading(seen, pyramid, values=values, form=form) for form in (V6, V6_DISTRIBUTIONS, V8)]
    return [reading for reading in found if reading is not None]


def distances_table(table: np.ndarray, places: np.ndarray, *, bins: int, classes: int, logits: bool) -> np.ndarray:
    """Returns `[n, 4 + classes]`, as YOLOv8 joins them in the file, of `[n, 4 * bins + classes]`.

    Distances from the middle of a cell to its left, upper, right and lower side are in strides. `places` is
    `cells(...)` with offset 0.5.

    Source: ultralytics/nn/modules/head.py, Detect; ultralytics/utils/tal.py, dist2bbox; YOLOv6,
    yolov6/models/effidehead.py, Detect.
    """
    box = 4 * bins
    distances = (table[:, :4] if bins == 1 else means(table[:, :box])) * places[:, 2:]
    near, far = distances[:, :2], distances[:, 2:]
    scores = table[:, box : box + classes]
    return np.concatenate([places[:, :2] + (far - near) / 2, near + far, sigmoid(scores) if logits else scores], axis=1)


def _reading(seen: Seen, pyramid: Pyramid, *, values: Sequence[np.ndarray], form: Form) -> Reading | None:
    """Rockchip's export also has the sum of the scores of each cell, at most 1, to skip cells by: a third map."""
    maps = len(pyramid.levels[0])
    classes = sum(pyramid.channels) - form.box - (maps == 3)
    if maps > 3 or not seen.allows(form.name) or not seen.fits_classes(classes) or (maps == 1 and form is not V8):
        return None
    found = arranged(pyramid, values, widths=(form.box, classes, 1)[: max(maps, 2)], scores=1)
    if found is None:
        return None
    table = found.table(values)
    scores = table[:, form.box : form.box + classes]
    logits = not are_shares(scores)
    # A map of key points, which a network of poses has, is no sum of scores.
    if maps == 3 and not are_sums(scores, table[:, -1]):
        return None
    if form is V6 and logits and seen.asked is None:
        return None  # four channels and some more are too little to go by; YOLOv6 has its sigmoid in the file
    why = (
        f"{found.told()}; columns are {form.told()} and {classes} class {'logits' if logits else 'scores'}"
        f"{' and their sum' if maps == 3 else ''}; suppression within a class at IoU {form.iou_threshold:g}"
    )
    rest = partial(
        yolo.read_rows,
        decode=yolo.decode_yolov8,
        iou_threshold=form.iou_threshold,
        channels_first=False,
        units="pixels",
        height=found.height,
        width=found.width,
    )
    change = partial(distances_table, places=found.places(0.5), bins=form.bins, classes=classes, logits=logits)
    read = partial(read_joined, pyramid=found, change=change, rest=rest)
    sure = sureness(found, scores=not logits, boxes=np.split(table[:, : form.box], 4, axis=1))
    return Head(form.name, why, read, yolo.STEPS, "pixels"), sure
