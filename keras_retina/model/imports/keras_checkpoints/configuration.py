"""Values of a saved configuration, looked up with an error that says which one is not as it must be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, printable


def class_of(saved: Any) -> str:
    """Returns the name of the class that was saved, without its package; empty where nothing was."""
    return str(saved.get("class_name", "")).rpartition(">")[2] if isinstance(saved, Mapping) else ""


def config_of(saved: Any, expected: str, *, path: Path, what: str) -> Mapping[str, Any]:
    """Returns the configuration of an object that was saved.

    Raises:
        InputError: it is of another class.
    """
    config = saved.get("config") if isinstance(saved, Mapping) else None
    if class_of(saved) != expected or not isinstance(config, Mapping):
        raise InputError(
            f"{path}: expected {expected} as {what}. Received: {printable(class_of(saved) or saved)[:80]}. "
            "Only this one can be imported."
        )
    return config


def check(config: Mapping[str, Any], expected: Mapping[str, Any], *, path: Path, what: str) -> None:
    """Checks values that our network has in one way only.

    Raises:
        InputError: one differs.
    """
    for key, value in expected.items():
        if config.get(key) != value:
            raise InputError(
                f"{path}: expected {key} {value} of {what}. Received: {printable(config.get(key))[:80]}. "
                "Our network has no other."
            )


def number(config: Mapping[str, Any], key: str, *, path: Path, what: str) -> Any:
    """Returns a value above 0.

    Raises:
        InputError: there is none.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise InputError(
            f"{path}: expected a number above 0 as {key} of {what}. Received: {printable(value)[:80]}. Save it again."
        )
    return value
