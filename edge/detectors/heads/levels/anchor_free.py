"""Maps of YOLOv8 and 11, YOLOX and NanoDet: one for each level, or boxes and scores apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from edge.detectors.heads import nanodet, yolo, yolox
from edge.detectors.heads.grid import means
from edge.detectors.heads.head import Found, Head, Read, Seen, are_shares, sigmoid
from edge.detectors.heads.levels.maps import Pyramid, arranged

YOLOV8, YOLOX, NANODET, NANODET_PLUS = "yolov8-levels", "yolox-levels", "nanodet-levels", "nanodet-plus-levels"
BINS = 16  # of YOLOv8: reg_max
BOX = 4 * BINS
Values = Sequence[np.ndarray]
Reading = tuple[Head, int]


def recognise(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    """Returns the readings of maps with one prediction for each cell, each with how sure it is (`levels.recognise`)."""
    if pyramid.has_anchors:
        return []
    return [
        reading
        for recognise_one in (_yolov8, _yolov8_with_sums, _yolox, _nanodet)
        for reading in recognise_one(seen, pyramid, values=values)
    ]


def yolov8_table(table: np.ndarray, places: np.ndarray, *, classes: int, logits: bool) -> np.ndarray:
    """Returns `[n, 4 + classes]`, as YOLOv8 joins them in the file, of `[n, 4 * 16 + classes]`.

    Distances from the middle of a cell to its left, upper, right and lower side are means of distributions, in
    strides. `places` is `cells(...)` with offset 0.5.

    Source: ultralytics/nn/modules/head.py, Detect; ultralytics/utils/tal.py, dist2bbox.
    """
    distances = means(table[:, :BOX]) * places[:, 2:]
    near, far = distances[:, :2], distances[:, 2:]
    scores = table[:, BOX : BOX + classes]
    return np.concatenate([places[:, :2] + (far - near) / 2, near + far, sigmoid(scores) if logits else scores], axis=1)


def yolox_table(table: np.ndarray, *, logits: bool) -> np.ndarray:
    """Returns `[n, 5 + classes]` with objectness and classes from 0 to 1; boxes are still to be decoded."""
    return np.concatenate([table[:, :4], sigmoid(table[:, 4:])], axis=1) if logits else table


def _yolov8(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    classes = sum(pyramid.channels) - BOX
    if len(pyramid.levels[0]) > 2 or not seen.allows(YOLOV8) or not seen.fits_classes(classes):
        return []
    found = arranged(pyramid, values, widths=(BOX, classes), scores=1)
    return [] if found is None else _reading_of_yolov8(found, values, classes=classes, extra="")


def _yolov8_with_sums(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    """Rockchip's export also has the sum of the scores of each cell, at most 1, to skip cells by."""
    classes = sum(pyramid.channels) - BOX - 1
    if len(pyramid.levels[0]) != 3 or not seen.allows(YOLOV8) or not seen.fits_classes(classes):
        return []
    found = arranged(pyramid, values, widths=(BOX, classes, 1), scores=1)
    if found is None:
        return []
    table = found.table(values)
    # A map of key points, which a network of poses has, is no sum of scores.
    if not are_shares(table[:, BOX:]) or (table[:, -1] < table[:, BOX:-1].max(axis=1) - 0.02).any():
        return []
    return _reading_of_yolov8(found, values, classes=classes, extra=" and their sum")


