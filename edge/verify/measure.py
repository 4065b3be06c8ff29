"""Measures one Keras model or one exported file, and holds a file against its float parent."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.detectors.measure import detect_and_time
from edge.runtime import Description, ModelFileError, read_description
from edge.verify.gate import degenerate_scores, shortfalls
from edge.verify.rows import Latency, Row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import predict_dataset
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.files.writing import write_json
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Verification


def unmeasured_row(path: Path, kind: str) -> Row:
    """Returns the row of a file that has not been measured yet."""
    if not path.is_file():
        return Row(path.name, kind)
    data = path.read_bytes()
    compressed = gzip.compress(data, 9, mtime=0)
    return Row(path.name, kind, sha256=sha256_of(data), size_bytes=len(data), gzip_bytes=len(compressed))


def measure_keras(
    row: Row,
    results: Path,
    *,
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    dataset: Dataset,
) -> Row:
    """Measures a Keras model and returns its row filled in; the detections are written to `results`."""
    detections = predict_dataset(detect, spec, dataset=dataset)
    write_json(results, detections)
    row = row.with_metrics(coco_metrics(dataset, detections))
    reason = degenerate_scores([detection["score"] for detection in detections], len(dataset.records))
    if not row.ap["AP"]:
        reason = reason or "AP is 0 or the split shows no object, so nothing can be held against it"
    return row.judged([reason] if reason else [])


def measure_file(
    path: Path,
    row: Row,
    *,
    parent: Row,
    results: Path,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
) -> Row:
    """Measures a file and returns its row filled in, held against the row of its float parent.

    Args:
        row: what is known of the file before.
        results: where the detections are written.
    """
    try:
        description = read_description(path)
        row = replace(row, kind=description.kind, nms=description.nms)
        _check_same_detector(description, spec, path=path)
        detections, latency = detect_and_time(
            path, dataset, threads=settings.threads, latency_runs=settings.latency_runs
        )
    except (ModelFileError, RuntimeError) as error:
        return row.not_run(" ".join(str(error).split()))
    write_json(results, detections)
    row = replace(row.with_metrics(coco_metrics(dataset, detections)), latency=Latency(**latency))
    reasons = []
    degenerate = degenerate_scores([detection["score"] for detection in detections], len(dataset.records))
    if degenerate:
        reasons.append(f"degenerate scores: {degenerate}")
    if not parent.is_verified:
        reasons.append(f"the float model it is held against failed: {parent.reason}")
    else:
        reasons += shortfalls(row, parent, settings=settings)
    return row.judged(reasons)


def summary(row: Row) -> str:
    """Returns a row as a line of progress."""
    ap = row.ap["AP"]
    measured = "not measured" if ap is None else f"AP {ap:.2f}"
    speed = f", {row.latency.median:.1f} ms" if row.latency else ""
    return f"verify: {row.file}: {measured}{speed}, {row.status}{': ' + row.reason if row.reason else ''}"


def _check_same_detector(description: Description, spec: DetectorSpec, *, path: Path) -> None:
    shared = description.__dict__.keys() & spec.__dict__.keys()
    for name in sorted(shared):
        received, expected = getattr(description, name), getattr(spec, name)
        if received != expected:
            raise ModelFileError(
                f"{path.name}: expected the detector of the run with {name}={expected!r}. Received: {received!r}. "
                "Export the model of this run again."
            )
