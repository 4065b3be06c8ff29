"""One row of `verify.json`: what a Keras model or an exported file has, and whether it is good enough."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.measure import detect_and_time
from edge.runtime import Description, ModelFileError, read_description
from edge.verify.gate import degenerate_scores, shortfalls
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import STATISTICS, coco_metrics
from keras_retina.evaluate.predict import predict_dataset
from keras_retina.foundation.files import sha256_of, write_json
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Verification

FLOAT_MODEL = "float"
EMPTY_METRICS: dict[str, Any] = {**dict.fromkeys(STATISTICS), "per_class": {}}


def unmeasured_row(path: Path, kind: str) -> dict[str, Any]:
    """Returns the row of a file that has not been measured yet."""
    data = path.read_bytes() if path.is_file() else None
    return {
        "file": path.name,
        "kind": kind,
        "model": FLOAT_MODEL,
        "sha256": None if data is None else sha256_of(data),
        **EMPTY_METRICS,
        "size_bytes": None if data is None else len(data),
        "gzip_bytes": None if data is None else len(gzip.compress(data, 9, mtime=0)),
        "latency_ms": None,
        "status": "not run",
        "reason": "",
    }


def measure_keras(
    row: dict[str, Any],
    results: Path,
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    dataset: Dataset,
) -> None:
    """Measures a Keras model and fills its row in."""
    detections = predict_dataset(detect, spec, dataset)
    write_json(results, detections)
    row |= coco_metrics(dataset, detections)
    reason = degenerate_scores([detection["score"] for detection in detections], len(dataset.records))
    if not row["AP"]:
        reason = reason or "AP is 0 or the split shows no object, so nothing can be held against it"
    row |= {"status": "failed" if reason else "verified", "reason": reason or ""}


def measure_file(
    path: Path,
    keras_row: dict[str, Any],
    folder: Path,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
) -> dict[str, Any]:
    """Returns the measured row of a file, held against the row of its float parent."""
    row = unmeasured_row(path, kind_in_name(path))
    try:
        description = read_description(path)
        row |= {"kind": description.kind, "nms": description.nms}
        _check_same_detector(description, spec, path)
        detections, latency = detect_and_time(path, dataset, settings.threads, settings.latency_runs)
    except (ModelFileError, RuntimeError) as error:
        row["reason"] = " ".join(str(error).split())
        return row
    write_json(folder / f"{path.stem}.json", detections)
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


def summary(row: dict[str, Any]) -> str:
    """Returns a row as a line of progress."""
    ap = "not measured" if row["AP"] is None else f"AP {row['AP']:.2f}"
    speed = f", {row['latency_ms']['median']:.1f} ms" if row["latency_ms"] else ""
    return f"verify: {row['file']}: {ap}{speed}, {row['status']}{': ' + row['reason'] if row['reason'] else ''}"


def kind_in_name(path: Path) -> str:
    """Returns the number format in a file name, for files that cannot be asked."""
    stem = path.stem.removesuffix("_raw").removesuffix("_builtin")
    kinds = ("int8_qat", "float32", "float16", "dynamic", "int16", "int8")
    return next((kind for kind in kinds if f"_{kind}_" in f"_{stem}_"), "unknown")


def _check_same_detector(description: Description, spec: DetectorSpec, path: Path) -> None:
    shared = description.__dict__.keys() & spec.__dict__.keys()
    for name in sorted(shared):
        received, expected = getattr(description, name), getattr(spec, name)
        if received != expected:
            raise ModelFileError(
                f"{path.name}: expected the detector of the run with {name}={expected!r}. Received: {received!r}. "
                "Export the model of this run again."
            )
