"""Maps of YOLO with anchors. The file does not have them: the published ones are assumed, or the user's own taken."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.head import Found, Head, Read, Seen, are_shares, sigmoid
from edge.detectors.heads.levels.families import FAMILIES, Anchors, Family
from edge.detectors.heads.levels.maps import Pyramid, anchors_per_cell
from edge.detectors.heads.tables import yolo


def recognise(seen: Seen, pyramid: Pyramid, *, values: Sequence[np.ndarray]) -> list[tuple[Head, int]]:
    """Returns the readings of `[..., anchors * (5 + classes)]`, each with how sure it is (`levels.recognise`).

    Values from 0 to 1 are those behind the sigmoid, which leave YOLOv5, 7 and 4-CSP: the others take exp of what is
    before. With anchors of the user, the file must have as many levels and as many for each cell.
    """
    per_cell = anchors_per_cell(seen)
    if len(pyramid.levels[0]) > 1 or pyramid.channels[0] % per_cell:
        return []
    if seen.anchors is not None and len(seen.anchors) != len(pyramid.strides):
        return []
    classes = pyramid.channels[0] // per_cell - 5
    if not seen.fits_classes(classes):
        return []
    logits = not are_shares(pyramid.table(values))
    sure = 2 if not logits else int(pyramid.has_anchors)
    found = []
    for family in FAMILIES:
        anchors = _anchors_of(family, pyramid, own=seen.anchors)
        if anchors is None or not seen.allows(family.name) or (family.exponential and not logits):
            continue
        said = (
            "anchors are those given"
            if seen.anchors is not None
            else (f"the file has no anchors: those published for {family.of} are assumed")
        )
        why = (
            f"{pyramid.told()} of {per_cell} anchors; columns are 4 of a box, an objectness and {classes} classes, "
            f"{'before' if logits else 'behind'} the sigmoid; {said}; suppression within a class at IoU "
            f"{family.iou_threshold:g}"
        )
        read = partial(
            _read, pyramid=pyramid, family=family, anchors=anchors, logits=logits, rest=_rest(family, pyramid)
        )
        found.append((Head(family.name, why, read, family.steps, "pixels"), sure))
    return found


def decode(
    values: np.ndarray, places: np.ndarray, *, anchors: np.ndarray, scales: np.ndarray, exponential: bool, logits: bool
) -> np.ndarray:
    """Returns `[n * anchors, 5 + classes]`, as YOLOv5 joins them in the file, of `[n, anchors, 5 + classes]`.

    `places` is `cells(...)` with offset 0. A centre is ((sigmoid(value) - 0.5) * scale + 0.5 + cell) * stride.

    Source: yolov5/models/yolo.py, Detect; AlexeyAB's Darknet, src/yolo_layer.c, get_yolo_box, where new_coords=1 is
    the way of YOLOv5.
    """
    shares = sigmoid(values) if logits else values
    stride = places[:, None, 2:]
    centres = ((shares[..., :2] - 0.5) * scales + 0.5) * stride + places[:, None, :2]
    with np.errstate(over="ignore"):
        factors = np.exp(values[..., 2:4]) if exponential else (2 * shares[..., 2:4]) ** 2
    table = np.concatenate([centres, factors * anchors, shares[..., 4:]], axis=2)
    return table.reshape(-1, values.shape[2])


def _anchors_of(family: Family, pyramid: Pyramid, *, own: Sequence[Sequence[float]] | None) -> Anchors | None:
    if own is None:
        return family.anchors.get(pyramid.strides)
    return family.with_anchors(own, pyramid.strides)


def _rest(family: Family, pyramid: Pyramid) -> Read:
    return partial(
        yolo.read_rows,
        decode=yolo.decode_yolov5,
        iou_threshold=family.iou_threshold,
        channels_first=False,
        units="pixels",
        height=pyramid.height,
        width=pyramid.width,
    )


def _read(
    outputs: Sequence[np.ndarray],
    score_threshold: float,
    *,
    pyramid: Pyramid,
    family: Family,
    anchors: Anchors,
    logits: bool,
    rest: Read,
) -> Found:
    table = pyramid.table(outputs)
    pixels, scales = anchors.of_cells(pyramid)
    decoded = decode(
        table.reshape(len(table), anchors.per_cell, -1),
        pyramid.places(0.0),
        anchors=pixels,
        scales=scales,
        exponential=family.exponential,
        logits=logits,
    )
    return rest([decoded[None]], score_threshold)
