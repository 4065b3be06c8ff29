"""Measures the AP of every exported file, on the file itself, and holds it against the float Keras model."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.detectors.measure import check_classes
from edge.runtime import Description, ModelFileError, read_description
from edge.tflite.kernels import clusters_of_file, sparsity_of_file
from edge.verify.gate import rule_text, shortfalls
from edge.verify.parity import check_parity
from edge.verify.rows import kind_in_name, measure_file, measure_keras, summary, unmeasured_row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import ground_truth
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import write_json
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import multiply_adds
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export, Verification

RESULTS = "verify.json"
DETECTIONS_FOLDER = "verify"
KERAS_FILE = "model.keras"
ZEROS_TOLERANCE = 0.01  # each kernel rounds its number of zeros down


@dataclasses.dataclass(frozen=True)
class SmallerModel:
    """One model of `compress/`, with the files made of it.

    Attributes:
        name: that of the recipe.
        path: its `.keras` file or the folder of it, named in its row.
        is_quantized: Keras simulates the int8 network, so the float heads of a file cannot be compared with it.
        minimum_ap_ratio: AP that it and its files must have, as a share of that of the float model.
        zeros: share of the prunable weights that must be zero in its files.
        values: how many different weights an output channel may have in its int8 files, if that is limited.
    """

    name: str
    path: Path
    model: keras.Model
    files: Sequence[Path]
    multiply_adds: int
    parameters: int
    is_quantized: bool
    minimum_ap_ratio: float
    zeros: float = 0.0
    values: int | None = None


def verify_run(
    run_dir: Path,
    model: keras.Model,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
    files: Sequence[Path],
    progress: Callable[[str], None] | None = None,
    smaller: Sequence[SmallerModel] = (),
    unmade: Sequence[str] = (),
) -> dict[str, Any]:
    """Verifies files against their float parent and writes `verify.json`; returns what it wrote.

    Raw heads are compared first; when they differ nothing else runs and every row is `not run`. Then the Keras model
    and every file are evaluated by pycocotools on images read from disk. Detections go to `verify/keras.json` and
    `verify/<file stem>.json` (COCO results), the labels to `verify/ground_truth.json`. `progress` gets a line for the
    parity check and for every row. The models of `compress/` follow in the same way; all are held against the float
    Keras model of the run. Those of the recipe that are `unmade` have a row that is `not run`, which passes no gate.

    Raises:
        InputError: no files, other classes than the data, no images, an image cannot be read, or the disk is full.
    """
    run_dir, files = Path(run_dir), [Path(path) for path in files]
    if not files:
        raise InputError(f"{run_dir}: expected exported files to verify. Received: none. Run `keras-retina export`.")
    check_classes(spec.class_names, dataset, run_dir / KERAS_FILE)
    folder = run_dir / DETECTIONS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ground_truth.json", ground_truth(dataset))
    known = _readable(files)
    raw_float32 = [path for path, own in known.items() if (own.kind, own.head) == ("float32", "raw")]
    parity = check_parity(model, spec, dataset, raw_float32[0] if raw_float32 else None, settings.parity)
    tell = progress or (lambda line: None)
    tell(f"verify: raw heads against Keras: {parity['reason'] or 'equal within ' + format(settings.parity, 'g')}")
    limits = next(iter(known.values()), Export())  # Keras suppresses as the files do
    size = {"multiply_adds": multiply_adds(model), "parameters": model.count_params()}
    keras_row = unmeasured_row(run_dir / KERAS_FILE, "keras") | size
    if parity["passed"]:
        detect = detect_function(model, spec, limits.iou_threshold, limits.max_detections, limits.nms)
        measure_keras(keras_row, folder / "keras.json", detect, spec, dataset)
        tell(summary(keras_row))
        rows = [keras_row]
        for path in files:
            rows.append(measure_file(path, keras_row, folder, spec, dataset, settings) | size)
            tell(summary(rows[-1]))
        for one in smaller:
            rows += _measure_smaller(one, keras_row, folder, spec, dataset, settings, limits, tell)
    else:
        kinds = {path: known[path].kind if path in known else kind_in_name(path) for path in files}
        rows = [keras_row, *(unmeasured_row(path, kind) | size for path, kind in kinds.items())]
        rows += [row for one in smaller for row in _unmeasured_rows(one)]
        rows = [row | {"reason": _because_of_parity(parity)} for row in rows]
    rows += _unmade_rows(run_dir, unmade, tell)
    rule = rule_text(settings, {one.name: one.minimum_ap_ratio for one in smaller})
    result = {
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "images": len(dataset.records),
            "sha256": dataset_sha256(dataset),
        },
        "gate": {"rule": rule, "passed": all(row["status"] == "verified" for row in rows)},
        "parity": parity,
        "rows": rows,
    }
    write_json(run_dir / RESULTS, result)
    return result


def _unmade_rows(run_dir: Path, names: Sequence[str], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Returns a row that is `not run` for each model of the recipe that has not been made."""
    rows = []
    for name in names:
        absent = unmeasured_row(run_dir / "compress" / name / KERAS_FILE, "keras")
        reason = f"the model is not made yet. Run `keras-retina compress {run_dir}`"
        rows.append(absent | {"file": f"compress/{name}/{KERAS_FILE}", "model": name, "reason": reason})
        tell(summary(rows[-1]))
    return rows


