"""CSV labels, one row for each box, in two styles; a row with nothing but the file is an image without objects.

With a header: `filename,width,height,class,xmin,ymin,xmax,ymax`, columns in any order, width and height optional.
Without: `path,x1,y1,x2,y2,class` and `classes.csv` with `name,id` rows, as in
https://github.com/fizyr/keras-retinanet#csv-datasets.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem, safe_path
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, closest, printable

_COLUMNS = {
    "file": ("filename", "file_name", "file", "image", "image_path", "path"),
    "ymin": ("ymin", "y1", "y_min"),
    "xmin": ("xmin", "x1", "x_min"),
    "ymax": ("ymax", "y2", "y_max"),
    "xmax": ("xmax", "x2", "x_max"),
    "class": ("class", "class_name", "label", "name", "category"),
    "height": ("height", "image_height"),
    "width": ("width", "image_width"),
}
_HEADERLESS = ("file", "xmin", "ymin", "xmax", "ymax", "class")
_BOX = ("ymin", "xmin", "ymax", "xmax")
_CLASS_FILES = ("classes.csv", "class_mapping.csv")


@dataclass(frozen=True)
class _Row:
    where: str
    values: dict[str, str]  # keys of _COLUMNS; missing columns and cells are ""


def csv_splits(data_dir: Path) -> dict[str, Path]:
    """Maps split names to `<split>.csv` or `<split>_labels.csv`."""
    files = sorted(file for file in data_dir.glob("*.csv") if file.name not in _CLASS_FILES)
    return {file.stem.removesuffix("_labels"): file for file in files}


def csv_class_names(data_dir: Path) -> tuple[str, ...]:
    """Returns the class names of `classes.csv` in the order of their ids, else those of all splits, sorted."""
    for name in _CLASS_FILES:
        file = data_dir / name
        if file.is_file():
            return _mapped_names(file)
    rows = [row for file in csv_splits(data_dir).values() for row in _rows(file)]
    return tuple(sorted({row.values["class"] for row in rows} - {""}))


def read_csv(csv_file: Path, data_dir: Path, *, split: str, name: str, class_names: Sequence[str]) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`. Category ids are 1, 2, ... in class order.

    Image files are looked for in `images/<split>`, `images`, `<split>` and the data folder: where most of them are.

    Raises:
        InputError: the file is not CSV or lacks a column.
    """
    class_names = tuple(class_names)
    rows_of: dict[str, list[_Row]] = {}
    for row in _rows(csv_file):
        rows_of.setdefault(row.values["file"], []).append(row)
    problems: list[Problem] = []
    images: list[LabelledImage] = []
    for index, (file_name, rows) in enumerate(rows_of.items(), start=1):
        boxes, found = _read_boxes(rows, class_names)
        problems.extend(found)
        size = _size(rows[0])
        for row in rows[1:]:
            if _size(row) != size:
                detail = f"the size of {file_name!r} as in {rows[0].where} was expected. Received: {_size(row)}."
                problems.append(
                    problem("size_mismatch", row.where, detail=f"{detail} Correct one of them.", fixed=False)
                )
        images.append(LabelledImage(rows[0].where, index, file_name, size, boxes))
    records, found = build_records(images, _image_dir(data_dir, split, file_names=list(rows_of)))
    ids = tuple(range(1, len(class_names) + 1))
    return Dataset(name, split, class_names, ids, tuple(records), tuple(problems + found))


def _find(data_dir: Path) -> list[Layout]:
    splits = csv_splits(data_dir)
    if not splits:
        return []

    def read(split: str, reading: Reading) -> Dataset:
        name, class_names = data_dir.resolve().name, csv_class_names(data_dir)
        return read_csv(splits[split], data_dir, split=split, name=name, class_names=class_names)

    return [Layout("csv", "CSV", tuple(splits), read)]


CSV = Reader("csv", "<split>.csv", _find)


