"""Measures the AP of every exported file, on the file itself, and holds it against the float Keras model."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.gate import degenerate_scores, rule_text, shortfalls
from edge.measure import check_classes, evaluate_tflite
from edge.parity import check_parity
from edge.runtime import Description, ModelFileError, read_description
from edge.tflite_file import sha256_of, write_file
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import DetectorSpec
from keras_retina.errors import InputError
from keras_retina.evaluate import STATISTICS, coco_metrics, ground_truth
from keras_retina.legacy_keras import keras
from keras_retina.predict import detect_function, predict_dataset
from keras_retina.recipe import Export, Verification

RESULTS = "verify.json"
DETECTIONS_FOLDER = "verify"
KERAS_FILE = "model.keras"
EMPTY_METRICS: dict[str, Any] = {**dict.fromkeys(STATISTICS), "per_class": {}}


def verify_run(
    run_dir: Path,
    model: keras.Model,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
    files: Sequence[Path],
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Verifies files against their float parent and writes `verify.json`; returns what it wrote.

    Raw heads are compared first; when they differ nothing else runs and every row is `not run`. Then the Keras model
    and every file are evaluated by pycocotools on images read from disk. Detections go to `verify/keras.json` and
    `verify/<file stem>.json` (COCO results), the labels to `verify/ground_truth.json`. `progress` gets a line for the
    parity check and for every row.

    Raises:
        InputError: no files, other classes than the data, no images, an image cannot be read, or the disk is full.
    """
    run_dir, files = Path(run_dir), [Path(path) for path in files]
    if not files:
        raise InputError(f"{run_dir}: expected exported files to verify. Received: none. Run `keras-retina export`.")
    check_classes(spec.class_names, dataset, run_dir / KERAS_FILE)
    folder = run_dir / DETECTIONS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "ground_truth.json", ground_truth(dataset))
    known = _readable(files)
    raw_float32 = [path for path, own in known.items() if (own.kind, own.head) == ("float32", "raw")]
    parity = check_parity(model, spec, dataset, raw_float32[0] if raw_float32 else None, settings.parity)
    tell = progress or (lambda line: None)
    tell(f"verify: raw heads against Keras: {parity['reason'] or 'equal within ' + format(settings.parity, 'g')}")
    keras_row = _row(run_dir / KERAS_FILE, "keras")
    rows = [keras_row]
    if parity["passed"]:
        limits = next(iter(known.values()), Export())  # Keras is held to the thresholds that the files have inside
        detect = detect_function(model, spec, limits.iou_threshold, limits.max_detections)
        _measure_keras(keras_row, folder, detect, spec, dataset)
        tell(_summary(keras_row))
        for path in files:
            rows.append(_measure_file(path, keras_row, folder, spec, dataset, settings))
            tell(_summary(rows[-1]))
    else:
        rows += [_row(path, known[path].kind if path in known else _kind_in_name(path)) for path in files]
        for row in rows:
            row["reason"] = f"not measured because of parity: {parity['reason']}"
    result = {
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "images": len(dataset.records),
            "sha256": dataset_sha256(dataset),
        },
        "gate": {"rule": rule_text(settings), "passed": all(row["status"] == "verified" for row in rows)},
        "parity": parity,
        "rows": rows,
    }
    _write_json(run_dir / RESULTS, result)
    return result


def dataset_sha256(dataset: Dataset) -> str:
    """Returns a hash of the labels and of the bytes of every image, in the order of the split."""
    digest = hashlib.sha256(json.dumps(ground_truth(dataset), sort_keys=True).encode())
    for record in dataset.records:
        digest.update(hashlib.sha256(record.path.read_bytes()).digest())
    return digest.hexdigest()


def _row(path: Path, kind: str) -> dict[str, Any]:
    """Returns the row of a file that has not been measured yet."""
    data = path.read_bytes() if path.is_file() else None
    return {
        "file": path.name,
        "kind": kind,
        "sha256": None if data is None else sha256_of(data),
        **EMPTY_METRICS,
        "size_bytes": None if data is None else len(data),
        "gzip_bytes": None if data is None else len(gzip.compress(data, 9, mtime=0)),
        "latency_ms": None,
        "status": "not run",
        "reason": "",
    }


def _measure_keras(
    row: dict[str, Any],
    folder: Path,
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    dataset: Dataset,
) -> None:
    detections = predict_dataset(detect, spec, dataset)
    _write_json(folder / "keras.json", detections)
    row |= coco_metrics(dataset, detections)
    reason = degenerate_scores([detection["score"] for detection in detections], len(dataset.records))
    if not row["AP"]:
        reason = reason or "AP is 0 or the split shows no object, so nothing can be held against it"
    row |= {"status": "failed" if reason else "verified", "reason": reason or ""}


def _measure_file(
    path: Path,
    keras_row: dict[str, Any],
    folder: Path,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
) -> dict[str, Any]:
    row = _row(path, _kind_in_name(path))
    try:
        description = read_description(path)
        row["kind"] = description.kind
        _check_same_detector(description, spec, path)
        detections, latency = evaluate_tflite(path, dataset, settings.threads, settings.latency_runs)
    except (ModelFileError, RuntimeError) as error:
        row["reason"] = " ".join(str(error).split())
        return row
    _write_json(folder / f"{path.stem}.json", detections)
    row |= coco_metrics(dataset, detections) | {"latency_ms": latency}
    reasons = []
    degenerate = degenerate_scores([detection["score"] for detection in detections], len(dataset.records))
    if degenerate:
        reasons.append(f"degenerate scores: {degenerate}")
    if keras_row["status"] != "verified":
        reasons.append(f"the float model it is held against failed: {keras_row['reason']}")
    else:
        reasons += shortfalls(row, keras_row, settings)
    row |= {"status": "failed" if reasons else "verified", "reason": "; ".join(reasons)}
    return row


def _summary(row: dict[str, Any]) -> str:
    ap = "not measured" if row["AP"] is None else f"AP {row['AP']:.2f}"
    speed = f", {row['latency_ms']['median']:.1f} ms" if row["latency_ms"] else ""
    return f"verify: {row['file']}: {ap}{speed}, {row['status']}{': ' + row['reason'] if row['reason'] else ''}"


def _readable(files: Sequence[Path]) -> dict[Path, Description]:
    """Returns the descriptions of the files that have one; the row of another file says what is wrong with it."""
    descriptions = {}
    for path in files:
        with contextlib.suppress(ModelFileError):
            descriptions[path] = read_description(path)
    return descriptions


def _kind_in_name(path: Path) -> str:
    """Returns the number format that a file name ends with, for files that cannot be asked."""
    stem = path.stem.removesuffix("_raw")
    return next((kind for kind in ("float32", "float16", "dynamic", "int8", "int16") if stem.endswith(kind)), "unknown")


def _check_same_detector(description: Description, spec: DetectorSpec, path: Path) -> None:
    shared = description.__dict__.keys() & spec.__dict__.keys()
    for name in sorted(shared):
        received, expected = getattr(description, name), getattr(spec, name)
        if received != expected:
            raise ModelFileError(
                f"{path.name}: expected the detector of the run with {name}={expected!r}. Received: {received!r}. "
                "Export the model of this run again."
            )


def _write_json(path: Path, value: Any) -> None:
    write_file(path, (json.dumps(value, indent=1 if isinstance(value, dict) else None) + "\n").encode())
