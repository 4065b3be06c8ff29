"""Measures the AP of every exported file, on the file itself, and holds it against the float Keras model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.detectors.measure import check_classes
from edge.export.artifact import Artifact
from edge.runtime import Description, ModelFileError, read_description
from edge.tflite.kernels import clusters_of_file, sparsity_of_file
from edge.verify.gate import rule_text, shortfalls
from edge.verify.heal.healing import Healing
from edge.verify.measure import measure_file, measure_keras, summary, unmeasured_row
from edge.verify.parity import check_parity
from edge.verify.result import Gate, Parity, Split, VerifyResult
from edge.verify.rows import Row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import ground_truth
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.legacy_keras import keras
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.model.graph import multiply_adds
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.formats import KERAS
from keras_retina.recipe.recipe import Export, Verification

logger = logging.getLogger(__name__)

ZEROS_TOLERANCE = 0.01  # each kernel rounds its number of zeros down


@dataclass(frozen=True)
class SmallerModel:
    """One model of `compress/`, with the files made of it.

    Attributes:
        name: that of the recipe.
        files: what was exported of it, there or not.
        is_quantized: Keras simulates the int8 network, so the float heads of a file cannot be compared with it.
        minimum_ap_ratio: AP that it and its files must have, as a share of that of the float model.
        zeros: share of the prunable weights that must be zero in its files.
        values: how many different weights an output channel may have in its int8 files, if that is limited.
    """

    name: str
    model: keras.Model
    files: Sequence[Artifact]
    multiply_adds: int
    parameters: int
    is_quantized: bool
    minimum_ap_ratio: float
    zeros: float = 0.0
    values: int | None = None


def verify_files(
    run_dir: Path,
    model: keras.Model,
    *,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
    files: Sequence[Path],
    smaller: Sequence[SmallerModel] = (),
    unmade: Sequence[str] = (),
    healing: Sequence[Healing] = (),
) -> VerifyResult:
    """Verifies files against their float parent and writes `verify.json`; returns what it wrote.

    Raw heads are compared first; when they differ nothing else runs and every row is `not run`. Then the Keras model
    and every file are evaluated by pycocotools on images read from disk. Detections go to `verify/keras.json` and
    `verify/<file stem>.json` (COCO results), the labels to `verify/ground_truth.json`. The models of `compress/` follow
    in the same way; all are held against the float Keras model of the run. Those of the recipe that are `unmade` have a
    row that is `not run`, which passes no gate. `healing` is written as it is.

    Raises:
        InputError: no files, other classes than the data, no images, an image cannot be read, or the disk is full.
    """
    paths, files = RunPaths(Path(run_dir)), [Path(path) for path in files]
    if not files:
        raise InputError(f"{run_dir}: expected exported files to verify. Received: none. Run `keras-retina export`.")
    check_classes(spec.class_names, dataset, source=paths.model)
    paths.detections_folder.mkdir(parents=True, exist_ok=True)
    write_json(paths.ground_truth, ground_truth(dataset))
    known = _readable(files)
    raw_float32 = [path for path, own in known.items() if (own.kind, own.head) == ("float32", "raw")]
    parity = check_parity(
        model, spec, dataset=dataset, raw_file=raw_float32[0] if raw_float32 else None, limit=settings.parity
    )
    logger.info(f"verify: raw heads against Keras: {parity.reason or 'equal within ' + format(settings.parity, 'g')}")
    limits = next(iter(known.values()), Export())  # Keras suppresses as the files do
    kinds = [known[path].kind if path in known else Artifact.of(path).format.name for path in files]
    rows = [unmeasured_row(path, kind) for path, kind in zip((paths.model, *files), (KERAS.name, *kinds), strict=True)]
    work, parameters = multiply_adds(model), model.count_params()
    rows = [replace(row, multiply_adds=work, parameters=parameters) for row in rows]
    if parity.passed:
        detect = detect_function(
            model, spec, iou_threshold=limits.iou_threshold, max_detections=limits.max_detections, nms=limits.nms
        )
        parent = measure_keras(
            rows[0], paths.detections(rows[0].results_name), detect=detect, spec=spec, dataset=dataset
        )
        logger.info(summary(parent))
        measured = [parent]
        for path, row in zip(files, rows[1:], strict=True):
            results = paths.detections(row.results_name)
            measured.append(
                measure_file(path, row, parent=parent, results=results, spec=spec, dataset=dataset, settings=settings)
            )
            logger.info(summary(measured[-1]))
        for one in smaller:
            measured += _measure_smaller(
                one, parent, paths=paths, spec=spec, dataset=dataset, settings=settings, limits=limits
            )
        rows = measured
    else:
        rows += [row for one in smaller for row in _rows_of(one, paths)]
        rows = [row.not_run(_because_of_parity(parity)) for row in rows]
    rows += _unmade_rows(paths, unmade)
    rule = rule_text(settings, {one.name: one.minimum_ap_ratio for one in smaller})
    result = VerifyResult(
        Split(dataset.name, dataset.split, len(dataset.records), dataset_sha256(dataset)),
        Gate(rule, all(row.is_verified for row in rows)),
        parity,
        tuple(rows),
        tuple(healing),
    )
    write_json(paths.verify, result.to_json())
    return result


def _unmade_rows(paths: RunPaths, names: Sequence[str]) -> list[Row]:
    """Returns a row that is `not run` for each model of the recipe that has not been made."""
    reason = f"the model is not made yet. Run `keras-retina compress {paths.path}`"
    rows = [_keras_row(paths, name).not_run(reason) for name in names]
    for row in rows:
        logger.info(summary(row))
    return rows


def _keras_row(paths: RunPaths, name: str) -> Row:
    """Returns the row of a smaller Keras model; its file has the place in the run folder, since all have one name."""
    path = paths.compressed(name).model
    return replace(unmeasured_row(path, KERAS.name), file=path.relative_to(paths.path).as_posix(), model=name)


def _rows_of(one: SmallerModel, paths: RunPaths) -> list[Row]:
    """Returns the rows of a smaller model and of its files, not measured."""
    files = [replace(unmeasured_row(file.path(paths.export), file.format.name), model=one.name) for file in one.files]
    rows = [_keras_row(paths, one.name), *files]
    return [replace(row, multiply_adds=one.multiply_adds, parameters=one.parameters) for row in rows]


def _because_of_parity(parity: Parity) -> str:
    return f"not measured because of parity: {parity.reason}"


def _measure_smaller(
    one: SmallerModel,
    float_row: Row,
    *,
    paths: RunPaths,
    spec: DetectorSpec,
    dataset: Dataset,
    settings: Verification,
    limits: Description | Export,
) -> list[Row]:
    """Returns the rows of a smaller model and of its files."""
    rows = _rows_of(one, paths)
    limit = settings.model_copy(update={"minimum_ap_ratio": one.minimum_ap_ratio})
    if not one.is_quantized:
        raw = [file for file in one.files if (file.format.name, file.form) == ("float32", "raw")]
        path = raw[0].path(paths.export) if raw else None
        parity = check_parity(one.model, spec, dataset=dataset, raw_file=path, limit=settings.parity)
        if not parity.passed:
            return [row.not_run(_because_of_parity(parity)) for row in rows]
    detect = detect_function(
        one.model, spec, iou_threshold=limits.iou_threshold, max_detections=limits.max_detections, nms=limits.nms
    )
    row = measure_keras(rows[0], paths.detections(rows[0].results_name), detect=detect, spec=spec, dataset=dataset)
    if row.is_verified:
        row = row.judged(shortfalls(row, float_row, settings=limit))
    logger.info(summary(row))
    measured = [row]
    for file, row in zip(one.files, rows[1:], strict=True):
        path, results = file.path(paths.export), paths.detections(row.results_name)
        row = measure_file(path, row, parent=float_row, results=results, spec=spec, dataset=dataset, settings=limit)
        measured.append(row if row.status == "not run" else _check_kernels(row, path.read_bytes(), one=one))
        logger.info(summary(measured[-1]))
    return measured


def _check_kernels(row: Row, data: bytes, *, one: SmallerModel) -> Row:
    """Counts zeros and different weights in the file itself; what training made must still be there."""
    zeros = round(sparsity_of_file(data).share, 4)
    values = max(clusters_of_file(data).values(), default=0)
    reasons = [row.reason] if row.reason else []
    if zeros < one.zeros - ZEROS_TOLERANCE:
        reasons.append(f"{zeros:.1%} of the weights are zero, expected {one.zeros:.1%}")
    if one.values is not None and row.format.activations == "int8" and values > one.values:
        reasons.append(f"{values} different weights in a channel, expected at most {one.values}")
    return replace(row.judged(reasons), zeros=zeros, values_per_channel=values)


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
