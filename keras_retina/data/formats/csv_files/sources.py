"""Which CSV files of a folder are labels, and of which split: by a column, by the name of the file or of its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.csv_files.columns import Columns, Incomplete, class_file, label_file, recognise
from keras_retina.data.formats.csv_files.table import SUFFIXES, Row, read_sample
from keras_retina.data.formats.listing import files_in, label_folders
from keras_retina.data.formats.split_names import WHOLE, is_split_name, split_in_name
from keras_retina.foundation.errors import InputError

_LABEL_FOLDERS = ("annotations", "annotation", "labels", "label", "csv", "csv_folder", "data", "metadata")
_OTHER_SETS = ("unassigned", "validate")  # of Google AutoML
_MOST_SPLITS = 20


@dataclass(frozen=True)
class LabelFiles:
    """The CSV files of a folder.

    Attributes:
        root: the data folder.
        tables: label files and what their columns are.
        classes: files that list the names of the classes.
    """

    root: Path
    tables: dict[Path, Columns | Incomplete]
    classes: tuple[Path, ...]


@dataclass(frozen=True)
class Source:
    """Rows of one split: all of a file, or those with `value` in the column for splits."""

    file: Path
    value: str | None = None


def label_files(place: Path) -> LabelFiles | None:
    """Returns the label files in a folder and in the folders for labels or splits in it; None when there are none.

    A file that was handed in counts alone, whatever it holds.
    """
    if place.is_file():
        if not place.name.lower().endswith(SUFFIXES):
            return None
        beside = place.parent
        root = beside.parent if beside.name.lower() in _LABEL_FOLDERS else beside
        sample = read_sample(place)
        first = next((",".join(rows[0][1]) for rows in sample.rows.values() if rows), "")
        found = recognise(sample) or Incomplete(first, ())
        return LabelFiles(root, {place: found}, tuple(file for file in csv_files(beside) if class_file(file)))
    folders = label_folders(place, (*_LABEL_FOLDERS, "images"), around=_LABEL_FOLDERS, suffixes=SUFFIXES)
    files = [file for folder in folders for file in csv_files(folder)]
    tables: dict[Path, Columns | Incomplete] = {}
    empty = []
    for file in files:
        if not label_file(file):
            continue
        sample = read_sample(file)
        columns = recognise(sample)
        if columns is not None:
            tables[file] = columns
        elif not any(sample.rows.values()) and file.stat().st_size < 4:
            empty.append(file)
    complete = {file: columns for file, columns in tables.items() if isinstance(columns, Columns)}
    # A header that lacks a column is told of only where no other file has the labels.
    tables = dict(complete or tables)
    if tables or any(split_in_name(file.stem) for file in empty):
        nothing = next(iter(complete.values()), Columns("CSV", ",", False, 0, "corners", (1, 2, 3, 4), 5))
        tables.update((file, nothing) for file in empty)
    if not tables:
        return None
    return LabelFiles(place, tables, tuple(file for file in files if class_file(file)))


def csv_files(folder: Path) -> list[Path]:
    """Returns the CSV files in a folder by name."""
    return [file for file in files_in(folder, SUFFIXES) if file.is_file()]


def find_splits(labels: LabelFiles, rows_of: Callable[[Path], Sequence[Row]]) -> dict[str, list[Source]]:
    """Maps the splits, as the folder calls them, to where their rows are."""
    splits: dict[str, list[Source]] = {}
    for file, columns in sorted(labels.tables.items(), key=lambda item: item[0]):
        values = _split_values(file, columns, rows_of)
        if values:
            for value in values:
                name = "validation" if value.lower() == "validate" else value
                only_unassigned = len(values) == 1 and value.lower() == "unassigned"
                splits.setdefault(WHOLE if only_unassigned else name, []).append(Source(file, value))
        else:
            splits.setdefault(_split_of(file, labels), []).append(Source(file))
    return splits


def _split_values(file: Path, columns: Columns | Incomplete, rows_of: Callable[[Path], Sequence[Row]]) -> list[str]:
    """Returns what the column for splits holds, [] where it holds something else, such as a type of object."""
    if isinstance(columns, Incomplete) or columns.split is None:
        return []
    place = columns.split
    try:
        rows = rows_of(file)
    except InputError:
        return []  # it is raised again where the labels are read
    values = list(dict.fromkeys(row[place] for _, row in rows if place < len(row) and row[place]))
    usual = all(is_split_name(value) or value.lower() in _OTHER_SETS for value in values)
    return values if usual or (columns.split_named and len(values) <= _MOST_SPLITS) else []


def _split_of(file: Path, labels: LabelFiles) -> str:
    """Names the split of a whole file; a file alone that says nothing is all of the data."""
    named = split_in_name(file.stem)
    if named is None and file.parent != labels.root and file.is_relative_to(labels.root):
        parts = file.relative_to(labels.root).parts[:-1]
        named = next((part for part in reversed(parts) if is_split_name(part)), None)
    if named is None:
        named = WHOLE if len(labels.tables) == 1 else re.sub(r"[-_ ]?labels$", "", file.stem)
    return named
