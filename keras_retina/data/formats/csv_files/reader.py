"""Label format CSV: one row for each box; a row with nothing but the file is an image without objects.

With a header, columns are in any order and have any of the usual names, as in `filename,width,height,class,xmin,ymin,
xmax,ymax`, OpenImages, Kaggle and VIA files. Without one, rows are those of keras-retinanet or Google AutoML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from keras_retina.data.formats.box_values import with_box_values
from keras_retina.data.formats.csv_files.bbox_column import bbox_form
from keras_retina.data.formats.csv_files.boxes import NoBoxError
from keras_retina.data.formats.csv_files.classes import Classes, find_classes
from keras_retina.data.formats.csv_files.columns import Columns, Incomplete
from keras_retina.data.formats.csv_files.place_images import left_over, meant_files, place_images
from keras_retina.data.formats.csv_files.rows import class_reader, has_box, read_labels
from keras_retina.data.formats.csv_files.sources import LabelFiles, Source, find_splits, label_files
from keras_retina.data.formats.csv_files.table import Row, read_rows
from keras_retina.data.formats.image_files import list_images
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, printable


def _find(place: Path) -> list[Layout]:
    labels = label_files(place)
    if labels is None:
        return []
    folder = _Folder(labels)
    kinds = sorted({columns.kind for columns in labels.tables.values() if isinstance(columns, Columns)})
    kind = kinds[0] if len(kinds) == 1 else "CSV"
    return [Layout("csv", kind, tuple(folder.splits), folder.read, folder.unread)]


CSV = Reader("csv", "CSV files (train.csv, labels.csv, train/_annotations.csv)", _find)


class _Folder:
    """The label files of a folder and what has been read of them; each is read once, when it is first needed."""

    def __init__(self, labels: LabelFiles) -> None:
        self._labels = labels
        self._rows = cache(self._read_rows)
        self._images = cache(lambda: list_images(labels.root))
        self._columns = cache(self._decided_columns)
        self.splits = find_splits(labels, self._rows)

    def read(self, split: str, reading: Reading) -> Dataset:
        """Reads one split.

        Raises:
            InputError: a file is not CSV or lacks a column, or two files are this split.
        """
        source, *others = self.splits[split]
        if others:
            raise InputError(
                f"{printable(source.file)}: one CSV file for the split {split!r} was expected. "
                f"Received: also {printable(others[0].file)}. Move one of them away, or give the file itself as --data."
            )
        columns, classes = self._columns()[source.file], self._classes(reading)
        rows = self._rows_of(source)
        name, ids = self._labels.root.resolve().name, tuple(range(1, len(classes.names) + 1))
        if columns.form == "bbox" and any(has_box(row, columns) for _, row in rows):
            return Dataset(name, split, classes.names, ids, (), (_unclear(source.file),))
        labels = read_labels(source.file, rows, columns=columns, classes=classes)
        images, wrong = with_box_values(
            labels.images, reading.boxes, normalized=columns.normalized, kind=columns.kind, file=source.file
        )
        records, found = place_images(images, self._images(), labels=source.file, split=split)
        problems = wrong or [*labels.problems, *found]
        return Dataset(name, split, classes.names, ids, tuple(records), tuple(problems))

    def unread(self) -> list[Problem]:
        """Returns the images that no split names and the CSV files that hold no labels."""
        used = {*self._labels.tables, *self._labels.classes}
        problems = []
        for split, sources in self.splits.items():
            for source in sources:
                names = [row[self._columns()[source.file].file] for _, row in self._rows_of(source)]
                used |= meant_files(names, self._images(), labels=source.file, split=split)
        for file, columns in self._columns().items():
            values = {source.value for sources in self.splits.values() for source in sources if source.file == file}
            place = columns.split
            for number, row in () if place is None or None in values else self._rows(file):
                if place is not None and (place >= len(row) or row[place] not in values):
                    detail = f"the row of {row[columns.file]!r} names no split, left out"
                    problems.append(problem("not_in_any_split", f"{file}: line {number}", detail=detail, fixed=True))
        return problems + left_over(self._images(), used)

    def _read_rows(self, file: Path) -> list[Row]:
        columns = self._labels.tables[file]
        if isinstance(columns, Incomplete):
            raise _incomplete(file, columns)
        rows = read_rows(file, columns.delimiter)
        return rows[1:] if columns.header else rows

    def _rows_of(self, source: Source) -> list[Row]:
        columns, rows = self._labels.tables[source.file], self._rows(source.file)
        if source.value is None or isinstance(columns, Incomplete) or columns.split is None:
            return rows
        place = columns.split
        return [row for row in rows if place < len(row[1]) and row[1][place] == source.value]

    def _classes(self, reading: Reading) -> Classes:
        cells: set[str] = set()
        for file, columns in self._columns().items():
            read = class_reader(columns)
            try:
                rows = self._rows(file)
            except InputError:
                if self._labels.classes:
                    continue  # they name the classes; reading the split of this file raises the error again
                raise
            for _, row in rows:
                cell = _class_or_none(read, row)
                if cell not in cells and has_box(row, columns):
                    cells.add(cell)
        return find_classes(cells, self._labels.classes, wanted=reading.classes)

    def _decided_columns(self) -> dict[Path, Columns]:
        """Returns the columns of all files, with what only the rows of all files tell."""
        tables = {file: columns for file, columns in self._labels.tables.items() if isinstance(columns, Columns)}
        if len(tables) < len(self._labels.tables):
            self._rows(next(file for file in self._labels.tables if file not in tables))  # it raises
        unclear = [file for file, columns in tables.items() if columns.form == "bbox"]
        if unclear:
            form = bbox_form([(file, tables[file], self._rows(file)) for file in unclear], self._images)
            tables.update((file, replace(tables[file], form=form)) for file in unclear if form is not None)
        via = [file for file, columns in tables.items() if columns.form == "via"]
        named = any(_class_or_none(class_reader(tables[file]), row) for file in via for _, row in self._rows(file))
        if via and not named:
            tables.update((file, replace(tables[file], class_name=None)) for file in via)
        return tables


def _class_or_none(read: Callable[[Sequence[str]], str], row: Sequence[str]) -> str:
    try:
        return read(row)
    except NoBoxError:
        return ""  # read_labels tells of the row


def _unclear(file: Path) -> Problem:
    detail = (
        "a column with x1, y1, x2, y2 or with x, y, width, height was expected. "
        "Received: bbox, and the boxes do not tell which. Call the column bbox_xyxy or bbox_xywh."
    )
    return problem("ambiguous_boxes", f"{file}: line 1", detail=detail, fixed=False)


def _incomplete(file: Path, columns: Incomplete) -> InputError:
    lacks = f"without {', '.join(columns.missing)}" if columns.missing else "where none of them is named"
    return InputError(
        f"{printable(file)}: line 1: columns filename, class, xmin, ymin, xmax, ymax were expected. "
        f"Received: {printable(columns.header)!r:.120}, {lacks}. Correct the header."
    )
