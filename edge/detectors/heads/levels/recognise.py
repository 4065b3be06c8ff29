"""Heads that end in maps for each level of the pyramid, not yet joined: which of the known ones these can be."""

from __future__ import annotations

from edge.detectors.heads.grid import Rows, units_on_grid
from edge.detectors.heads.head import Head, Seen
from edge.detectors.heads.levels import anchor_free, anchored, distances
from edge.detectors.heads.levels.families import FAMILIES
from edge.detectors.heads.levels.maps import Pyramid, pyramid_of

WITH_ANCHORS = frozenset(family.name for family in FAMILIES)
KNOWN = {
    **{
        family.name: f"maps [1, rows, columns, 3 * (5 + classes)] with the anchors of {family.of}, or --anchors"
        for family in FAMILIES
    },
    distances.YOLOV6: "maps of 4 or 68 and of classes (YOLOv6)",
    distances.YOLOV8: "maps [1, rows, columns, 64 + classes], or of 64 and of classes (YOLOv8, YOLO11)",
    anchor_free.YOLOX: "maps [1, rows, columns, 5 + classes], or of 4, of 1 and of classes (YOLOX)",
    anchor_free.NANODET: "maps [1, rows, columns, classes + 32], or of classes and of 32 (NanoDet)",
    anchor_free.NANODET_PLUS: "the same, from corners of cells (NanoDet-Plus)",
}


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of maps for each level.

    Without the number of class names, only the surest readings count: scores from 0 to 1 beside boxes that are not
    come first, then maps that are apart (6 of 64 and 3 channels can hardly be anything else). One map for each level
    before the sigmoid has channels that fit several heads: then all of these are named, and a single one is too little.
    """
    pyramid = pyramid_of(seen)
    if pyramid is None or (seen.asked is None and _are_decoded(seen, pyramid)):
        return []
    values = [output.values for output in seen.outputs]
    found = anchored.recognise(seen, pyramid, values=values) if not pyramid.joined else []
    if seen.anchors is None:
        found += distances.recognise(seen, pyramid, values=values)
        found += anchor_free.recognise(seen, pyramid, values=values)
    if seen.asked is not None or seen.classes is not None:
        return [head for head, _ in found]
    surest = max((sure for _, sure in found), default=0)
    if surest == 0 and len(found) == 1:
        return []
    return [head for head, sure in found if sure == surest]


def _are_decoded(seen: Seen, pyramid: Pyramid) -> bool:
    """Whether a table has boxes that lie on their cells already: then it is one of `heads.tables`."""
    if not pyramid.joined:
        return False
    channels_first = pyramid.levels[0][0].layout == "cn"  # of all outputs alike
    tables = [output.values[0].T if channels_first else output.values[0] for output in seen.outputs]
    boxes = [Rows(table, pyramid.strides, 1, channels_first) for table in tables if table.shape[1] == 4]
    return any(units_on_grid(rows, seen.height, width=seen.width) is not None for rows in boxes)
