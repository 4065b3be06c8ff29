"""Reads a run folder for the report: every part may be missing, but a part that is there must be well formed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.verify.result import VerifyResult, read_result
from edge.verify.rows import Row
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.json_values import (
    is_box,
    is_id,
    is_number,
    read_json,
    read_mapping,
    read_text,
    unexpected,
)
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.plain_yaml import parse_plain_yaml


@dataclass(frozen=True)
class Epoch:
    """One line of train/history.csv; None where the cell is blank."""

    epoch: int
    values: dict[str, float | None]


@dataclass(frozen=True)
class Run:
    """What a run folder holds; None or empty for a part that is not there."""

    paths: RunPaths
    recipe_text: str | None
    recipe: dict[str, Any]
    history: tuple[Epoch, ...]
    metrics: dict[str, Any] | None
    verify: VerifyResult | None
    ground_truth: dict[str, Any] | None
    sidecars: dict[str, dict[str, Any]]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of verify.json."""
        return () if self.verify is None else self.verify.rows


def read_run(paths: RunPaths) -> Run:
    """Reads everything but the results lists, see `read_results`.

    Raises:
        InputError: the folder is not a run folder, or a file in it is not what its name says.
    """
    known = (paths.recipe_file, paths.metrics, paths.verify, paths.history)
    if not any(path.is_file() for path in known):
        names = ", ".join(path.relative_to(paths.path).as_posix() for path in known)
        raise InputError(
            f"{paths.path}: expected a run folder with one of {names}. Received: none of them. "
            "Pass the --out folder of `keras-retina run` or `keras-retina train`."
        )
    recipe_text = read_text(paths.recipe_file)
    return Run(
        paths=paths,
        recipe_text=recipe_text,
        recipe=_recipe(paths.recipe_file, recipe_text),
        history=read_history(paths.history),
        metrics=read_mapping(paths.metrics),
        verify=read_result(paths.verify),
        ground_truth=_ground_truth(paths.ground_truth),
        sidecars={path.name: read_mapping(path) or {} for path in sorted(paths.export.glob("*.json"))},
    )


def read_history(path: Path) -> tuple[Epoch, ...]:
    """Reads train/history.csv, the last line of an epoch that a resumed training wrote twice.

    Raises:
        InputError: there is no `epoch` column, or a cell is not a number.
    """
    text = read_text(path)
    epochs: dict[int, Epoch] = {}
    reader = csv.DictReader((text or "").splitlines(), restkey="surplus")
    try:
        for cells in reader:
            values = {key: float(cell) if cell and cell.strip() else None for key, cell in cells.items()}
            number = values.pop("epoch")
            if number is None:
                raise ValueError("the cell of `epoch` is blank")
            epochs[int(number)] = Epoch(int(number), values)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise InputError(
            f"{path} line {reader.line_num}: expected a number in every cell and a column `epoch`. "
            f"Received: {error!r}. Restore the file that training wrote."
        ) from error
    return tuple(epochs[number] for number in sorted(epochs))


def read_results(run: Run, row: Row) -> list[dict[str, Any]] | None:
    """Returns the COCO results list that was saved for a row, or None when there is none.

    Raises:
        InputError: the file is not a list of `{"image_id", "category_id", "bbox", "score"}`.
    """
    path = run.paths.detections(row.results_name)
    results = read_json(path)
    if results is None:
        return None
    valid = isinstance(results, list) and all(
        isinstance(item, dict)
        and all(is_id(item.get(key)) for key in ("image_id", "category_id"))
        and is_number(item.get("score"))
        and is_box(item.get("bbox"))
        for item in results
    )
    if not valid:
        raise unexpected(
            path, "a list of detections with image_id, category_id, bbox [x, y, w, h] and score", received=results
        )
    return results


def _ground_truth(path: Path) -> dict[str, Any] | None:
    truth = read_mapping(path)
    if truth is None:
        return None
    ids = {"images": ("id",), "annotations": ("image_id", "category_id"), "categories": ("id",)}
    for section, keys in ids.items():
        entries = truth.get(section)
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and all(is_id(entry.get(key)) for key in keys) for entry in entries
        ):
            raise unexpected(
                f"{path} {section}", f"a list of objects with the integers {', '.join(keys)}", received=entries
            )
    for index, entry in enumerate(truth["categories"]):
        if not isinstance(entry.get("name"), str):
            raise unexpected(f"{path} categories[{index}].name", "a text", received=entry.get("name"))
    for index, entry in enumerate(truth["annotations"]):
        if not is_box(entry.get("bbox")):
            raise unexpected(
                f"{path} annotations[{index}].bbox", "four numbers [x, y, w, h]", received=entry.get("bbox")
            )
    return truth


def _recipe(path: Path, text: str | None) -> dict[str, Any]:
    try:
        fields = parse_plain_yaml(text or "")
    except ValueError as error:
        raise InputError(f"{path}: expected plain YAML without tags. Received: {error}. Restore the recipe.") from error
    return fields if isinstance(fields, dict) else {}
