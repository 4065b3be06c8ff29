"""Text files with one image a line and its boxes behind it, as keras-yolo3 and Roboflow's "YOLO Keras TXT" have them.

A line is `path/image.jpg x1,y1,x2,y2,class x1,y1,x2,y2,class`, in pixels. The class is a number: its name is in
`_classes.txt`, `classes.txt` or `obj.names` beside the file, or in `model_data`.

Source: https://github.com/qqwweee/keras-yolo3#training.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.listing import files_in
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.yolo.names import read_class_files
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable

_BOX = r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?),(\d{1,9})"
_SUFFIXES = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
_BOXES_BEHIND = re.compile(rf"((?:[ \t]+{_BOX})+)[ \t]*$")
_ONE_BOX = re.compile(_BOX)
IMAGE_LINES_SIGN = re.compile(
    rf"\A\s*(?:[^\n]+(?:{_SUFFIXES})[ \t]*\r?\n)*[^\n]+(?:{_SUFFIXES})[ \t]+{_BOX}(?:[ \t]|\r?\n|\Z)", re.IGNORECASE
)


def read_image_lines(file: Path) -> NamedLabels:
    """Reads a list of images with their boxes.

    Raises:
        InputError: there is no list of class names.
    """
    names = _class_names(file)
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for number, text in enumerate(read_text(file).splitlines(), start=1):
        line, where = text.strip(), f"{file}: line {number}"
        if not line:
            continue
        behind = _BOXES_BEHIND.search(line)
        name = line[: behind.start()] if behind else line
        if not name.lower().endswith(IMAGE_SUFFIXES):
            detail = (
                f"an image and its boxes x1,y1,x2,y2,class were expected. Received: {line!r:.80}. Correct the line."
            )
            problems.append(problem("malformed_image", where, detail=detail, fixed=False))
            continue
        boxes = []
        for place, found in enumerate(_ONE_BOX.findall(behind[1] if behind else "")):
            x1, y1, x2, y2 = map(float, found[:4])
            if int(found[4]) >= len(names):
                detail = f"a class from 0 to {len(names) - 1}, as there are names, was expected. Received: {found[4]}."
                problems.append(problem("unknown_category", f"{where}: box {place}", detail=detail, fixed=False))
                continue
            boxes.append(NamedBox(f"{where}: box {place}", names[int(found[4])], (y1, x1, y2, x2)))
        images.append(NamedImage(where, name, tuple(boxes)))
    return NamedLabels(tuple(images), tuple(problems), names)


def _class_names(file: Path) -> tuple[str, ...]:
    """Returns the names in the nearest list: beside the file, or in `model_data` there or in the folder above."""
    for folder in (file.parent, file.parent / "model_data", file.parent.parent / "model_data"):
        lists = [
            str(path)
            for path in files_in(folder, (".txt", ".names"))
            if path.name.lower().endswith(("classes.txt", ".names"))
        ]
        if lists:
            return tuple(read_class_files(lists).values())
    raise InputError(
        f"{printable(file)}: a file with the class names was expected beside it. Received: none. "
        f"Write one name a line into {printable(file.parent / '_classes.txt')}, the first for class 0."
    )
