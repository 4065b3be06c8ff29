"""The headline and the tables of the report."""

from __future__ import annotations

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.report.formatting import ap, duration, megabytes, milliseconds, package_versions, plain, ratio
from edge.report.run import Run
from edge.report.sections.gallery import class_legend
from edge.verify.expected import is_of_other_data
from edge.verify.result import Split
from edge.verify.rows import Row, ap_value
from edge.verify.ship import ship_line
from keras_retina.foundation.json_values import count_of
from keras_retina.recipe.formats import FORMATS, KERAS


def verified_split(run: Run) -> Split:
    """Returns what verify.json says about the data, empty when nothing was verified."""
    return Split() if run.verify is None else run.verify.dataset


def dataset_name(dataset: Split) -> str:
    """Returns name and split for a reader."""
    return " · ".join(text for text in (dataset.name, dataset.split) if text)


def repeat_pairs(run: Run, command: str | None) -> list[tuple[str, str, bool]]:
    """Returns (what, value, monospaced) of everything that a repeat needs."""
    dataset = verified_split(run)
    versions = package_versions()
    typed = command or "keras-retina run recipe.yaml --data DATA_FOLDER --out NEW_FOLDER"
    machines = sorted({row.latency.machine for row in run.rows if row.latency is not None})
    return [
        ("Command" if command else "Command, with the recipe below", typed, True),
        ("Seed", plain(run.recipe.get("seed"), "not recorded in recipe.yaml"), False),
        ("Data", dataset_name(dataset) or "not recorded: nothing was verified", False),
        ("Data, sha256", dataset.sha256 or "not recorded: nothing was verified", True),
        ("Measured on", "; ".join(machines) or "not recorded: no latency was measured", False),
        ("Report written on", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}", False),
        ("Versions there", ", ".join(f"{name} {version}" for name, version in versions.items()), False),
    ]


def expected_section(run: Run) -> dict[str, Any] | None:
    """Compares the recipe's `expected:` block with what was measured; None when the recipe promises nothing."""
    expected = run.recipe.get("expected")
    if not isinstance(expected, dict) or not isinstance(expected.get("ap"), dict):
        return None
    classes = [plain(name) for name in expected.get("classes") or ()]
    images = count_of(expected, "images", where="expected")
    if run.verify is not None and is_of_other_data(run.verify, images, classes=classes):
        return None
    tolerance = ap_value(expected.get("tolerance_ap")) or 0.0
    lines = []
    for name, value in expected["ap"].items():
        promised = ap_value(value)
        row = next((row for row in run.rows if name in (row.key, row.file)), None)
        measured = row.ap["AP"] if row is not None and row.is_measured else None
        difference = None if measured is None or promised is None else measured - promised
        inside = None if difference is None else abs(difference) <= tolerance
        line = {"name": plain(name), "expected": promised, "measured": measured}
        lines.append({**line, "difference": difference, "inside": inside})
    keys = ("command", "machine", "date", "split", "runs")
    told = [f"{key}: {text}" for key in keys if (text := plain(expected.get(key)))]
    return {"line": "; ".join(told), "tolerance": tolerance, "lines": lines}