def _reading_of_yolov8(pyramid: Pyramid, values: Values, *, classes: int, extra: str) -> list[Reading]:
    table = pyramid.table(values)
    logits = not are_shares(table[:, BOX : BOX + classes])
    sure = _sure(pyramid, scores=not logits, boxes=np.split(table[:, :BOX], 4, axis=1))
    kind = "logits" if logits else "scores"
    why = (
        f"{pyramid.told()}; columns are 4 distributions of {BINS} distances and {classes} class {kind}{extra}; "
        f"suppression within a class at IoU {yolo.IOU_THRESHOLDS[yolo.YOLOV8]:g}"
    )
    rest = partial(
        yolo.read_rows,
        decode=yolo.decode_yolov8,
        iou_threshold=yolo.IOU_THRESHOLDS[yolo.YOLOV8],
        channels_first=False,
        units="pixels",
        height=pyramid.height,
        width=pyramid.width,
    )
    change = partial(yolov8_table, places=pyramid.places(0.5), classes=classes, logits=logits)
    read = partial(_read, pyramid=pyramid, change=change, rest=rest)
    return [(Head(YOLOV8, why, read, yolo.STEPS, "pixels"), sure)]


def _yolox(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    classes = sum(pyramid.channels) - 5
    if len(pyramid.levels[0]) not in (1, 3) or not seen.allows(YOLOX) or not seen.fits_classes(classes):
        return []
    found = arranged(pyramid, values, widths=(4, 1, classes), scores=2)
    if found is None:
        return []
    table = found.table(values)
    logits = not are_shares(table[:, 4:])
    kind = "logits" if logits else "scores"
    why = (
        f"{found.told()}; columns are 4 of a box on its cell, an objectness and {classes} class {kind}; the best class "
        f"of a row, suppression within a class at IoU {yolox.IOU_THRESHOLD:g}"
    )
    rest = partial(yolox.read_rows, strides=found.strides, units="pixels", height=found.height, width=found.width)
    read = partial(_read, pyramid=found, change=partial(yolox_table, logits=logits), rest=rest)
    sure = _sure(found, scores=not logits, boxes=[table[:, :4]])
    return [(Head(YOLOX, why, read, yolox.STEPS, "pixels"), sure)]


def _nanodet(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    classes = sum(pyramid.channels) - 4 * nanodet.BINS
    name = NANODET_PLUS if len(pyramid.strides) == 4 else NANODET
    if seen.asked in (NANODET, NANODET_PLUS):
        name = seen.asked
    if len(pyramid.levels[0]) > 2 or not seen.allows(name) or not seen.fits_classes(classes):
        return []
    found = arranged(pyramid, values, widths=(classes, 4 * nanodet.BINS), scores=0)
    if found is None:
        return []
    table = found.table(values)
    logits = not are_shares(table[:, :classes])
    plus = name == NANODET_PLUS
    why = (
        f"{found.told()}; columns are {classes} class {'logits' if logits else 'scores'} and 4 distributions of "
        f"{nanodet.BINS} distances, from the {'corner' if plus else 'middle'} of a cell; suppression within a class at "
        f"IoU {nanodet.IOU_THRESHOLD:g}"
    )
    rest = partial(
        nanodet.read_rows,
        strides=found.strides,
        channels_first=False,
        offset=nanodet.OFFSETS[nanodet.PLUS_NAME if plus else nanodet.NAME],
        classes=classes,
        logits=logits,
        height=found.height,
        width=found.width,
    )
    read = partial(_read, pyramid=found, change=_as_it_is, rest=rest)
    sure = _sure(found, scores=not logits, boxes=np.split(table[:, classes:], 4, axis=1))
    return [(Head(name, why, read, nanodet.STEPS, "pixels"), sure)]


def _sure(pyramid: Pyramid, *, scores: bool, boxes: Sequence[np.ndarray]) -> int:
    """Returns 2 where scores are from 0 to 1 and no part of the boxes is, 1 where they are maps apart, otherwise 0."""
    if scores and not any(are_shares(part) for part in boxes):
        return 2
    return int(len(pyramid.levels[0]) > 1)


def _as_it_is(table: np.ndarray) -> np.ndarray:
    return table


def _read(
    outputs: Values, score_threshold: float, *, pyramid: Pyramid, change: Callable[[np.ndarray], np.ndarray], rest: Read
) -> Found:
    """Joins the maps, brings the table into the form of a file that has one, and reads it as such a file."""
    return rest([change(pyramid.table(outputs))[None]], score_threshold)
