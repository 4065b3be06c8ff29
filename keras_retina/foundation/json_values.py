"""Reads files of a run folder that may be damaged: each value has the type that its writer gave it.

Else there is an `InputError` of one line that names the file and the field.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, shown
from keras_retina.foundation.files.reading import read_bytes

MOST_BRACKETS = 100
_TOO_DEEP = f"more than {MOST_BRACKETS} brackets in each other"
_OPENING = np.frombuffer(b"[{", np.uint8)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_text(path: Path) -> str | None:
    """Returns the text of a file, or None when it does not exist."""
    try:
        return read_bytes(path).decode() if os.path.lexists(path) else None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text. Received: {error}. Restore the file.") from error


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text, which whoever sends a file may have made to do harm.

    Raises:
        ValueError: it is no JSON, or has more than 100 brackets in each other, at which Python gives up later.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if most_brackets(text) > MOST_BRACKETS:
        refuse_depth(value)
    return value


def refuse_depth(value: Any) -> None:
    """Looks through lists and dictionaries of plain values.

    Raises:
        ValueError: there are more than 100 of them in each other.
    """
    level, depth = [value], 0
    while level:
        lists = [one for one in level if isinstance(one, list | tuple)]
        mappings = [one for one in level if isinstance(one, dict)]
        if depth >= MOST_BRACKETS and (lists or mappings):
            raise ValueError(_TOO_DEEP)
        level = [item for one in lists for item in one]
        level += [item for one in mappings for pair in one.items() for item in pair]
        depth += 1


def most_brackets(text: str) -> int:
    """Returns at least how many brackets are in each other; those inside of texts count too."""
    brackets = np.frombuffer(text.encode("utf-8", "surrogatepass").translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where(np.isin(brackets, _OPENING), 1, -1)
    return int(np.cumsum(steps).max(initial=0))


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file, or None when it does not exist."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(
            f"{path}: expected complete JSON. Received: {error}. Run `keras-retina verify` or `export` again."
        ) from error


def read_mapping(path: Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file, or None when it does not exist."""
    value = read_json(path)
    if value is not None and not isinstance(value, dict):
        raise unexpected(path, "a JSON object", received=value)
    return value


def text_of(fields: dict[str, Any], name: str, *, where: str) -> str:
    """Returns the text in a field, empty where it is null or not there."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise unexpected(f"{where}.{name}", "a text or null", received=value)
    return value or ""


def mapping_of(fields: dict[str, Any], name: str, *, where: str) -> dict[str, Any]:
    """Returns the object in a field, empty where it is null or not there."""
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise unexpected(f"{where}.{name}", "an object", received=value)
    return value or {}


def number_of(fields: dict[str, Any], name: str, *, where: str) -> float | None:
    """Returns the finite number in a field; None where it is null, not there, or not finite."""
    value = fields.get(name)
    if value is not None and not is_number(value):
        raise unexpected(f"{where}.{name}", "a number or null", received=value)
    return number(value)


def count_of(fields: dict[str, Any], name: str, *, where: str) -> int | None:
    """Returns the number in a field without its fraction; None where it is null, not there, or not finite."""
    value = number_of(fields, name, where=where)
    return None if value is None else int(value)


def number(value: Any) -> float | None:
    """Returns a finite float, or None for anything that is not one."""
    return float(value) if is_number(value) and math.isfinite(value) else None


def is_number(value: Any) -> bool:
    """Tells a float, or an integer that a float can hold, from anything else; True and False are no numbers."""
    return isinstance(value, float) or is_id(value)


def whole_number(text: str) -> int | None:
    """Returns the number of at most 18 digits that a text is, None for any other text: nothing counts further."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def is_id(value: Any) -> bool:
    """Tells an integer of at most 64 bits from anything else."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_box(value: Any) -> bool:
    """Tells a list of four numbers from anything else."""
    return isinstance(value, list) and len(value) == 4 and all(is_number(side) for side in value)


def unexpected(where: Path | str, expected: str, *, received: Any) -> InputError:
    """Returns the error for a field of a run folder that has another type than its writer gives it."""
    return InputError(
        f"{where}: expected {expected}. Received: {shown(received)}. Run the command that wrote the file again."
    )