def published_line(recipe: dict[str, Any]) -> str:
    """Returns the sentence about somebody else's result, or nothing."""
    published = recipe.get("published")
    if not isinstance(published, dict):
        return ""
    time, device = plain(published.get("milliseconds")), plain(published.get("device"))
    speed = f", {time} ms an image on {device or 'an unnamed device'}" if time else ""
    return (
        f"Published by others, not measured here: AP {plain(published.get('ap'), 'not given')} on "
        f"{plain(published.get('split'), 'an unnamed split')}{speed} "
        f"({plain(published.get('source'), 'no source given')})."
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


def float_reference(rows: Sequence[Row]) -> Row | None:
    """Returns the row that the others are compared with: the Keras model, else the float32 file."""
    return _first(rows, ("keras", "float32"))


def int8_row(rows: Sequence[Row]) -> Row | None:
    """Returns the int8 file that is compared in curves and pictures: post-training before quantization-aware."""
    return _first(rows, int8_kinds())


def int8_kinds() -> list[str]:
    """Returns the formats whose networks compute in int8, the one first that stands for the others."""
    return [one.name for one in FORMATS.values() if one.all_int8]


def hero_row(rows: Sequence[Row]) -> Row | None:
    """Returns the file that the headline is about: int8 if it passed, else the smallest that passed, else int8."""
    rows = [row for row in rows if not row.also]
    passed = [row for row in rows if row.is_verified and row.is_measured]
    files = sorted((row for row in passed if row.kind != "keras"), key=lambda row: row.size_bytes or 0)
    fallback = files[0] if files else None
    return _first(passed, int8_kinds()) or fallback or int8_row(rows) or float_reference(rows)


def to_ship(run: Run) -> str:
    """Returns which file to ship, as the last lines of `run` say it; nothing where nothing was measured."""
    if run.verify is None or not any(row.is_measured and row.key == KERAS.name for row in run.rows):
        return ""
    return ship_line(Path("export"), run.rows).replace("ship:", "Ship:", 1)


def verdict(run: Run) -> dict[str, str]:
    """Returns state, title and text of the gate; only a gate that says so, with no failed row, has passed."""
    if run.verify is None:
        text = "No file of this run was measured yet: there is no verify.json. Run `keras-retina verify`."
        return {"state": "notrun", "title": "Not verified yet", "text": text}
    gate = run.verify.gate
    rows = [row for row in run.rows if not row.also]
    counts = Counter(row.status for row in rows)
    text = f"Gate: {gate.rule}" if gate.rule else "verify.json names no rule for the gate."
    passed = gate.passed and not counts["failed"]
    if not counts["verified"] and not counts["failed"]:
        return {"state": "notrun", "title": "Nothing was measured", "text": text}
    if not passed:
        failed = f": {counts['failed']} of {len(rows)} files" if counts["failed"] else ""
        return {"state": "failed", "title": f"Gate failed{failed}", "text": text}
    if counts["not run"]:
        title = f"{counts['verified']} of {len(rows)} files passed, {counts['not run']} not run"
        return {"state": "partly", "title": title, "text": text}
    return {"state": "passed", "title": f"Gate passed: all {len(rows)} files", "text": text}


def facts(run: Run) -> list[dict[str, str]]:
    """Returns the headline numbers, as far as they were measured."""
    hero, reference = hero_row(run.rows), float_reference(run.rows)
    found: list[dict[str, str]] = []
    if hero is not None and hero.is_measured:
        share = _ratio(hero, reference)
        note = (
            hero.label
            if hero is reference or share is None or reference is None
            else (f"{hero.label}: {ratio(share)} of {reference.label} ({ap(reference.ap['AP'])})")
        )
        found.append(_fact("AP", ap(hero.ap["AP"]), unit="", note=note))
        found.append(_fact("AP50", ap(hero.ap["AP50"]), unit="", note=f"{hero.label}, at IoU 0.5"))
        if hero.size_bytes is not None:
            value, unit = megabytes(hero.size_bytes).split(" ")
            found.append(_fact("Size", value, unit=unit, note=_smaller(hero, run.rows)))
        if hero.latency is not None:
            threads = f", {hero.latency.threads} thread{'s' if hero.latency.threads != 1 else ''}"
            note = "median" + (threads if hero.latency.threads else "")
            value, unit = milliseconds(hero.latency.median).split(" ")
            found.append(_fact("Latency", value, unit=unit, note=note))
    elif run.metrics is not None:
        note = f"Keras model, {run.metrics.get('split') or 'validation'} split"
        found += [_fact(key, ap(ap_value(run.metrics.get(key))), unit="", note=note) for key in ("AP", "AP50")]
    dataset = verified_split(run)
    if dataset.images is not None:
        found.append(_fact("Images", str(dataset.images), unit="", note=dataset_name(dataset)))
    seconds = [epoch.values.get("seconds") for epoch in run.history]
    if any(seconds):
        epochs = f"{len(run.history)} epoch{'s' if len(run.history) != 1 else ''}"
        found.append(_fact("Training", *duration(sum(second or 0.0 for second in seconds)), epochs))
    return found


def table_rows(run: Run, reference: Row | None, *, hero: Row | None) -> dict[str, Any]:
    """Returns the main table; machines are named once under it."""
    machines: dict[str, list[str]] = defaultdict(list)
    for row in run.rows:
        if row.latency is not None:
            machines[row.latency.machine].append(row.label)
    every = sum(len(labels) for labels in machines.values())
    dataset = verified_split(run)
    line = dataset_name(dataset) + ("" if dataset.images is None else f", {dataset.images} images")
    return {
        "rows": [
            {
                "file": row.file,
                "label": row.label,
                "slot": row.format.slot,
                "status": row.status,
                "reason": row.reason,
                "ap": row.ap,
                "ratio": _ratio(row, reference),
                "size_bytes": row.size_bytes,
                "gzip_bytes": row.gzip_bytes,
                "latency": row.latency,
                "multiply_adds": row.multiply_adds,
                "hero": row is hero,
            }
            for row in run.rows
        ],
        "machines": [
            {"name": name, "labels": "all files" if len(labels) == every else ", ".join(labels)}
            for name, labels in machines.items()
        ],
        "dataset_line": line,
        "reference_line": f"“of float” is against {reference.label}." if reference else "No float file was measured.",
        "rows_missing": "There is no verify.json: no file was measured. Run `keras-retina verify`."
        if run.verify is None
        else "verify.json has no rows: there was no file to measure. Run `keras-retina export` and then `verify`.",
    }


def per_class_section(run: Run, reference: Row | None) -> dict[str, Any]:
    """Returns one line a class, the mean of all classes first, with differences from the float reference."""
    rows = [row for row in run.rows if row.per_class]
    metrics = (run.metrics or {}).get("per_class")
    columns: list[dict[str, Any]] = [{"label": row.label, "slot": row.format.slot} for row in rows]
    values = [_column(row) for row in rows]
    base = _column(reference) if reference else {}
    if not rows and isinstance(metrics, dict):
        columns = [{"label": "Keras", "slot": KERAS.slot}]
        by_class = {name: ap_value(value) for name, value in metrics.items()}
        values = [{None: ap_value((run.metrics or {}).get("AP")), **by_class}]
    names = list(dict.fromkeys(name for column in values for name in column))
    counts, colours = _object_counts(run), dict(class_legend(run.ground_truth) if run.ground_truth else [])
    measured: list[Row | None] = [*rows] or [None]  # None is the Keras model of metrics.json
    lines = []
    for name in names:
        cells = []
        for row, column in zip(measured, values, strict=True):
            value, float_value = column.get(name), base.get(name)
            difference = None if row is reference or value is None or float_value is None else value - float_value
            cells.append({"value": value, "difference": difference})
        objects = sum(counts.values()) if name is None else counts.get(name, 0)
        lines.append(
            {
                "name": "All classes" if name is None else name,
                "objects": objects if counts else None,
                "colour": colours.get(name, "") if name is not None else "",
                "cells": cells,
            }
        )
    return {
        "per_class": lines,
        "per_class_rows": columns,
        "reference_label": reference.label if reference and len(rows) > 1 else "",
        "per_class_missing": "No AP per class was measured yet. Run `keras-retina verify`.",
    }


def _column(row: Row) -> dict[str | None, float | None]:
    """Returns the AP by class; None is the line of all classes, since no class can have that name."""
    return {None: row.ap["AP"], **{name: value for name, value in row.per_class.items()}}


def _first(rows: Sequence[Row], kinds: Sequence[str]) -> Row | None:
    """Returns the first measured row of the first kind that has one; files with the post-process come first."""
    for kind in kinds:
        found = sorted((row for row in rows if row.kind == kind and row.is_measured), key=lambda row: row.other_form)
        if found:
            return found[0]
    return None


def _ratio(row: Row, reference: Row | None) -> float | None:
    if reference is None or row is reference or not row.is_measured or not reference.ap["AP"]:
        return None
    return (row.ap["AP"] or 0.0) / reference.ap["AP"]


def _smaller(hero: Row, rows: Sequence[Row]) -> str:
    same_form = [row for row in rows if row.form == hero.form]
    parent = next((row for row in same_form if row.kind == "float32" and row.size_bytes), None)
    if parent is None or parent is hero or not parent.size_bytes or not hero.size_bytes:
        return hero.label
    return f"{parent.size_bytes / hero.size_bytes:.1f} × smaller than float32"


def _fact(title: str, value: str, unit: str = "", note: str = "") -> dict[str, str]:
    return {"title": title, "value": value, "unit": unit, "note": note}


def _object_counts(run: Run) -> Counter[str]:
    truth = run.ground_truth or {"annotations": [], "categories": []}
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    return Counter(names.get(item["category_id"], "") for item in truth["annotations"] if not item.get("iscrowd"))
