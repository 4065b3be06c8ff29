"""Training of a detector that was made smaller, with the data, the augmentation and the losses of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from keras_retina.data.pipeline import training_batches
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import DetectorSpec
from keras_retina.fitting import compile_detector, fit_detector
from keras_retina.legacy_keras import keras, tf
from keras_retina.memory import keep_freed_memory
from keras_retina.model.backbones import freeze
from keras_retina.model.batch_norm import estimate_batch_norm
from keras_retina.model.folding import fold_frozen_batch_norm
from keras_retina.recipe import FineTune, Recipe, Training


def fine_tune(
    model: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: FineTune,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Fits a plain detector in place; `folder` gets checkpoints and history, and an interrupted call is continued.

    The first `settings.frozen_stages` stages of the backbone stay as they are, and so does BatchNorm unless the recipe
    trains it.

    Raises:
        InputError: a loss that is not a number, or a disk that is full; what was saved before is kept.
    """
    freeze_stages(model, recipe, settings)
    network = fold_frozen_batch_norm(model)
    fit_network(network, model, spec, recipe, settings, train_set, validation_set, folder, report, callbacks)
    if recipe.model.backbone.batch_norm == "trained":
        estimate_batch_norm(model, fine_tune_batches(recipe, spec, train_set))


def freeze_stages(model: keras.Model, recipe: Recipe, settings: FineTune) -> None:
    """Lets the layers train that a fine-tuning trains.

    A model whose BatchNorm was folded away lacks the layers that end the backbone's parts; it keeps what is stored.
    """
    backbone = recipe.model.backbone
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        frozen = min(settings.frozen_stages, backbone.frozen_stages)
        freeze(model, backbone.model_copy(update={"frozen_stages": frozen}))


def fit_network(
    network: keras.Model,
    detector: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: FineTune,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: Literal["best", "last"] = "best",
) -> None:
    """Compiles and fits `network`; `detector` shares its variables and is evaluated (`fit_detector`)."""
    keep_freed_memory()
    keras.utils.set_random_seed(recipe.seed)
    training = fine_tune_settings(recipe.training, settings).model_copy(update={"checkpoint": checkpoint})
    compile_detector(network, spec, training, steps_per_epoch(recipe, train_set), "float32")
    folder.mkdir(parents=True, exist_ok=True)
    fit_detector(
        network,
        detector,
        spec,
        training,
        steps_per_epoch(recipe, train_set),
        lambda first_step: fine_tune_batches(recipe, spec, train_set, first_step),
        validation_set,
        folder,
        report,
        callbacks,
    )


def fine_tune_batches(recipe: Recipe, spec: DetectorSpec, train_set: Dataset, first_step: int = 0) -> tf.data.Dataset:
    """Returns the endless training batches of the recipe from a step on, in another order than those of `train`."""
    training = recipe.training
    first = first_step * training.batch_size
    return training_batches(
        train_set,
        spec,
        recipe.augmentation,
        training.matching,
        training.batch_size,
        recipe.seed + 1,
        first,
        recipe.data.cache_mebibytes,
    )


def steps_per_epoch(recipe: Recipe, train_set: Dataset) -> int:
    """Returns the batches of an epoch of the recipe."""
    return recipe.training.steps_per_epoch or max(1, len(train_set.records) // recipe.training.batch_size)


def fine_tune_settings(training: Training, settings: FineTune) -> Training:
    """Returns the training section of the recipe with the length, the rates and the evaluation of the fine-tuning."""
    changes = {
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "schedule": "cosine",
        "decay_at": None,
        "final_learning_rate_fraction": settings.final_learning_rate_fraction,
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "weight_average": settings.weight_average,
        "evaluate_every": settings.evaluate_every,
        "accumulate_steps": 1,
        "minutes": None,
        "early_stop": None,
        "precision": "float32",
        "feature_views": None,
        "feature_cache": None,
    }
    return training.model_copy(update=changes)