def _unmeasured_rows(one: SmallerModel) -> list[dict[str, Any]]:
    names = {one.path: "keras"} | {path: kind_in_name(path) for path in one.files}
    return [unmeasured_row(path, kind) | {"model": one.name} for path, kind in names.items()]


def _because_of_parity(parity: dict[str, Any]) -> str:
    return f"not measured because of parity: {parity['reason']}"


def _measure_smaller(
    one: SmallerModel,
    float_row: dict[str, Any],
    folder: Path,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
    limits: Description | Export,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Returns the rows of a smaller model and of its files."""
    facts = {"model": one.name, "multiply_adds": one.multiply_adds, "parameters": one.parameters}
    row = unmeasured_row(one.path, "keras") | {"file": f"compress/{one.name}/{one.path.name}"} | facts
    limit = settings.model_copy(update={"minimum_ap_ratio": one.minimum_ap_ratio})
    raw = next((path for path in one.files if path.stem.endswith(f"float32_{one.name}_raw")), None)
    parity = {"passed": True, "reason": ""}
    if not one.is_quantized:
        parity = check_parity(one.model, spec, dataset, raw, settings.parity)
    if not parity["passed"]:
        rows = [row, *(unmeasured_row(path, kind_in_name(path)) | facts for path in one.files)]
        return [line | {"reason": _because_of_parity(parity)} for line in rows]
    detect = detect_function(one.model, spec, limits.iou_threshold, limits.max_detections, limits.nms)
    measure_keras(row, folder / f"keras_{one.name}.json", detect, spec, dataset)
    if row["status"] == "verified" and (reasons := shortfalls(row, float_row, limit)):
        row |= {"status": "failed", "reason": "; ".join(reasons)}
    tell(summary(row))
    rows = [row]
    for path in one.files:
        rows.append(measure_file(path, float_row, folder, spec, dataset, limit) | facts)
        if rows[-1]["status"] != "not run":
            _check_kernels(rows[-1], path.read_bytes(), one)
        tell(summary(rows[-1]))
    return rows


def _check_kernels(row: dict[str, Any], data: bytes, one: SmallerModel) -> None:
    """Counts zeros and different weights in the file itself; what training made must still be there."""
    row["zeros"] = round(sparsity_of_file(data).share, 4)
    row["values_per_channel"] = max(clusters_of_file(data).values(), default=0)
    reasons = [row["reason"]] if row["reason"] else []
    if row["zeros"] < one.zeros - ZEROS_TOLERANCE:
        reasons.append(f"{row['zeros']:.1%} of the weights are zero, expected {one.zeros:.1%}")
    if one.values is not None and row["kind"].startswith("int8") and row["values_per_channel"] > one.values:
        reasons.append(f"{row['values_per_channel']} different weights in a channel, expected at most {one.values}")
    if reasons:
        row |= {"status": "failed", "reason": "; ".join(reasons)}


def dataset_sha256(dataset: Dataset) -> str:
    """Returns a hash of the labels and of the bytes of every image, in the order of the split."""
    digest = hashlib.sha256(json.dumps(ground_truth(dataset), sort_keys=True).encode())
    for record in dataset.records:
        digest.update(hashlib.sha256(record.path.read_bytes()).digest())
    return digest.hexdigest()


def _readable(files: Sequence[Path]) -> dict[Path, Description]:
    """Returns the descriptions of the files that have one; the row of another file says what is wrong with it."""
    descriptions = {}
    for path in files:
        with contextlib.suppress(ModelFileError):
            descriptions[path] = read_description(path)
    return descriptions
