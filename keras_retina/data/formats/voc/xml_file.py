"""One VOC file: the labels of one image."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree
from xml.parsers import expat

from keras_retina.data.formats.encoding import decode_as, decode_text
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes

_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_BEGINNING = 4096  # bytes
_MOST_ELEMENTS = 100


@dataclass(frozen=True)
class VocObject:
    """One `<object>`: `corners` are the texts of ymin, xmin, ymax and xmax."""

    line: int
    name: str
    corners: tuple[str, str, str, str]


@dataclass(frozen=True)
class VocLabels:
    """One file: `file_name` as it stands there, `size` as `(height, width)`, None where it has none."""

    file: Path
    file_name: str
    database: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def looks_like_voc(file: Path) -> Literal["yes", "no", "damaged"]:
    """Tells by its beginning whether a file is a VOC annotation; one without any XML in it is `damaged`."""
    try:
        data = read_bytes(file, length=_BEGINNING).replace(b"\0", b"")  # of UTF-16
    except OSError:
        return "damaged"
    if re.search(rb"<annotation[\s/>]", data):
        return "yes"
    return "no" if re.search(rb"<[A-Za-z]", data) else "damaged"


def read_labels(file: Path) -> VocLabels:
    """Reads one VOC file; raises InputError as `read_xml` does."""
    root = read_xml(file)
    objects = []
    for item in root.findall("object"):
        y1, x1, y2, x2 = (_text(item, f"bndbox/{field}") for field in ("ymin", "xmin", "ymax", "xmax"))
        objects.append(VocObject(int(item.get("line", 0)), _text(item, "name"), (y1, x1, y2, x2)))
    height, width = number(_text(root, "size/height")), number(_text(root, "size/width"))
    size = (int(height), int(width)) if 0 < height < math.inf and 0 < width < math.inf else None
    file_name = _text(root, "filename") or _text(root, "path")
    return VocLabels(file, file_name, _text(root, "source/database"), size, tuple(objects))


def read_xml(file: Path) -> ElementTree.Element:
    """Parses a VOC file; each element has its line number in the attribute `line`.

    Raises:
        InputError: as `parse_xml`, or it is no annotation.
    """
    root = parse_xml(file)
    if root.tag != "annotation":
        raise InputError(
            f"{printable(file)}: a VOC <annotation> was expected. Received: <{printable(root.tag)}>. Check the export."
        )
    return root


def parse_xml(file: Path) -> ElementTree.Element:
    """Parses an XML file in any encoding that it names; each element has its line number in the attribute `line`.

    Raises:
        InputError: the file is missing or damaged, has a DOCTYPE (entities expand), or over 100 elements in each other.
    """
    depth = 0

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_ELEMENTS:
            raise ValueError(f"more than {_MOST_ELEMENTS} elements in each other")
        builder.start(tag, {**attributes, "line": str(parser.CurrentLineNumber)})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise InputError(
            f"{printable(file)}: line {parser.CurrentLineNumber}: XML without DOCTYPE was expected. "
            f"Received: a DOCTYPE. Remove it."
        )

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate("utf-8")  # which the text is by then, whatever it says of itself
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(_text_of(file).encode("utf-8", "surrogatepass"), True)
    except OSError as error:
        raise InputError(
            f"{printable(file)}: a readable XML file was expected. Received: {error.strerror}. Add it to the folder."
        ) from error
    except (expat.ExpatError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{printable(file)}: complete XML was expected. Received: {printable(error)}. "
            "Is the file cut off? Copy it again, or label the image anew."
        ) from error
    return builder.close()


def number(text: str) -> float:
    """Returns the number that a text is, NaN for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text_of(file: Path) -> str:
    """Decodes by the encoding that the file names: expat knows few of them, GBK is not among them."""
    data = read_bytes(file)
    named = _DECLARATION.match(data)
    if named and named[1].lower() not in (b"utf-8", b"utf8", b"utf-16"):
        return decode_as(data, named[1].decode(), file=file)
    return decode_text(data, file)


def _text(item: ElementTree.Element, path: str) -> str:
    return (item.findtext(path) or "").strip()
