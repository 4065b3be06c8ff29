"""The `expected:` block of a recipe: written from a verified run, and compared with a repeat."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import yaml

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Recipe

TOLERANCE_AP = 1.5


def row_name(row: dict[str, Any]) -> str:
    """Returns `keras`, `int8`, `int8_raw`, `half_int8` ..: the key of a row of verify.json in an `expected:` block."""
    model = row.get("model", "float")
    name = row["kind"] if model == "float" else f"{model}_{row['kind']}"
    form = next((form for form in ("_raw", "_builtin") if Path(row["file"]).stem.endswith(form)), "")
    return name + form


def expected_block(verify: dict[str, Any], minutes: float, machine: str, command: str) -> str:
    """Returns the block as YAML text, to be pasted into the recipe."""
    measured = [row for row in verify["rows"] if row["AP"] is not None]
    fields = {
        "command": command,
        "machine": machine,
        "date": date.today().isoformat(),
        "split": verify["dataset"]["split"],
        "training_minutes": round(minutes, 1),
        "tolerance_ap": TOLERANCE_AP,
        "ap": {row_name(row): round(row["AP"], 2) for row in measured},
        "ap50": {row_name(row): round(row["AP50"], 2) for row in measured},
    }
    return yaml.safe_dump({"expected": fields}, sort_keys=False, width=120)


def compare(verify: dict[str, Any], recipe: Recipe) -> list[str]:
    """Returns one line for each row whose AP is outside the tolerance or was not measured; empty when all repeat.

    Raises:
        InputError: the recipe has no `expected:` block.
    """
    if recipe.expected is None:
        raise InputError(
            f"{recipe.name}: --check needs an expected: block in the recipe. Received: none. "
            "Print one with `keras-retina run --print-expected`."
        )
    rows = {row_name(row): row for row in verify["rows"]}
    failures = []
    for name, wanted in recipe.expected.ap.items():
        found = rows[name]["AP"] if name in rows else None
        if found is None:
            failures.append(f"{name}: expected AP {wanted}, not measured")
        elif abs(found - wanted) > recipe.expected.tolerance_ap:
            failures.append(f"{name}: expected AP {wanted} within {recipe.expected.tolerance_ap}, measured {found:.2f}")
    return failures
