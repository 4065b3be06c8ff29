"""The section of the report that shows what was tried on int8 files that missed their gate."""

from __future__ import annotations

from typing import Any

from edge.report.run import Run
from edge.verify.heal.healing import Healing, Try
from edge.verify.heal.ladder import spread_text
from edge.verify.rows import FLOAT_MODEL


def healing_section(run: Run) -> list[dict[str, Any]]:
    """Returns a table for each model; one whose file passed as it was has none."""
    found = () if run.verify is None else run.verify.healing
    return [_table(healing) for healing in found if healing.outcome != "kept"]


def _table(healing: Healing) -> dict[str, Any]:
    place = f"{healing.images} images and {healing.boxes} boxes of {healing.split}"
    spread = ""
    if healing.spread is not None:
        kept = spread_text(healing.spread)
        spread = f" When the images are drawn anew, the plain file keeps {kept} of it nine times of ten."
    judged = f"Judged on {place}. AP of the float model there: {healing.float_ap:.2f}." if healing.float_ap else ""
    return {
        "title": "The model of the run" if healing.model == FLOAT_MODEL else f"The model {healing.model}",
        "line": healing.sentence,
        "judged": judged + spread,
        "rows": [_row(one, number == healing.chosen) for number, one in enumerate(healing.tries)],
    }


def _row(one: Try, is_chosen: bool) -> dict[str, Any]:
    return {
        "step": one.step,
        "changed": one.changed,
        "chosen": is_chosen,
        "status": {"passed": "verified", "failed": "failed", "not run": "not run"}[one.status],
        "reason": one.reason,
        "ap": one.ap,
        "ratio": one.ratio,
        "head_error": one.head_error,
        "size_bytes": one.size_bytes,
        "latency": one.latency,
        "seconds": one.seconds,
    }
