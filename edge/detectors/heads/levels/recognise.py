"""Heads that end in maps for each level of the pyramid, not yet joined: which of the known ones these can be."""

from __future__ import annotations

from edge.detectors.heads.head import Head, Seen
from edge.detectors.heads.levels import anchor_free, anchored
from edge.detectors.heads.levels.maps import pyramid_of

KNOWN = {
    **{
        family.name: f"maps [1, rows, columns, 3 * (5 + classes)] with the anchors of {family.of}"
        for family in anchored.FAMILIES
    },
    anchor_free.YOLOV8: "maps [1, rows, columns, 64 + classes], or of 64 and of classes (YOLOv8, YOLO11)",
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
    if pyramid is None:
        return []
    values = [output.values for output in seen.outputs]
    found = [
        *anchored.recognise(seen, pyramid, values=values),
        *anchor_free.recognise(seen, pyramid, values=values),
    ]
    if seen.asked is not None or seen.classes is not None:
        return [head for head, _ in found]
    surest = max((sure for _, sure in found), default=0)
    if surest == 0 and len(found) == 1:
        return []
    return [head for head, sure in found if sure == surest]
