"""Text files with one object a line, one file for each image: KITTI, DOTA, VisDrone and OIDv4 ToolKit.

| format | a line |
|---|---|
| KITTI | class truncated occluded alpha x1 y1 x2 y2 and 7 numbers in three dimensions, then perhaps a score |
| DOTA (`labelTxt`) | x and y of four corners, class, then perhaps 1 for a difficult object |
| VisDrone | x, y, width, height, 0 for what is not judged, class number, truncation, occlusion |
| OIDv4 ToolKit | class x1 y1 x2 y2 |

Sources: https://www.cvlibs.net/datasets/kitti/eval_object.php, https://captain-whu.github.io/DOTA/dataset.html,
https://github.com/VisDrone/VisDrone2018-DET-toolkit, https://github.com/EscVM/OIDv4_ToolKit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem

_VISDRONE = ("ignored regions", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle",
             "awning-tricycle", "bus", "motor", "others")  # fmt: skip
_VISDRONE_CLASSES = _VISDRONE[1:-1]


_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")  # of DOTA
MOST_WORDS = 5  # of a class: "Kitchen & dining room table"


class _LineError(ValueError):
    """A line is none of its format; the text says what was expected."""


def looks_like_kitti(text: str) -> bool:
    """Tells whether a file begins as one of KITTI."""
    return _reads(_kitti, text)


def looks_like_oidv4(text: str) -> bool:
    """Tells whether a file begins as one of the OIDv4 ToolKit: with pixels, not with shares of an image."""
    return _reads(_oidv4, text) and max(map(float, _first_line(text).split()[-4:])) > 1.5


def looks_like_dota(text: str) -> bool:
    """Tells whether a file begins as one of DOTA."""
    return _reads(_dota, text)


def looks_like_visdrone(text: str) -> bool:
    """Tells whether a file begins as one of VisDrone, with eight integers."""
    return all(word.strip().lstrip("-").isdigit() for word in _first_line(text).rstrip(",").split(",")) and _reads(
        _visdrone, text
    )


def _first_line(text: str) -> str:
    """Returns the first line with an object, "" for none."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.lower().startswith(_HEADERS)), "")


def _reads(read: Callable[[str, str], NamedBox | None], text: str) -> bool:
    try:
        return read(_first_line(text), "") is not None
    except _LineError:
        return False


def read_kitti(file: Path) -> NamedLabels:
    """Reads one file of KITTI; a `DontCare` region may hold objects of any class that have no label."""
    return _read_lines(file, _kitti)


def read_oidv4(file: Path) -> NamedLabels:
    """Reads one file of the OIDv4 ToolKit, whose corners are pixels."""
    return _read_lines(file, _oidv4)


def read_dota(file: Path) -> NamedLabels:
    """Reads one file of DOTA: the upright box around each turned one; difficult objects are ordinary ones here."""
    return _read_lines(file, _dota)


def read_visdrone(file: Path) -> NamedLabels:
    """Reads one file of VisDrone; what it does not judge, ignored regions and others, may hold any class."""
    found = _read_lines(file, _visdrone)
    return NamedLabels(found.images, found.problems, _VISDRONE_CLASSES)


def _read_lines(file: Path, read: Callable[[str, str], NamedBox | None]) -> NamedLabels:
    boxes: list[NamedBox] = []
    problems: list[Problem] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        where = f"{file}: line {number}"
        try:
            box = read(line.strip(), where) if line.strip() else None
        except _LineError as error:
            detail = f"{error} was expected. Received: {line!r:.80}. Correct the line."
            problems.append(problem("invalid_box", where, detail=detail, fixed=False))
            continue
        if box is not None:
            boxes.append(box)
    return NamedLabels((NamedImage(str(file), file.stem, tuple(boxes)),), tuple(problems))


def _kitti(line: str, where: str) -> NamedBox:
    words = line.split()
    last = next((count for count in (14, 15) if len(words) > count and not _are_numbers([words[-count - 1]])), None)
    if last is None or not _are_numbers(words[-last:]) or not _is_class(words[:-last]):
        raise _LineError("a class and 14 numbers, the box being the fourth to the seventh,")
    x1, y1, x2, y2 = map(float, words[-last:][3:7])
    name = " ".join(words[:-last])
    return NamedBox(where, None if name.lower() == "dontcare" else name, (y1, x1, y2, x2))


def _oidv4(line: str, where: str) -> NamedBox:
    words = line.split()
    if not _are_numbers(words[-4:]) or not _is_class(words[:-4]):
        raise _LineError("a class and the numbers x1 y1 x2 y2")
    x1, y1, x2, y2 = map(float, words[-4:])
    return NamedBox(where, " ".join(words[:-4]), (y1, x1, y2, x2))


def _dota(line: str, where: str) -> NamedBox | None:
    if line.lower().startswith(_HEADERS):
        return None
    words = line.split()
    if len(words) not in (9, 10) or not _are_numbers(words[:8]) or not _is_class(words[8:9]):
        raise _LineError("eight numbers, x and y of four corners, and a class")
    xs, ys = [float(word) for word in words[0:8:2]], [float(word) for word in words[1:8:2]]
    return NamedBox(where, words[8], (min(ys), min(xs), max(ys), max(xs)))


def _visdrone(line: str, where: str) -> NamedBox:
    words = line.rstrip(",").split(",")
    if len(words) != 8 or not _are_numbers(words):
        raise _LineError("x,y,width,height,score,class,truncation,occlusion, eight numbers,")
    x, y, width, height, judged, number = map(float, words[:6])
    if not 0 <= number < len(_VISDRONE) or width < 0 or height < 0:
        raise _LineError(f"a class from 0 to {len(_VISDRONE) - 1} and a size of at least 0")
    name = _VISDRONE[int(number)] if judged and _VISDRONE[int(number)] in _VISDRONE_CLASSES else None
    return NamedBox(where, name, (y, x, y + height, x + width))


def _is_class(words: list[str]) -> bool:
    return 0 < len(words) <= MOST_WORDS and not any(map(_is_number, words))


def _is_number(word: str) -> bool:
    """Tells whether a word is a number, `nan` and `inf` too."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _are_numbers(words: list[str]) -> bool:
    return all(_is_number(word) and math.isfinite(float(word)) for word in words)
