"""Maps of YOLOX and NanoDet: one for each level, or boxes and scores apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.head import Head, Seen, are_shares, sigmoid
from edge.detectors.heads.levels.maps import Pyramid, Reading, are_sums, arranged, read_joined, sureness
from edge.detectors.heads.tables import nanodet, yolox

YOLOX, NANODET, NANODET_PLUS = "yolox-levels", "nanodet-levels", "nanodet-plus-levels"
Values = Sequence[np.ndarray]


def recognise(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    """Returns the readings of maps with one prediction for each cell, each with how sure it is (`levels.recognise`)."""
    if pyramid.has_anchors:
        return []
    return [*_yolox(seen, pyramid, values=values), *_nanodet(seen, pyramid, values=values)]


def yolox_table(table: np.ndarray, *, logits: bool) -> np.ndarray:
    """Returns `[n, 5 + classes]` with objectness and classes from 0 to 1; boxes are still to be decoded."""
    return np.concatenate([table[:, :4], sigmoid(table[:, 4:])], axis=1) if logits else table


def _yolox(seen: Seen, pyramid: Pyramid, *, values: Values) -> list[Reading]:
    classes = sum(pyramid.channels) - 5
    if len(pyramid.levels[0]) not in (1, 3) or not seen.allows(YOLOX) or not seen.fits_classes(classes):
        return []
    found = arranged(pyramid, values, widths=(4, 1, classes), scores=2)
    if found is None:
        return []
    table = found.table(values)
    logits = not are_shares(table[:, 4:])
    if len(found.levels[0]) == 3 and seen.asked is None and are_sums(table[:, 5:], table[:, 4]):
        return []  # YOLOv6 as Rockchip exports it
    kind = "logits" if logits else "scores"
    why = (
        f"{found.told()}; columns are 4 of a box on its cell, an objectness and {classes} class {kind}; the best class "
        f"of a row, suppression within a class at IoU {yolox.IOU_THRESHOLD:g}"
    )
    rest = partial(yolox.read_rows, strides=found.strides, units="pixels", height=found.height, width=found.width)
    read = partial(read_joined, pyramid=found, change=partial(yolox_table, logits=logits), rest=rest)
    sure = sureness(found, scores=not logits, boxes=[table[:, :4]])
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
    read = partial(read_joined, pyramid=found, change=_as_it_is, rest=rest)
    sure = sureness(found, scores=not logits, boxes=np.split(table[:, classes:], 4, axis=1))
    return [(Head(name, why, read, nanodet.STEPS, "pixels"), sure)]


def _as_it_is(table: np.ndarray) -> np.ndarray:
    return table
