"""The last step of healing: a short quantization-aware training that also learns from the float model."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from statistics import median

from edge.export.convert import convert_heads
from edge.verify.heal.steps import Candidate, StepNotPossibleError
from keras_retina.data.records import Dataset
from keras_retina.foundation.determinism import enable_determinism
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import count_of, read_mapping
from keras_retina.foundation.run_paths import DURATION, CompressedPaths
from keras_retina.model.saving import load_detector
from keras_retina.recipe.compress import CompressedModel, FineTune, Quantize
from keras_retina.run.folder import RunFolder
from keras_retina.train.duration import seconds_spent
from keras_retina.train.workers.devices import distribution_strategy

SHARE = 1 / 3  # of the time that the float model was trained, for all steps of healing together
COST = 3.0  # times the float epoch: rounding, the backbone's own gradients, and the float model that is learnt from
EPOCHS = "epochs.json"
LEARNING_RATE = 1e-4
DISTILLATION = 1.0


def trained_in_int8(
    run: RunFolder,
    model: str | None,
    *,
    folder: CompressedPaths,
    train_set: Dataset,
    validation_set: Dataset,
    spent: float,
) -> Iterator[Candidate]:
    """Tries the int8 file of a model that was trained with its rounding, resuming where it stopped.

    Args:
        model: the smaller model, None for the model of the run.
        folder: gets the checkpoints.
        spent: seconds that the other steps took.

    Raises:
        StepNotPossibleError: no epoch fits into the time that is left, or a layer has no such training.
    """
    # tensorflow-model-optimization is loaded only where a quantized model is made.
    from edge.compress.fine_tune import CompressTask
    from edge.compress.quantized import train_quantized
    from edge.quantize.aware.places import check_layers

    is_deterministic = run.recipe.training.deterministic
    if is_deterministic:
        enable_determinism()
    epochs = begun_epochs(folder) or (counted_epochs(run) if is_deterministic else fitting_epochs(run, spent))
    started = time.perf_counter() - seconds_spent(folder.train / DURATION)
    parent, spec = load_detector(run.model if model is None else run.compressed(model).model)
    try:
        check_layers(parent)
    except InputError as error:
        raise StepNotPossibleError(str(error)) from error
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.path / EPOCHS, {"epochs": epochs})
    training = run.recipe.training
    strategy = distribution_strategy(training.strategy, training.batch_size)
    with strategy.scope():
        teacher = load_detector(run.model)[0]
    smaller = CompressedModel(parent=model, quantize=Quantize(), fine_tune=fine_tuning(run, epochs))
    sets = (train_set, validation_set)
    task = CompressTask("export.heal", parent, spec, run.recipe, smaller, *sets, folder, teacher, strategy, started)
    quantized = train_quantized(task)
    changed = f"weights trained with int8 rounding for {epochs} epoch{'s' if epochs > 1 else ''}"
    yield Candidate(changed, convert_heads(quantized, spec, kind="int8_qat"), kind="int8_qat")


def begun_epochs(folder: CompressedPaths) -> int | None:
    """Returns the epochs that an interrupted training began with, so that it goes on with them; None for no such one.

    Raises:
        InputError: the file that says so is damaged.
    """
    file = folder.path / EPOCHS
    return count_of(read_mapping(file) or {}, "epochs", where=str(file))


def counted_epochs(run: RunFolder) -> int:
    """Returns how many epochs take a third of the training time by their count, where the clock may decide nothing.

    Raises:
        StepNotPossibleError: none.
    """
    with run.history.open(newline="", encoding="utf-8") as file:
        trained = sum(1 for _ in csv.DictReader(file))
    fitting = int(SHARE * trained / COST)
    if fitting < 1:
        raise StepNotPossibleError(f"no epoch of it fits into a third of the training of {trained} epochs")
    return fitting


def fitting_epochs(run: RunFolder, spent: float) -> int:
    """Returns how many epochs should fit into what is left of the time.

    Raises:
        StepNotPossibleError: none.
    """
    with run.history.open(newline="", encoding="utf-8") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    left = SHARE * sum(seconds) - spent
    fitting = int(left / (COST * median(seconds))) if seconds else 0
    if fitting < 1:
        third, others = SHARE * sum(seconds) / 60, spent / 60
        raise StepNotPossibleError(
            f"no epoch of it fits into a third of the training time, {third:.1f} min, of which other steps took "
            f"{others:.1f}"
        )
    return fitting


def fine_tuning(run: RunFolder, epochs: int) -> FineTune:
    """Returns the settings of the training."""
    return FineTune(
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        weight_average=0.99,
        evaluate_every=epochs,
        frozen_stages=run.recipe.model.backbone.frozen_stages,
        distillation=DISTILLATION,
    )