def _read_boxes(rows: Sequence[_Row], class_names: tuple[str, ...]) -> tuple[tuple[LabelledBox, ...], list[Problem]]:
    boxes: list[LabelledBox] = []
    problems: list[Problem] = []
    empty = [row for row in rows if not any(row.values[field] for field in (*_BOX, "class"))]
    for row in empty[1:]:
        detail = f"each image without objects once was expected. Received: {row.values['file']!r} again. Remove one."
        problems.append(problem("image_listed_twice", row.where, detail=detail, fixed=False))
    if empty and len(empty) < len(rows):
        detail = "a row without a box was ignored, other rows give the image boxes"
        problems.append(problem("empty_row", empty[0].where, detail=detail, fixed=True))
    for row in rows:
        if row in empty:
            continue
        texts = {field: row.values[field] for field in _BOX}
        y1, x1, y2, x2 = (_number(text) for text in texts.values())
        class_name = row.values["class"]
        if any(math.isnan(value) for value in (y1, x1, y2, x2)):
            detail = f"four numbers were expected. Received: {texts}. Correct the row."
            problems.append(problem("invalid_box", row.where, detail=detail, fixed=False))
        elif class_name not in class_names:
            detail = f"a known class was expected. Received: class={class_name!r}. {closest(class_name, class_names)}"
            problems.append(problem("unknown_category", row.where, detail=detail, fixed=False))
        else:
            boxes.append(LabelledBox(row.where, (y1, x1, y2, x2), class_names.index(class_name)))
    return tuple(boxes), problems


def _rows(file: Path) -> list[_Row]:
    """Reads the rows of either style, blank lines left out."""
    cells = _cells(file)
    if not cells:
        return []
    # A header has words where a row has numbers (or nothing).
    header = [cell.lower() for cell in cells[0][1]]
    if any(_number(cell) == _number(cell) for cell in header[1:]) or not any(header[1:]):
        columns = dict(zip(_HEADERLESS, range(len(_HEADERLESS)), strict=True))
    else:
        columns = {
            column: next(index for index, cell in enumerate(header) if cell in names)
            for column, names in _COLUMNS.items()
            if any(cell in names for cell in header)
        }
        missing = [column for column in _HEADERLESS if column not in columns]
        if missing:
            raise InputError(
                f"{printable(file)}: line 1: columns filename, class, xmin, ymin, xmax, ymax were expected. "
                f"Received: {printable(','.join(header))!r:.120}, without {', '.join(missing)}. Correct the header."
            )
        cells = cells[1:]
    rows = []
    for number, line in cells:
        values = {column: line[index] if index < len(line) else "" for column, index in columns.items()}
        rows.append(_Row(f"{file}: line {number}", {column: values.get(column, "") for column in _COLUMNS}))
    return rows


def _cells(file: Path) -> list[tuple[int, list[str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{printable(file)}: a CSV file was expected. Received: {printable(error)}. Check the file."
        ) from error
    return [(number, line) for number, line in lines if any(line)]


def _mapped_names(file: Path) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for number, line in _cells(file):
        index = int(line[1]) if len(line) == 2 and line[1].isdecimal() else -1
        if index < 0 or index in names or not line[0] or line[0] in names.values():
            raise InputError(
                f"{printable(file)}: line {number}: name,id with a new name and a new id was expected. "
                f"Received: {printable(','.join(line))!r:.80}. Correct the row."
            )
        names[index] = line[0]
    return tuple(name for _, name in sorted(names.items()))


def _image_dir(data_dir: Path, split: str, *, file_names: Sequence[str]) -> Path:
    def found(folder: Path) -> int:
        return sum(_is_file(folder, file_name) for file_name in file_names[:100])

    # max keeps the first of equals
    return max((data_dir / "images" / split, data_dir / "images", data_dir / split, data_dir), key=found)


def _is_file(folder: Path, file_name: str) -> bool:
    try:
        return safe_path(folder, file_name).is_file()
    except InputError:
        return False  # build_records reports it


def _size(row: _Row) -> tuple[int, int] | None:
    height, width = row.values["height"], row.values["width"]
    if height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0:
        return int(height), int(width)
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
