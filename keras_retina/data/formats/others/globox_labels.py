"""LabelMe and CVAT files, read with globox; what it would drop without a word is refused or counted here.

globox reads LabelMe's rectangles and polygons and CVAT's unrotated boxes, and passes over every other shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

from keras_retina.data.formats.coco.json_file import read_json
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.voc.xml_file import parse_xml
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable

_READ_SHAPES = ("rectangle", "polygon")
_NO_AREA = ("line", "linestrip", "point", "points", "polyline", "tag")


def read_labelme(file: Path) -> NamedLabels:
    """Reads one LabelMe file: the box around each rectangle and polygon.

    Raises:
        InputError: globox is not installed, or the file is damaged.
    """
    globox = _globox(file)
    content = read_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise _damaged(file, "no list of shapes")
    try:
        found = globox.Annotation.from_labelme(file, include_poly=True)
    except (globox.errors.ParsingError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise _damaged(file, str(error) or type(error).__name__) from error
    problems = []
    places = []
    for index, shape in enumerate(shapes):
        where = f"{file}: shapes[{index}]"
        if shape.get("shape_type") in _READ_SHAPES:
            places.append(where)
        else:
            problems.append(_left_out(where, str(shape.get("shape_type"))))
    boxes = tuple(_named(where, box) for where, box in zip(places, found.boxes, strict=True))
    size = (found.image_height, found.image_width)
    return NamedLabels((NamedImage(str(file), found.image_id, boxes, size),), tuple(problems))


def read_cvat(file: Path) -> NamedLabels:
    """Reads a file of `CVAT for images 1.1`; the classes are those of the task, in its order.

    Raises:
        InputError: globox is not installed, the file is damaged, or it is of a video.
    """
    globox = _globox(file)
    root = _xml(file)
    if root.find("track") is not None:
        raise InputError(
            f"{printable(file)}: CVAT for images was expected. Received: tracks, as CVAT for video has them. "
            "Export the task as `CVAT for images 1.1` or as COCO."
        )
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for node in root.findall("image"):
        where = f"{file}: image {node.get('name')!r}"
        try:
            found = globox.Annotation.from_cvat(node)
        except (globox.errors.ParsingError, AssertionError, ValueError) as error:
            detail = f"a name, a size and boxes from xtl, ytl to xbr, ybr were expected. Received: {error} "
            problems.append(problem("malformed_image", where, detail=f"{detail} Correct the image.", fixed=False))
            continue
        problems.extend(_other_shapes(node, where))
        boxes = tuple(_named(f"{where}: box {index}", box) for index, box in enumerate(found.boxes))
        size = (found.image_height, found.image_width)
        images.append(NamedImage(where, found.image_id, boxes, size, node.get("subset") or ""))
    names = [(label.findtext("name") or "").strip() for label in root.iterfind("meta//labels/label")]
    return NamedLabels(tuple(images), tuple(problems), tuple(dict.fromkeys(name for name in names if name)))


def _other_shapes(node: ElementTree.Element, where: str) -> Iterator[Problem]:
    for shape in node:
        if shape.tag != "box":
            yield _left_out(where, shape.tag)
        elif float(shape.get("rotation") or 0):
            detail = f"an upright box was expected. Received: rotation={shape.get('rotation')!r}. "
            detail += "Draw it upright, or export the task as COCO."
            yield problem("rotated_box", where, detail=detail, fixed=False)


def _left_out(where: str, shape: str) -> Problem:
    if shape in _NO_AREA:
        return problem("shape_left_out", where, detail=f"a shape {shape!r} encloses no object, left out", fixed=True)
    detail = f"rectangles or polygons (CVAT: boxes) were expected. Received: a shape {shape!r}. "
    detail += "Draw a box around it, or export the labels as COCO."
    return problem("unknown_shape", where, detail=detail, fixed=False)


def _named(where: str, box: Any) -> NamedBox:
    return NamedBox(where, box.label.strip(), (box.ymin, box.xmin, box.ymax, box.xmax))


def _xml(file: Path) -> ElementTree.Element:
    return parse_xml(file)


def _damaged(file: Path, reason: str) -> InputError:
    return InputError(
        f"{printable(file)}: a complete LabelMe or CVAT file was expected. Received: {printable(reason)}. "
        "Is the file cut off, or of an old version? Save it again."
    )


def _globox(file: Path) -> ModuleType:
    try:
        import globox
        import globox.errors
    except ImportError as error:
        raise InputError(
            f"{printable(file)}: the package globox was expected, for LabelMe and CVAT labels. "
            f"Received: {printable(error)}. Run: pip install 'keras-retina[formats]'"
        ) from error
    return globox
