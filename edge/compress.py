"""Makes the smaller models of a recipe, each in a folder of its own under `compress/`, resuming where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.fine_tune import fine_tune, fine_tune_batches
from edge.multiply_adds import multiply_adds
from edge.prune_channels import prune_to
from edge.prune_cost import multiply_add_cost, parameter_cost
from edge.prune_groups import ChannelGroup
from edge.prune_latency import latency_on_this_machine
from edge.prune_rank import kernel_norms, loss_changes, norm_scales
from edge.run import RunFolder, load_split
from edge.tflite_file import write_file
from keras_retina.data.records import Dataset
from keras_retina.detector_losses import detector_losses
from keras_retina.detector_spec import DetectorSpec
from keras_retina.errors import InputError
from keras_retina.evaluate import coco_metrics
from keras_retina.legacy_keras import keras
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.predict import detect_function, predict_dataset
from keras_retina.recipe import CompressedModel, Recipe, dump_recipe, load_recipe
from keras_retina.recipe_compress import Channels, ancestry

FOLDER = "compress"
MODEL_FILE = "model.keras"
METRICS_FILE = "metrics.json"
SETTINGS_FILE = "settings.json"
TAYLOR_BATCHES = 16

Report = Callable[[str], None]


def compress_stage(run: RunFolder, report: Report) -> None:
    """Makes every model of `compress:` that is not there yet: `compress/NAME/model.keras` and `metrics.json`.

    Raises:
        InputError: the run is not trained, a model of other settings is there, a target that cannot be reached, or a
            fine-tuning that failed; what was saved before is kept, and the same call goes on from there.
    """
    if not run.recipe.compress:
        return
    missing = [name for name in run.recipe.compress if not is_done(run, name)]
    if not missing:
        report("compress: done before, skipped")
        return
    if not (run.path / MODEL_FILE).exists():
        raise InputError(f"{run.path}: expected a trained {MODEL_FILE}. Received: none. Run `keras-retina train`.")
    train_set = load_split(run, run.recipe.data.train, report)
    validation_set = load_split(run, run.recipe.data.validation, report)
    for name in missing:
        report(f"compress {name}:")
        compress_model(run, name, train_set, validation_set, report)


def add_compressed(run: RunFolder, overrides: list[str]) -> RunFolder:
    """Returns the run with `compress.NAME...=value` in its recipe, which is written into the folder.

    Raises:
        InputError: another section, or a value that the section does not take.
    """
    for override in overrides:
        if not override.strip().startswith("compress."):
            raise InputError(
                f"--set: expected a key of the section compress, since the run is trained. Received: {override!r}. "
                "Example: compress.half.channels.keep=0.5"
            )
    recipe = load_recipe(run.path / "recipe.yaml", overrides)
    write_file(run.path / "recipe.yaml", dump_recipe(recipe).encode())
    return RunFolder(run.path, recipe, run.data_dir)


def compress_model(run: RunFolder, name: str, train_set: Dataset, validation_set: Dataset, report: Report) -> None:
    """Makes one model of `compress:` from its parent, which must be there."""
    settings = run.recipe.compress[name]
    folder = run.path / FOLDER / name
    _claim(folder, run.recipe, name)
    parent, spec = load_detector(parent_file(run, settings))
    model = prune_rounds(parent, spec, run.recipe, settings, train_set, validation_set, folder, report)
    save_detector(model, spec, folder / MODEL_FILE)
    metrics = coco_metrics(validation_set, predict_dataset(detect_function(model, spec), spec, validation_set))
    facts = {"split": validation_set.split, **metrics, **sizes(model), "parent": sizes(parent)}
    write_file(folder / METRICS_FILE, (json.dumps(facts, indent=2) + "\n").encode())
    left = facts["multiply_adds"] / facts["parent"]["multiply_adds"]
    report(f"compress {name}: validation AP {metrics['AP']}, {left:.3f} x the multiply-adds of its parent")


def prune_rounds(
    parent: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: CompressedModel,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Report,
) -> keras.Model:
    """Removes channels and fine-tunes, as often as `rounds` says, and returns the last model."""
    channels = settings.channels or Channels()
    model = parent
    for number in range(1, channels.rounds + 1):
        last = number == channels.rounds
        place = folder if last else folder / f"round_{number}"
        if not last and (place / MODEL_FILE).exists():
            model, _ = load_detector(place / MODEL_FILE)
            continue
        pruned = place / "pruned.keras"
        if pruned.exists():
            model, _ = load_detector(pruned)
        else:
            place.mkdir(parents=True, exist_ok=True)
            model = _pruned(model, spec, recipe, channels, train_set)
            save_detector(model, spec, pruned)
        share = multiply_adds(model) / multiply_adds(parent)
        report(f"round {number} of {channels.rounds}: {share:.3f} x the multiply-adds")
        length = settings.fine_tune if last else settings.fine_tune.model_copy(update={"epochs": channels.round_epochs})
        fine_tune(model, spec, recipe, length, train_set, validation_set, place / "train", report)
        if not last:
            save_detector(model, spec, place / MODEL_FILE)
    return model


def is_done(run: RunFolder, name: str) -> bool:
    """Tells whether a model is whole."""
    folder = run.path / FOLDER / name
    return (folder / MODEL_FILE).exists() and (folder / METRICS_FILE).exists()


def parent_file(run: RunFolder, settings: CompressedModel) -> Path:
    """Returns the file of the model that another is made from."""
    return run.path / MODEL_FILE if settings.parent is None else run.path / FOLDER / settings.parent / MODEL_FILE


def sizes(model: keras.Model) -> dict[str, int]:
    """Returns multiply-adds for one image and parameters of a model."""
    return {"multiply_adds": multiply_adds(model), "parameters": model.count_params()}


def _pruned(
    model: keras.Model, spec: DetectorSpec, recipe: Recipe, channels: Channels, train_set: Dataset
) -> keras.Model:
    """Returns the model without the channels that one round removes."""

    def importance(model: keras.Model, groups: list[ChannelGroup]) -> list[np.ndarray]:
        if channels.criterion == "taylor":
            batches = fine_tune_batches(recipe, spec, train_set).take(TAYLOR_BATCHES)
            return loss_changes(model, groups, batches, detector_losses(recipe.training.loss, spec.coder_weights))
        if channels.criterion == "batch_norm":
            return norm_scales(model, groups)
        return kernel_norms(model, groups, 1 if channels.criterion == "l1" else 2)

    cost = parameter_cost if channels.of == "parameters" else multiply_add_cost
    measure = latency_on_this_machine(spec) if channels.of == "latency" else None
    return prune_to(model, channels.keep ** (1 / channels.rounds), importance, cost, measure, channels.multiple)


def _claim(folder: Path, recipe: Recipe, name: str) -> None:
    """Writes what the model is made with, or refuses what was begun with other settings."""
    line = json.dumps(_settings(recipe, name), indent=2)
    path = folder / SETTINGS_FILE
    if path.exists() and path.read_text(encoding="utf-8") != line:
        raise InputError(
            f"{folder}: expected a model of these settings. Received: one that was begun with others, {path.name}. "
            f"Delete the folder to make {name!r} anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_file(path, line.encode())


def _settings(recipe: Recipe, name: str) -> dict[str, Any]:
    return {"models": [model.model_dump(mode="json") for model in ancestry(recipe.compress, name)]}
