"""The boxes of a row of a CSV file: corners, a corner and a size, a centre and a size, a cell of numbers or JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_retina.data.formats.csv_files.columns import MISSING, Columns
from keras_retina.foundation.json_values import parse_json

Corners = tuple[float, float, float, float]
"""y1, x1, y2, x2 as the file has them."""

_ONE_BOX = re.compile(r"[^;\[\](){}]+")
_CLASS_KEYS = ("class", "label", "name", "type", "category", "object")


class NoBoxError(ValueError):
    """A row whose box cannot be read; the text says what was received."""


class OtherShapeError(ValueError):
    """A labelled shape that encloses nothing, such as a point."""


def box_parser(columns: Columns) -> Callable[[Sequence[str]], list[Corners]]:
    """Returns a function that reads the boxes of a row, none where the row has none.

    It raises NoBoxError for a box that cannot be read and OtherShapeError for a shape without area.
    """
    cells, comma = columns.box, columns.delimiter != ","
    first, second, third, fourth = cells if len(cells) == 4 else (cells[0],) * 4
    form = columns.form

    def numbers(row: Sequence[str]) -> tuple[float, float, float, float] | None:
        try:
            values = float(row[first]), float(row[second]), float(row[third]), float(row[fourth])
            if not math.isnan(sum(values)):
                return values
        except (ValueError, IndexError):
            pass
        texts = [_cell(row, index) for index in cells]
        if all(text.lower() in MISSING for text in texts):
            return None
        a, b, c, d = (_number(text, comma=comma) for text in texts)
        if math.isnan(a + b + c + d):
            raise NoBoxError(", ".join(repr(text) for text in texts))
        return a, b, c, d

    def corners(row: Sequence[str]) -> list[Corners]:
        found = numbers(row)
        return [] if found is None else [(found[1], found[0], found[3], found[2])]

    def size(row: Sequence[str]) -> list[Corners]:
        found = numbers(row)
        return [] if found is None else [_from_size(*found)]

    def center(row: Sequence[str]) -> list[Corners]:
        found = numbers(row)
        if found is None:
            return []
        x, y, width, height = found
        return [(y - height / 2, x - width / 2, y + height / 2, x + width / 2)]

    def vertices(row: Sequence[str]) -> list[Corners]:
        return _from_vertices([_cell(row, index) for index in cells], comma=comma)

    def cell_of_corners(row: Sequence[str]) -> list[Corners]:
        return [(y1, x1, y2, x2) for x1, y1, x2, y2 in numbers_of_cell(_cell(row, first))]

    def cell_of_size(row: Sequence[str]) -> list[Corners]:
        return [_from_size(*box) for box in numbers_of_cell(_cell(row, first))]

    def via(row: Sequence[str]) -> list[Corners]:
        return shape_boxes(json_cell(_cell(row, first)))

    return {
        "corners": corners,
        "size": size,
        "center": center,
        "vertices": vertices,
        "bbox": cell_of_size,
        "bbox_size": cell_of_size,
        "bbox_corners": cell_of_corners,
        "via": via,
    }[form]


def numbers_of_cell(text: str) -> list[tuple[float, float, float, float]]:
    """Reads `[1, 2, 3, 4]`, `1 2 3 4` or several such boxes between brackets or semicolons.

    Raises:
        NoBoxError: there are other than four numbers in one of them.
    """
    if text.lower() in MISSING:
        return []
    found = []
    for part in _ONE_BOX.findall(text):
        words = part.replace(",", " ").split()
        if not words:
            continue
        values = [_number(word, comma=False) for word in words]
        if len(values) != 4 or math.isnan(sum(values)):
            raise NoBoxError(repr(text))
        found.append((values[0], values[1], values[2], values[3]))
    if not found:
        raise NoBoxError(repr(text))
    return found


def json_cell(text: str) -> dict[str, Any]:
    """Reads a cell with a JSON object; an empty one is an empty object.

    Raises:
        NoBoxError: it is no JSON object.
    """
    try:
        found = parse_json(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoBoxError(repr(text))
    return found


def class_of_attributes(attributes: Mapping[str, Any]) -> str:
    """Returns the class among VIA's attributes of a region: the only one, or the one that is called so; else ""."""
    values = {key.strip().lower(): value for key, value in attributes.items()}
    key = next((key for key in _CLASS_KEYS if key in values), next(iter(values), "") if len(values) == 1 else "")
    value = values.get(key, "")
    if isinstance(value, dict):  # check boxes: {"cat": true}
        ticked = [name for name, on in value.items() if on is True]
        value = ticked[0] if len(ticked) == 1 else ""
    return str(value).strip()


def shape_boxes(shape: Mapping[str, Any]) -> list[Corners]:
    """Returns the box around a shape of VIA, none for an empty one.

    Raises:
        NoBoxError: its numbers cannot be read.
        OtherShapeError: it encloses nothing, such as a point.
    """
    if not shape:
        return []
    name = shape.get("name")
    try:
        if name == "rect":
            return [_from_size(*(float(shape[key]) for key in ("x", "y", "width", "height")))]
        if name == "polygon":
            xs, ys = ([float(value) for value in shape[key]] for key in ("all_points_x", "all_points_y"))
            return [(min(ys), min(xs), max(ys), max(xs))]
        if name == "circle" or (name == "ellipse" and not float(shape.get("theta") or 0)):
            x, y = float(shape["cx"]), float(shape["cy"])
            rx, ry = (float(shape["r"]),) * 2 if name == "circle" else (float(shape["rx"]), float(shape["ry"]))
            return [(y - ry, x - rx, y + ry, x + rx)]
    except (KeyError, TypeError, ValueError) as error:
        raise NoBoxError(repr(dict(shape))) from error
    raise OtherShapeError(str(name))


def _from_size(x: float, y: float, width: float, height: float) -> Corners:
    return y, x, y + height, x + width


def _from_vertices(texts: Sequence[str], *, comma: bool) -> list[Corners]:
    points = []
    for x, y in zip(texts[::2], texts[1::2], strict=True):
        if x.lower() in MISSING and y.lower() in MISSING:
            continue
        points.append((_number(x, comma=comma), _number(y, comma=comma)))
    if not points:
        return []
    xs, ys = zip(*points, strict=True)
    if len(points) not in (2, 4) or math.isnan(sum(xs) + sum(ys)):
        raise NoBoxError(", ".join(repr(text) for text in texts))
    if len(points) == 2:  # in order, so that a reversed box is seen
        return [(ys[0], xs[0], ys[1], xs[1])]
    return [(min(ys), min(xs), max(ys), max(xs))]


def _cell(row: Sequence[str], index: int) -> str:
    return row[index] if index < len(row) else ""


def _number(text: str, *, comma: bool) -> float:
    try:
        return float(text.replace(",", ".") if comma else text)
    except ValueError:
        return math.nan
