"""COCO metrics of a run folder, a `.keras` model or a `.tflite` file, all with the same command."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edge.detectors.measure import detect_and_time
from edge.detectors.reading import ReadingOptions, choose_reading, reading_lines
from keras_retina.data.labelled import validation_split
from keras_retina.data.reading.folder import load_split, open_folder
from keras_retina.data.records import Dataset, check_classes
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Export
from keras_retina.run.folder import RunFolder, open_run, read_split

logger = logging.getLogger(__name__)


def evaluate_target(
    target: Path,
    data_dir: Path | None,
    *,
    split: str | None,
    options: ReadingOptions | None = None,
) -> dict[str, Any]:
    """Returns the AP fields of a verify row, with `file`, `kind` and `dataset`; of a .tflite `latency_ms`, `read_as`.

    A file inside a run folder finds its data by itself; any other needs `data_dir`. A Keras model in a run folder
    suppresses as `export` of its recipe says, any other within each class. A .tflite may be anybody's
    (`edge.detectors.foreign`); `options` says what it does not.

    Raises:
        InputError: the target is none of the three, or its data is not known.
    """
    if not target.exists():
        raise InputError(f"{target}: expected a run folder, a .keras or a .tflite file. Received: nothing there.")
    run = _run_around(target, data_dir)
    dataset = _dataset_for(target, run, data_dir=data_dir, split=split)
    logger.info(f"{dataset.name}, split {dataset.split}: {len(dataset.records)} images")
    of_file: dict[str, Any] = {}
    if target.suffix == ".tflite":
        kind = "tflite"
        reading = choose_reading(target, dataset, options=options or ReadingOptions())
        for line in reading_lines(target, reading):
            logger.info(line)
        detections, latency = detect_and_time(target, dataset, reading=reading)
        of_file = {"latency_ms": latency, "read_as": reading.read_as}
    elif options is not None and options != ReadingOptions():
        raise InputError(
            f"--labels and the like: expected a .tflite file. Received: {target}, a Keras model. Leave them out."
        )
    else:
        from keras_retina.evaluate.predict import detect_function, predict_dataset
        from keras_retina.model.saving import load_detector

        kind = "keras"
        model, spec = load_detector(RunPaths(target).model if target.is_dir() else target)
        check_classes(spec.class_names, dataset, source=target)
        files = run.recipe.export if run else Export()
        detect = detect_function(
            model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
        )
        detections = predict_dataset(detect, spec, dataset=dataset)
    return {
        "file": str(target),
        "kind": kind,
        "dataset": {"name": dataset.name, "split": dataset.split, "images": len(dataset.records)},
        **coco_metrics(dataset, detections),
        **of_file,
    }


def _run_around(target: Path, data_dir: Path | None) -> RunFolder | None:
    """Returns the run that the target is or lies in, None for a file elsewhere."""
    folder = next((place for place in (target, *target.parents[:2]) if RunPaths(place).recipe_file.is_file()), None)
    return None if folder is None else open_run(folder, data_dir)


def _dataset_for(target: Path, run: RunFolder | None, *, data_dir: Path | None, split: str | None) -> Dataset:
    if run is not None:
        return read_split(run, split or run.recipe.data.validation)
    if data_dir is None:
        raise InputError(f"--data: needed for a file outside a run folder. Received: {target}. Pass the data folder.")
    folder = open_folder(data_dir)
    return load_split(folder, split or validation_split(folder))
