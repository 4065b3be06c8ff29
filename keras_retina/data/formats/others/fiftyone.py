"""FiftyOne's own JSON of an image detection dataset: boxes by the names of the images, which have no suffix there.

    {"classes": ["cat", ...], "labels": {"photo_1": [{"label": 0, "bounding_box": [x, y, width, height]}, ...], ...}}

Numbers are shares of the image. An image without labels has null.

Source: https://docs.voxel51.com/user_guide/export_datasets.html#fiftyoneimagedetectiondataset.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.json_file import read_json
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable

FIFTYONE_SIGN = re.compile(r'^\s*\{(?=.*"labels"\s*:\s*\{)(?=.*"bounding_box"\s*:\s*\[)', re.DOTALL)


def read_fiftyone(file: Path) -> NamedLabels:
    """Reads the boxes of a file; its images have the numbers as shares of 1.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(file)
    entries, names = (content.get("labels"), content.get("classes") or ()) if isinstance(content, dict) else ({}, ())
    if not isinstance(entries, dict) or not isinstance(names, Sequence):
        raise InputError(
            f"{printable(file)}: the labels of each image by its name were expected. Received: something else. "
            "Export it again."
        )
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for name, labels in entries.items():
        where, boxes = f"{file}: {name!r}", []
        for number, label in enumerate(labels or ()):
            place = f"{where}[{number}]"
            try:
                boxes.append(_box(label, names, place))
            except (LookupError, TypeError, ValueError):
                detail = (
                    "a label, one of the classes, and a bounding_box of four numbers were expected. "
                    f"Received: {label!r:.120}. Correct it."
                )
                problems.append(problem("invalid_box", place, detail=detail, fixed=False))
        images.append(NamedImage(where, name, tuple(boxes)))
    return NamedLabels(tuple(images), tuple(problems), tuple(map(str, names)))


def _box(label: Any, names: Sequence[Any], place: str) -> NamedBox:
    """Raises LookupError, TypeError or ValueError unless it has a class and four numbers."""
    x, y, width, height = map(float, label["bounding_box"])
    own = label["label"]
    if isinstance(own, int) and own < 0:
        raise IndexError(own)
    name = own if isinstance(own, str) else names[own]
    return NamedBox(place, str(name).strip(), (y, x, y + height, x + width))
