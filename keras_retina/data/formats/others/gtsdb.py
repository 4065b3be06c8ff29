"""The traffic signs of GTSDB: `gt.txt` with a line `00000.ppm;774;411;815;446;11` for each sign, in pixels.

The numbers are left, top, right and bottom, and the class, of which the file has only the number.

Source: https://benchmark.ini.rub.de/gtsdb_dataset.html.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem

_SUFFIXES = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
_LINE = re.compile(
    rf"([^;\n]+(?:{_SUFFIXES}))" + r";(-?\d+(?:\.\d+)?)" * 4 + r";(\d+)[ \t]*(?=\r?\n|\Z)", re.IGNORECASE
)


def looks_like_gtsdb(text: str) -> bool:
    """Tells whether a file begins as the labels of GTSDB."""
    return _LINE.match(text.lstrip()) is not None


def read_gtsdb(file: Path) -> NamedLabels:
    """Reads the list; a class is called by its number."""
    boxes: dict[str, list[NamedBox]] = {}
    problems: list[Problem] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        where = f"{file}: line {number}"
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            detail = f"image;left;top;right;bottom;class was expected. Received: {line!r:.80}. Correct the line."
            problems.append(problem("invalid_box", where, detail=detail, fixed=False))
            continue
        x1, y1, x2, y2 = map(float, found.groups()[1:5])
        boxes.setdefault(found[1], []).append(NamedBox(where, found[6], (y1, x1, y2, x2)))
    images = [NamedImage(own[0].where, name, tuple(own)) for name, own in boxes.items()]
    names = sorted({box.class_name or "" for own in boxes.values() for box in own}, key=int)
    return NamedLabels(tuple(images), tuple(problems), tuple(names))
