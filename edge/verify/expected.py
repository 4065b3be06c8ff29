"""The `expected:` block of a recipe: written from a verified run, and compared with a repeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import yaml

from edge.verify.result import VerifyResult
from edge.verify.rows import Row
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Recipe

TOLERANCE_AP = 1.5


def expected_block(result: VerifyResult, minutes: float, machine: str, command: str) -> str:
    """Returns the block as YAML text, to be pasted into the recipe."""
    measured = [row for row in result.rows if row.ap["AP"] is not None]
    fields = {
        "command": command,
        "machine": machine,
        "date": date.today().isoformat(),
        "split": result.dataset.split,
        "training_minutes": round(minutes, 1),
        "tolerance_ap": TOLERANCE_AP,
        "ap": _rounded(measured, "AP"),
        "ap50": _rounded(measured, "AP50"),
    }
    return yaml.safe_dump({"expected": fields}, sort_keys=False, width=120)


def compare(result: VerifyResult, recipe: Recipe) -> list[str]:
    """Returns one line for each row whose AP is outside the tolerance or was not measured; empty when all repeat.

    Raises:
        InputError: the recipe has no `expected:` block.
    """
    if recipe.expected is None:
        raise InputError(
            f"{recipe.name}: --check needs an expected: block in the recipe. Received: none. "
            "Print one with `keras-retina run --print-expected`."
        )
    found_ap = {row.key: row.ap["AP"] for row in result.rows}
    failures = []
    for name, wanted in recipe.expected.ap.items():
        found = found_ap.get(name)
        if found is None:
            failures.append(f"{name}: expected AP {wanted}, not measured")
        elif abs(found - wanted) > recipe.expected.tolerance_ap:
            failures.append(f"{name}: expected AP {wanted} within {recipe.expected.tolerance_ap}, measured {found:.2f}")
    return failures


def _rounded(rows: Sequence[Row], name: str) -> dict[str, float]:
    return {row.key: round(row.ap[name] or 0.0, 2) for row in rows}
