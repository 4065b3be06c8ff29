"""Which class of a data set each class of somebody's file is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_retina.foundation.errors import InputError, closest, shown
from keras_retina.foundation.files.reading import read_bytes

NONE = -1


@dataclass(frozen=True)
class Counterparts:
    """`columns[i]` is the data set's class of class i of the file, -1 for none.

    `missing` are classes of the data that the file does not know, so that their AP is 0; `unused` are classes of the
    file that the data does not label, whose detections are left out.
    """

    columns: tuple[int, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def parse_class_map(value: str) -> dict[str, str]:
    """Returns `{class of the file: class of the data}` of `name=name,name=name`, or of a file with one pair a line.

    Raises:
        InputError: a part without `=`, or one class of the file twice.
    """
    try:
        path = Path(value)
        is_file = path.is_file()
    except (OSError, ValueError):  # a long list is no path
        is_file = False
    parts = _lines(path) if is_file else value.split(",")
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in parts)):
        name, separator, target = (side.strip() for side in part.partition("="))
        if not (name and separator and target):
            raise InputError(
                f"--class-map: expected class of the file=class of the data. Received: {shown(part)}. "
                "Write name=name,name=name, or a file with one such pair a line."
            )
        if name in pairs:
            raise InputError(f"--class-map: expected each class of the file once. Received: {shown(name)} twice.")
        pairs[name] = target
    return pairs


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"--class-map: expected UTF-8 text. Received: {path}: {error}. Convert it.") from error


def counterparts(
    file_names: Sequence[str], data_names: Sequence[str], *, class_map: Mapping[str, str], source: str
) -> Counterparts:
    """Matches classes by the map, the others by their name, without regard to upper and lower case.

    Raises:
        InputError: the map names a class that is not there, or nothing matches.
    """
    for received, names, owner in (
        *((name, file_names, source) for name in class_map),
        *((name, data_names, "the data") for name in class_map.values()),
    ):
        if received not in names:
            raise InputError(
                f"--class-map: expected a class of {owner}. Received: {received!r}. {closest(received, names)}"
            )
    by_name = {name.casefold(): index for index, name in enumerate(data_names)}
    columns = tuple(
        data_names.index(class_map[name]) if name in class_map else by_name.get(name.casefold(), NONE)
        for name in file_names
    )
    if not any(column != NONE for column in columns):
        shown = ", ".join(list(file_names)[:8]) + (", ..." if len(file_names) > 8 else "")
        raise InputError(
            f"{source}: expected classes of the data, {', '.join(data_names)}. Received: {shown}. "
            "Is this the right data? If so, say which is which with --class-map name=name."
        )
    missing = tuple(name for index, name in enumerate(data_names) if index not in columns)
    unused = tuple(name for name, column in zip(file_names, columns, strict=True) if column == NONE)
    return Counterparts(columns, missing, unused)
