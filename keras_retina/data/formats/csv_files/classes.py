"""The classes of CSV labels: names as they are, or numbers and OpenImages codes that a file of their own names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.data.formats.csv_files.columns import plain
from keras_retina.data.formats.csv_files.table import Row, read_rows, read_sample
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.json_values import whole_number

ONLY_CLASS = "object"
"""The class of files that name none."""

_HEADERS = ("name", "class", "classname", "label", "labelname", "id", "mid", "index")
_CODES = ("/m/", "/g/", "/j/", "/t/")  # Freebase and Knowledge Graph


@dataclass(frozen=True)
class Classes:
    """The classes of all splits: `index` leads from what a cell says to the place in `names`."""

    names: tuple[str, ...]
    index: dict[str, int]


def find_classes(cells: Iterable[str], class_files: Sequence[Path], *, wanted: Sequence[str] | None) -> Classes:
    """Returns the classes of a folder, the same for every split.

    Args:
        cells: what the class column says, in all splits.
        class_files: they list the names of the classes.
        wanted: names for classes that are only numbers, from 0 or from 1 on.

    Raises:
        InputError: a class file is damaged, or two of them disagree.
    """
    found = set(cells) - {""}
    numbers = {cell: class_number(cell) for cell in found}
    numbered = bool(found) and all(number is not None for number in numbers.values())
    listed = _listed(class_files)
    codes = {key: name for key, name in listed.items() if not key.isdecimal()}
    if codes:
        used = {cell: codes.get(cell, cell) for cell in found}
        names = tuple(sorted(set(used.values())))
        return Classes(names, {cell: names.index(name) for cell, name in used.items()})
    if listed:
        ids = sorted(int(key) for key in listed)
        names = tuple(listed[str(number)] for number in ids)
        index = {name: place for place, name in enumerate(names)}
        if numbered and not found <= set(names):
            index = {cell: ids.index(number) for cell, number in numbers.items() if number in ids}
        return Classes(names, index)
    if not numbered:
        names = tuple(sorted(found))
        return Classes(names, {name: place for place, name in enumerate(names)})
    ids = sorted({number for number in numbers.values() if number is not None})
    if wanted is None or set(wanted) <= {str(number) for number in ids}:
        index = {cell: ids.index(number) for cell, number in numbers.items() if number is not None}
        return Classes(tuple(map(str, ids)), index)
    first = 1 if ids[0] >= 1 and ids[-1] == len(wanted) else 0
    index = {cell: number - first for cell, number in numbers.items() if number is not None}
    return Classes(tuple(wanted), {cell: place for cell, place in index.items() if place < len(wanted)})


def class_number(text: str) -> int | None:
    """Returns the number of a class, also of `3.0` as pandas writes it; None for a name."""
    return whole_number(text.removesuffix(".0"))


def _listed(class_files: Sequence[Path]) -> dict[str, str]:
    names: dict[str, str] = {}
    for file in class_files:
        for number, (key, name) in _read_class_file(file):
            if names.setdefault(key, name) != name:
                raise InputError(
                    f"{printable(file)}: line {number}: the name {names[key]!r} was expected for {key}, as another "
                    f"class file says. Received: {name!r}. Use one list in every split."
                )
    return names


def _read_class_file(file: Path) -> list[tuple[int, tuple[str, str]]]:
    """Returns lines with their (number or code, name)."""
    rows = read_rows(file, next(iter(read_sample(file).rows), ","))
    if rows and all(plain(cell) in (*_HEADERS, "displayname", "classid", "labelid") for cell in rows[0][1]):
        rows = rows[1:]
    if rows and rows[0][1][0].startswith(_CODES):
        return [(number, (line[0], line[1])) for number, line in rows if len(line) == 2]
    turned = bool(rows) and all(len(line) == 2 and line[0].isdecimal() and not line[1].isdecimal() for _, line in rows)
    pairs: dict[str, str] = {}
    for number, line in rows:
        name, key = (line[::-1] if turned else line) if len(line) == 2 else ("", "")
        place = whole_number(key)
        if place is None or str(place) in pairs or not name or name in pairs.values():
            raise _bad_row(file, (number, line))
        pairs[str(place)] = name
    return [(number, pair) for (number, _), pair in zip(rows, pairs.items(), strict=True)]


def _bad_row(file: Path, row: Row) -> InputError:
    return InputError(
        f"{printable(file)}: line {row[0]}: name,id with a new name and a new id was expected. "
        f"Received: {printable(','.join(row[1]))!r:.80}. Correct the row."
    )
