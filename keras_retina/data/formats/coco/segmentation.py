"""The outlines of objects in COCO labels: the boxes around them, and the outlines as they are for other programs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.json_file import (
    Identifier,
    field_of,
    identifier,
    is_integer,
    is_number,
    list_of,
    load_json,
)

# Six bits a letter from "0" on; bit 6 says that the number goes on, so the last letter is below "P".
_COMPRESSED = re.compile("[0-o]*[0-O]")


def read_segmentations(annotation_file: Path) -> dict[Identifier, list[Any]]:
    """Returns image id -> `segmentation` of each annotation in the order of the file, None for one that has a box only.

    Records hold boxes alone; this is for those who need the polygons and run-length masks, which pycocotools reads.

    Raises:
        InputError: the file cannot be read.
    """
    outlines: dict[Identifier, list[Any]] = {}
    for annotation in list_of(load_json(annotation_file), "annotations", file=annotation_file):
        key = identifier(field_of(annotation, "image_id"))
        if key is not None:
            outlines.setdefault(key, []).append(field_of(annotation, "segmentation") or None)
    return outlines


def box_around(segmentation: Any) -> list[float] | None:
    """Returns `[x, y, width, height]` around polygons or a run-length mask, None where there is neither."""
    if isinstance(segmentation, dict):
        return _box_of_mask(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if not all(
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(is_number(value) and math.isfinite(value) for value in polygon)
        for polygon in polygons
    ):
        return None
    xs = [value for polygon in polygons for value in polygon[0::2]]
    ys = [value for polygon in polygons for value in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _box_of_mask(mask: dict[str, Any]) -> list[float] | None:
    size, counts = mask.get("size"), mask.get("counts")
    # pycocotools divides by the height, and reads numbers that do not add up without a check.
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = size
    if not is_integer(height) or not is_integer(width) or not (0 < height < 1 << 31 and 0 < width < 1 << 31):
        return None
    from pycocotools import mask as masks

    if isinstance(counts, list):
        if not all(is_integer(count) and count >= 0 for count in counts) or sum(counts) != height * width:
            return None
        encoded = masks.frPyObjects({"size": size, "counts": counts}, height, width)
    elif isinstance(counts, str) and _COMPRESSED.fullmatch(counts):
        encoded = {"size": size, "counts": counts.encode()}
    else:
        return None
    box = [float(value) for value in masks.toBbox(encoded)]
    inside = box[2] > 0 and box[3] > 0 and box[0] + box[2] <= width and box[1] + box[3] <= height
    return box if inside else None
