"""What a reader needs to repeat a run and to compare it with what was promised."""

from __future__ import annotations

import json
import platform
from typing import Any

from edge.report.files import ap_value, plain
from edge.report.formatting import package_versions
from edge.report.run import Run


def dataset_fields(run: Run) -> dict[str, Any]:
    """Returns what verify.json says about the data, empty when nothing was verified."""
    dataset = (run.verify or {}).get("dataset")
    return dataset if isinstance(dataset, dict) else {}


def dataset_name(dataset: dict[str, Any]) -> str:
    """Returns name and split for a reader."""
    return " · ".join(text for key in ("name", "split") if (text := plain(dataset.get(key))))


def repeat_pairs(run: Run, command: str | None) -> list[tuple[str, str, bool]]:
    """Returns (what, value, monospaced) of everything that a repeat needs."""
    dataset = dataset_fields(run)
    versions = package_versions()
    typed = command or "keras-retina run recipe.yaml --data DATA_FOLDER --out NEW_FOLDER"
    machines = sorted({row.latency.machine for row in run.rows if row.latency is not None})
    return [
        ("Command" if command else "Command, with the recipe below", typed, True),
        ("Seed", plain(run.recipe.get("seed"), "not recorded in recipe.yaml"), False),
        ("Data", dataset_name(dataset) or "not recorded: nothing was verified", False),
        ("Data, sha256", str(dataset.get("sha256") or "not recorded: nothing was verified"), True),
        ("Measured on", "; ".join(machines) or "not recorded: no latency was measured", False),
        ("Report written on", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}", False),
        ("Versions there", ", ".join(f"{name} {version}" for name, version in versions.items()), False),
    ]


def expected_section(run: Run) -> dict[str, Any] | None:
    """Compares the recipe's `expected:` block with what was measured; None when the recipe promises nothing."""
    expected = run.recipe.get("expected")
    if not isinstance(expected, dict) or not isinstance(expected.get("ap"), dict):
        return None
    tolerance = ap_value(expected.get("tolerance_ap")) or 0.0
    lines = []
    for name, value in expected["ap"].items():
        promised = ap_value(value)
        row = next((row for row in run.rows if name in (row.kind, row.file)), None)
        measured = row.ap["AP"] if row is not None and row.measured else None
        difference = None if measured is None or promised is None else measured - promised
        inside = None if difference is None else abs(difference) <= tolerance
        line = {"name": plain(name), "expected": promised, "measured": measured}
        lines.append({**line, "difference": difference, "inside": inside})
    told = [f"{key}: {text}" for key in ("command", "machine", "date", "split") if (text := plain(expected.get(key)))]
    return {"line": "; ".join(told), "tolerance": tolerance, "lines": lines}


def published_line(recipe: dict[str, Any]) -> str:
    """Returns the sentence about somebody else's result, or nothing."""
    published = recipe.get("published")
    if not isinstance(published, dict):
        return ""
    return (
        f"Published by others, not measured here: AP {plain(published.get('ap'), 'not given')} on "
        f"{plain(published.get('split'), 'an unnamed split')} ({plain(published.get('source'), 'no source given')})."
    )


def sidecar_pairs(run: Run) -> list[dict[str, Any]]:
    """Returns the JSON beside each exported file as name and value; long values are cut."""
    return [
        {"name": name, "pairs": [(str(key), _shown(value)) for key, value in fields.items()]}
        for name, fields in run.sidecars.items()
    ]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"
