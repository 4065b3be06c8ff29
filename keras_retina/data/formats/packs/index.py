"""The index of a pack: one entry for each image, checked before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.formats.packs.about import unfit
from keras_retina.data.formats.repair import OUTSIDE_TOLERANCE
from keras_retina.data.images import PIXEL_LIMIT
from keras_retina.data.records import PackedImage, Record

_ID_LIMIT = 2**63
_CHECKSUM_LIMIT = 2**32


def entry_of(record: Record, *, offset: int, length: int, checksum: int) -> dict[str, Any]:
    """Returns the entry of an image whose bytes are at `offset` of a shard."""
    return {
        "image_id": record.image_id,
        "file_name": record.file_name,
        "height": record.height,
        "width": record.width,
        "boxes": [[float(str(side)) for side in box] for box in record.boxes],  # 10.1, not 10.100000381469727
        "classes": record.classes.tolist(),
        "crowd": record.crowd.tolist(),
        "offset": offset,
        "length": length,
        "checksum": checksum,
    }


def record_of(entry: Any, shard: Path, *, shard_bytes: int, class_names: Sequence[str], where: str) -> Record:
    """Returns the record of an entry.

    Raises:
        InputError: a field is missing, of another type, or has a value that no image can have; it begins with `where`,
            the file and the line.
    """
    if not isinstance(entry, dict):
        raise unfit(where, "entry", "an object", received=entry)
    height = _integer(entry, "height", where=where, least=1, below=PIXEL_LIMIT + 1)
    width = _integer(entry, "width", where=where, least=1, below=PIXEL_LIMIT // height + 1)
    offset = _integer(entry, "offset", where=where, least=0, below=shard_bytes)
    length = _integer(entry, "length", where=where, least=1, below=shard_bytes - offset + 1)
    checksum = _integer(entry, "checksum", where=where, least=0, below=_CHECKSUM_LIMIT)
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise unfit(where, "file_name", "a name", received=name)
    boxes = _boxes(entry.get("boxes"), height, width=width, where=where)
    classes = _list_of(entry, "classes", len(boxes), where=where)
    for index, value in enumerate(classes):
        if type(value) is not int or not 0 <= value < len(class_names):
            raise unfit(where, f"classes[{index}]", f"an index of {len(class_names)} classes", received=value)
    crowd = _list_of(entry, "crowd", len(boxes), where=where)
    for index, value in enumerate(crowd):
        if value not in (0, 1):
            raise unfit(where, f"crowd[{index}]", "true or false", received=value)
    return Record(
        _integer(entry, "image_id", where=where, least=-_ID_LIMIT, below=_ID_LIMIT),
        PackedImage(shard, offset, length, checksum, Path(name).name),
        name,
        height,
        width,
        boxes,
        np.array(classes, np.int32),
        np.array(crowd, bool),
    )


def _integer(entry: dict[str, Any], field: str, *, where: str, least: int, below: int) -> int:
    value = entry.get(field)
    if type(value) is not int or not least <= value < below:
        raise unfit(where, field, f"a whole number from {least} to {below - 1}", received=value)
    return value


def _list_of(entry: dict[str, Any], field: str, count: int, *, where: str) -> list[Any]:
    values = entry.get(field)
    if not isinstance(values, list):
        raise unfit(where, field, "a list", received=values)
    if len(values) != count:
        raise unfit(where, f"number of {field}", f"{count}, one for each box", received=len(values))
    return values


def _boxes(values: Any, height: int, *, width: int, where: str) -> np.ndarray:
    if not isinstance(values, list):
        raise unfit(where, "boxes", "a list", received=values)
    for index, box in enumerate(values):
        if not isinstance(box, list) or len(box) != 4 or any(type(side) not in (int, float) for side in box):
            raise unfit(where, f"boxes[{index}]", "four numbers, y1, x1, y2, x2", received=box)
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite
            boxes = np.array(values, np.float64).reshape(-1, 4).astype(np.float32)
    except OverflowError as error:
        raise unfit(where, "boxes", "numbers that a float can hold", received=values) from error
    y1, x1, y2, x2 = boxes.T
    least = -OUTSIDE_TOLERANCE
    rules = (
        ("finite corners", np.isfinite(boxes).all(axis=1)),
        ("y1 < y2 and x1 < x2", (y1 < y2) & (x1 < x2)),
        (
            f"corners inside the {width}x{height} image",
            (y1 >= least) & (x1 >= least) & (y2 <= height - least) & (x2 <= width - least),
        ),
    )
    for expected, holds in rules:
        if not holds.all():
            index = int(np.argmin(holds))
            raise unfit(where, f"boxes[{index}]", expected, received=values[index])
    return boxes
