"""Reads files of a run folder that may be damaged: each value has the type that its writer gave it.

Else there is an `InputError` of one line that names the file and the field.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError


def read_text(path: Path) -> str | None:
    """Returns the text of a file, or None when it does not exist."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text. Received: {error}. Restore the file.") from error


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file, or None when it does not exist."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
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


def is_id(value: Any) -> bool:
    """Tells an integer of at most 64 bits from anything else."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_box(value: Any) -> bool:
    """Tells a list of four numbers from anything else."""
    return isinstance(value, list) and len(value) == 4 and all(is_number(side) for side in value)


def unexpected(where: Path | str, expected: str, *, received: Any) -> InputError:
    """Returns the error for a field of a run folder that has another type than its writer gives it."""
    shown = repr(received)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return InputError(f"{where}: expected {expected}. Received: {shown}. Run the command that wrote the file again.")
