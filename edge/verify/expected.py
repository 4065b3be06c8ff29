"""The `expected:` block of a recipe: written from verified runs, and compared with a repeat."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from edge.verify.result import VerifyResult, read_result
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.formats import KERAS
from keras_retina.recipe.recipe import Expected, Recipe
from keras_retina.run.folder import open_run, run_facts, training_minutes

TOLERANCE_AP = 1.5
"""Of a block from one or two runs, which say nothing of the spread."""

STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t for 1, 2, 3, ... degrees of freedom; the last stands for all that follow."""


@dataclass(frozen=True)
class MeasuredRun:
    """One whole run of a recipe.

    Attributes:
        verify: what its verify.json holds.
        kernels: for which vector instructions the kernels were, which round differently.
    """

    verify: VerifyResult
    seed: int
    kernels: str
    machine: str
    training_minutes: float


def measured_run(folder: Path, kernels: str) -> MeasuredRun:
    """Reads a run folder that was verified.

    Raises:
        InputError: it is no run folder, or has no verify.json.
    """
    run = open_run(folder)
    verify = read_result(run.verify)
    if verify is None:
        raise InputError(f"{folder}: expected a verified run. Received: no verify.json. Run `keras-retina verify`.")
    machine = str(run_facts(run.path)["machine"])
    return MeasuredRun(verify, run.recipe.seed, kernels, machine, training_minutes(run))


def expected_block(runs: Sequence[MeasuredRun], command: str) -> str:
    """Returns the block as YAML text, to be pasted into the recipe.

    Of several runs it has the mean of each row that all of them measured, and the lowest and the highest AP. Its
    tolerance then follows from the spread (`tolerance_of`), as that of the row that spreads most.
    """
    first = runs[0]
    of_runs = [{row.key: row for row in run.verify.rows if row.ap["AP"] is not None} for run in runs]
    names = [name for name in of_runs[0] if all(name in rows for rows in of_runs)]
    found = {name: [rows[name].ap["AP"] or 0.0 for rows in of_runs] for name in names}
    fields: dict[str, Any] = {
        "command": command,
        "machine": first.machine,
        "date": date.today().isoformat(),
        "split": first.verify.dataset.split,
        "images": first.verify.dataset.images,
        "classes": class_names(first.verify),
        "training_minutes": round(min(run.training_minutes for run in runs), 1),
        "runs": len(runs),
        "seeds": sorted({run.seed for run in runs}),
        "kernels": list(dict.fromkeys(run.kernels for run in runs)),
        "tolerance_ap": max((tolerance_of(values) for values in found.values()), default=TOLERANCE_AP),
        "ap": {name: round(statistics.mean(values), 2) for name, values in found.items()},
        "ap50": {name: round(statistics.mean(rows[name].ap["AP50"] or 0.0 for rows in of_runs), 2) for name in names},
    }
    if len(runs) > 1:
        fields["ap_range"] = {name: [round(min(values), 2), round(max(values), 2)] for name, values in found.items()}
    return yaml.safe_dump({"expected": fields}, sort_keys=False, width=110, default_flow_style=None)


def tolerance_of(values: Sequence[float]) -> float:
    """Returns how far from the mean of these runs one more run stays in 95 of 100 cases, in tenths rounded up.

    It is half of the prediction interval of normally distributed values: t x standard deviation x sqrt(1 + 1 / runs).
    """
    count = len(values)
    if count < 3:
        return TOLERANCE_AP
    quantile = STUDENT_95[min(count - 1, len(STUDENT_95)) - 1]
    return max(1, math.ceil(10 * quantile * statistics.stdev(values) * math.sqrt(1 + 1 / count))) / 10


def compare(verify: VerifyResult, recipe: Recipe) -> list[str]:
    """Returns one line for each row whose AP is outside the tolerance or was not measured; empty when all repeat.

    Raises:
        InputError: the recipe has no `expected:` block.
    """
    if recipe.expected is None:
        raise InputError(
            f"{recipe.name}: --check needs an expected: block in the recipe. Received: none. "
            "Print one with `keras-retina run --print-expected`."
        )
    rows = {row.key: row for row in verify.rows}
    failures = []
    for name, wanted in recipe.expected.ap.items():
        found = rows[name].ap["AP"] if name in rows else None
        if found is None:
            failures.append(f"{name}: expected AP {wanted}, not measured")
        elif abs(found - wanted) > recipe.expected.tolerance_ap:
            failures.append(f"{name}: expected AP {wanted} within {recipe.expected.tolerance_ap}, measured {found:.2f}")
    return failures


def class_names(verify: VerifyResult) -> list[str]:
    """Returns the classes that the float model was measured on."""
    return next((list(row.per_class) for row in verify.rows if row.key == KERAS.name), [])


def is_of_other_data(verify: VerifyResult, images: int | None, *, classes: Sequence[str]) -> bool:
    """Tells whether a block names another number of images, or other classes, than were measured."""
    other_images = images is not None and images != verify.dataset.images
    return other_images or (bool(classes) and set(classes) != set(class_names(verify)))


def expected_lines(verify: VerifyResult, recipe: Recipe) -> list[str]:
    """Returns what to tell of a run beside its recipe's `expected:` block: the float model, and rows outside."""
    if recipe.expected is None:
        return []
    if is_of_other_data(verify, recipe.expected.images, classes=recipe.expected.classes):
        return ["expected: not compared, since the recipe's figures belong to other data"]
    outside = compare(verify, recipe)
    lines = [line for line in outside if not line.startswith("keras:")]
    found = next((row.ap["AP"] for row in verify.rows if row.key == "keras"), None)
    if found is not None and "keras" in recipe.expected.ap:
        return [f"expected: {_verdict(found, recipe.expected)}", *(f"expected: {line}" for line in lines)]
    return [f"expected: {line}" for line in outside]


def _verdict(found: float, expected: Expected) -> str:
    """Says where the AP of the float model lies."""
    mean, tolerance = expected.ap["keras"], expected.tolerance_ap
    low, high = expected.ap_range.get("keras", (mean, mean))
    gave = f"{low} to {high} in {expected.runs} runs" if expected.runs > 1 else f"{mean} in one run"
    if abs(found - mean) > tolerance:
        return f"AP {found:.2f} is OUTSIDE of {mean} +- {tolerance}; this recipe gave {gave} ({expected.command})"
    if expected.runs > 1 and low <= round(found, 2) <= high:
        return f"AP {found:.2f} is within what this recipe gave in {expected.runs} runs ({low} to {high})"
    return f"AP {found:.2f} is within {mean} +- {tolerance}; this recipe gave {gave}"
