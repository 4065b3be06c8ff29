"""Makes the smaller models of a recipe, each in a folder of its own under `compress/`, resuming where it stopped."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.foundation.determinism import enable_determinism
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_file, write_json
from keras_retina.foundation.json_values import read_json
from keras_retina.foundation.legacy_keras import keras
from keras_retina.foundation.run_paths import DURATION, CompressedPaths
from keras_retina.model.graph import multiply_adds
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.compress import ancestry
from keras_retina.recipe.recipe import CompressedModel, Recipe
from keras_retina.run.folder import RunFolder
from keras_retina.train.duration import seconds_spent
from keras_retina.train.workers.devices import distribution_strategy

logger = logging.getLogger(__name__)


def compress_model(run: RunFolder, name: str, *, train_set: Dataset, validation_set: Dataset) -> None:
    """Makes one model of `compress:` from its parent, which must be there."""
    # tensorflow-model-optimization is loaded only where a model is made, or a quantized one is opened.
    from edge.compress.channels.rounds import prune_rounds
    from edge.compress.fine_tune import CompressTask
    from edge.compress.quantized import train_quantized
    from edge.compress.weights.train import train_clustered, train_sparse
    from edge.quantize.aware.model import float_model
    from edge.quantize.aware.saving import save_quantize_aware

    settings = run.recipe.compress[name]
    folder = run.compressed(name)
    started = time.perf_counter() - seconds_spent(folder.train / DURATION)
    folder.path.mkdir(parents=True, exist_ok=True)
    if run.recipe.training.deterministic:
        enable_determinism()
    write_file(folder.settings, _settings(ancestry(run.recipe.compress, name)).encode())
    parent, spec = load_detector(parent_file(run, settings))
    section = f"compress.{name}"
    training = run.recipe.training
    strategy = distribution_strategy(training.strategy, training.batch_size)
    with strategy.scope():
        teacher = load_detector(run.model)[0] if settings.fine_tune.distillation else None
    sets = (train_set, validation_set)
    task = CompressTask(section, parent, spec, run.recipe, settings, *sets, folder, teacher, strategy, started)
    if settings.quantize is not None:
        model = train_quantized(task)
        save_quantize_aware(model, spec, path=folder.model)
        plain = float_model(model)
    else:
        make = prune_rounds if settings.channels else train_sparse if settings.sparsity else train_clustered
        model = plain = make(task)
        save_detector(model, spec, folder.model)
    if settings.fine_tune.minutes is not None:
        took = (time.perf_counter() - task.started) / 60
        logger.info(f"compress {name}: took {took:.2f} of {settings.fine_tune.minutes:g} min")
    files = run.recipe.export
    detect = detect_function(
        model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
    )
    metrics = coco_metrics(validation_set, predict_dataset(detect, spec, dataset=validation_set))
    facts = {"split": validation_set.split, **metrics, **sizes(plain), "parent": sizes(parent)}
    write_json(folder.metrics, facts)
    left = facts["multiply_adds"] / facts["parent"]["multiply_adds"]
    logger.info(f"compress {name}: validation AP {metrics['AP']}, {left:.3f} x the multiply-adds of its parent")


def is_done(run: RunFolder, name: str) -> bool:
    """Tells whether a model is whole."""
    folder = run.compressed(name)
    return folder.model.exists() and folder.metrics.exists()


def load_compressed(run: RunFolder, name: str) -> tuple[keras.Model, DetectorSpec]:
    """Loads a model that is whole and its description; a quantized one rounds as its file does."""
    path = run.compressed(name).model
    if run.recipe.compress[name].quantize is None:
        return load_detector(path)
    from edge.quantize.aware.saving import load_quantize_aware

    return load_quantize_aware(path)


def parent_file(run: RunFolder, settings: CompressedModel) -> Path:
    """Returns the file of the model that another is made from."""
    return run.model if settings.parent is None else run.compressed(settings.parent).model


def sizes(model: keras.Model) -> dict[str, int]:
    """Returns multiply-adds for one image and parameters of a model."""
    return {"multiply_adds": multiply_adds(model), "parameters": model.count_params()}


def check_settings(folder: CompressedPaths, recipe: Recipe, *, name: str) -> None:
    """Refuses a model that was made, or begun, with other settings. One that an older file lacks has its default."""
    path = folder.settings
    if not path.exists():
        return
    try:
        begun = _settings([CompressedModel.model_validate(fields) for fields in read_json(path)])
    except (TypeError, ValueError):  # cut off, or of a version with other settings
        begun = ""
    if begun != _settings(ancestry(recipe.compress, name)):
        raise InputError(
            f"{folder.path}: expected a model of these settings. Received: one that was begun with others, "
            f"{path.name}. Delete the folder to make {name!r} anew."
        )


def _settings(line: list[CompressedModel]) -> str:
    """Returns what a model and its parents (`ancestry`) are made with, as JSON: all but files and gate."""
    left_out = {"formats", "minimum_ap_ratio"}
    return json.dumps([model.model_dump(mode="json", exclude=left_out) for model in line], indent=2)
