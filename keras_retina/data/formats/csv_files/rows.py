"""Rows of a CSV file as labelled images: which rows are one image, and what is wrong with a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.csv_files.boxes import (
    NoBoxError,
    OtherShapeError,
    box_parser,
    class_of_attributes,
    json_cell,
)
from keras_retina.data.formats.csv_files.classes import ONLY_CLASS, Classes
from keras_retina.data.formats.csv_files.columns import MISSING, Columns
from keras_retina.data.formats.csv_files.table import Row
from keras_retina.data.formats.repair import LabelledBox, LabelledImage, problem
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import closest
from keras_retina.foundation.json_values import whole_number

_TRUE = ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class Labels:
    """What the rows of a split say; `images` have the file names of the labels."""

    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...]


def read_labels(file: Path, rows: Sequence[Row], *, columns: Columns, classes: Classes) -> Labels:
    """Returns the images in the order of the file, with ids from 1 on and boxes as the file has them."""
    of_image: dict[str, list[Row]] = {}
    for row in rows:
        of_image.setdefault(row[1][columns.file] if columns.file < len(row[1]) else "", []).append(row)
    read_boxes = _box_reader(file, columns, classes=classes)
    images: list[LabelledImage] = []
    problems: list[Problem] = []
    if columns.class_name is None and rows:
        detail = f"no column names a class, so every box is of the class {ONLY_CLASS!r}"
        problems.append(problem("no_class_column", f"{file}: line 1", detail=detail, fixed=True))
    for index, (name, own) in enumerate(of_image.items(), start=1):
        boxes, found = read_boxes(name, own)
        problems.extend(found)
        problems.extend(_other_sizes(file, own, columns=columns))
        images.append(LabelledImage(f"{file}: line {own[0][0]}", index, name, image_size(own[0][1], columns), boxes))
    return Labels(tuple(images), tuple(problems))


def class_reader(columns: Columns) -> Callable[[Sequence[str]], str]:
    """Returns a function that reads the class of a row, "" where it has none.

    It raises NoBoxError for attributes of VIA that cannot be read.
    """
    place = columns.class_name
    if place is None:
        return lambda row: ONLY_CLASS
    if columns.form == "via":
        return lambda row: class_of_attributes(json_cell(row[place] if place < len(row) else ""))
    return lambda row: row[place] if place < len(row) else ""


def has_box(row: Sequence[str], columns: Columns) -> bool:
    """Tells whether any cell of the box holds something."""
    return any(place < len(row) and row[place].lower() not in MISSING for place in columns.box)


def image_size(row: Sequence[str], columns: Columns) -> tuple[int, int] | None:
    """Returns height and width of the image as a row gives them."""
    if columns.size is None:
        return None
    texts = [row[place] if place < len(row) else "" for place in columns.size]
    height, width = (_whole(text) if (found := whole_number(text)) is None else found for text in texts)
    return (height, width) if height > 0 and width > 0 else None


def _box_reader(
    file: Path, columns: Columns, *, classes: Classes
) -> Callable[[str, Sequence[Row]], tuple[tuple[LabelledBox, ...], list[Problem]]]:
    parse, class_of = box_parser(columns), class_reader(columns)
    crowd, start = columns.crowd, f"{file}: line "

    def read(name: str, rows: Sequence[Row]) -> tuple[tuple[LabelledBox, ...], list[Problem]]:
        boxes: list[LabelledBox] = []
        problems: list[Problem] = []
        empty: list[str] = []
        for number, row in rows:
            where = f"{start}{number}"
            try:
                found = parse(row)
                class_name = class_of(row)
            except NoBoxError as error:
                detail = f"four numbers were expected. Received: {error}. Correct the row."
                problems.append(problem("invalid_box", where, detail=detail, fixed=False))
                continue
            except OtherShapeError as error:
                detail = f"a shape {str(error)!r} encloses no object, left out"
                problems.append(problem("shape_left_out", where, detail=detail, fixed=True))
                continue
            if not found and (columns.class_name is None or columns.form == "via" or class_name.lower() in MISSING):
                empty.append(where)
            elif not found:
                detail = f"four numbers were expected. Received: class={class_name!r} without a box. Correct the row, "
                detail += "or empty its class if the image has no objects."
                problems.append(problem("invalid_box", where, detail=detail, fixed=False))
            elif class_name not in classes.index:
                detail = f"a known class was expected. Received: class={class_name!r}. "
                detail += closest(class_name, classes.names)
                problems.append(problem("unknown_category", where, detail=detail, fixed=False))
            else:
                index = classes.index[class_name]
                ignored = crowd is not None and crowd < len(row) and row[crowd].lower() in _TRUE
                boxes.extend(LabelledBox(where, corners, index, ignored) for corners in found)
        problems.extend(_empty_rows(name, empty, total=len(rows)))
        return tuple(boxes), problems

    return read


def _other_sizes(file: Path, rows: Sequence[Row], *, columns: Columns) -> list[Problem]:
    """Returns a problem for each row that gives the image another size than its first row does."""
    if columns.size is None:
        return []
    (line, first), *others = rows
    height, width = columns.size
    size, texts = image_size(first, columns), (first[height : height + 1], first[width : width + 1])
    problems = []
    for number, row in others:
        same = (row[height : height + 1], row[width : width + 1]) == texts  # faster than to read the numbers
        if not same and (other := image_size(row, columns)) != size:
            detail = f"the size of the image as in line {line} was expected. Received: {_size_text(other)}. "
            detail += "Correct one of them."
            problems.append(problem("size_mismatch", f"{file}: line {number}", detail=detail, fixed=False))
    return problems


def _empty_rows(name: str, empty: Sequence[str], *, total: int) -> list[Problem]:
    problems = []
    for where in empty[1:]:
        detail = f"each image without objects once was expected. Received: {name!r} again. Remove one."
        problems.append(problem("image_listed_twice", where, detail=detail, fixed=False))
    if empty and len(empty) < total:
        detail = "a row without a box was ignored, other rows give the image boxes"
        problems.append(problem("empty_row", empty[0], detail=detail, fixed=True))
    return problems


def _whole(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        return 0
    return int(value) if value.is_integer() else 0


def _size_text(size: tuple[int, int] | None) -> str:
    return "none" if size is None else f"width={size[1]}, height={size[0]}"
