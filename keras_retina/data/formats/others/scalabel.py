"""Scalabel's JSON, the labels of BDD100K: a list of images whose objects have a `box2d`.

The first BDD100K had a file for each image, with the objects of one frame: `{"name", "frames": [{"objects"}]}`.

Source: https://doc.scalabel.ai/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.json_file import read_json
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable

SCALABEL_SIGN = re.compile(
    r'^\s*(?:[\[{](?=.*"category"\s*:)(?=.*"box2d"\s*:)'
    r'|\{(?=.*"name"\s*:)(?=.*"frames"\s*:\s*\[)(?=.*"objects"\s*:\s*\[))',  # of the first, perhaps without objects
    re.DOTALL,
)
_CORNERS = ("y1", "x1", "y2", "x2")


def read_scalabel(file: Path) -> NamedLabels:
    """Reads the boxes of a file; lanes, areas and other labels without a box are left out and counted.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(file)
    frames = _frames(content) if isinstance(content, dict) else content
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(
            f"{printable(file)}: a list of images was expected. Received: something else. Export it again."
        )
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for index, frame in enumerate(frames):
        where = f"{file}: [{index}]"
        name, labels = frame.get("name"), frame.get("labels") or []
        if not isinstance(name, str) or not isinstance(labels, list):
            detail = f"a name and its labels were expected. Received: name={name!r}. Correct the entry."
            problems.append(problem("malformed_image", where, detail=detail, fixed=False))
            continue
        boxes = []
        for number, label in enumerate(labels):
            place = f"{where}.labels[{number}]"
            if isinstance(label, dict) and label.get("box2d") is None:
                detail = f"{str(label.get('category'))!r} has no box2d, left out"
                problems.append(problem("shape_left_out", place, detail=detail, fixed=True))
                continue
            try:
                boxes.append(_box(label, place))
            except (LookupError, TypeError, ValueError, AttributeError):
                detail = (
                    f"a category and box2d with x1, y1, x2, y2 were expected. Received: {label!r:.120}. Correct it."
                )
                problems.append(problem("invalid_box", place, detail=detail, fixed=False))
        images.append(NamedImage(where, name, tuple(boxes)))
    return NamedLabels(tuple(images), tuple(problems))


def _frames(content: Mapping[str, Any]) -> Any:
    """Returns the images of a file that is not a list; the first BDD100K has the name outside the frame."""
    frames = content.get("frames")
    if "name" in content and isinstance(frames, list) and all(isinstance(frame, dict) for frame in frames):
        return [{"name": content["name"], "labels": frame.get("objects")} for frame in frames]
    return frames


def _box(label: Mapping[str, Any], place: str) -> NamedBox:
    if not isinstance(label["category"], str):
        raise TypeError
    y1, x1, y2, x2 = (float(label["box2d"][key]) for key in _CORNERS)
    crowd = bool((label.get("attributes") or {}).get("crowd"))
    return NamedBox(place, label["category"].strip(), (y1, x1, y2, x2), crowd)
