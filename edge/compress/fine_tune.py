"""Training of a detector that was made smaller, with the data, the augmentation and the losses of its recipe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge.compress.distillation import with_teacher
from keras_retina.data.pipeline import images_of_batch, training_batches
from keras_retina.data.records import Dataset
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.foundation.run_paths import DURATION, CompressedPaths
from keras_retina.losses import detector_losses, network_for_losses
from keras_retina.model.backbones import freeze
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import CompressedModel, FineTune, Recipe, Training
from keras_retina.train.batch_norm import estimate_batch_norm, fold_frozen_batch_norm
from keras_retina.train.clock import time_keeper
from keras_retina.train.duration import measure_pace, within_minutes
from keras_retina.train.fit import compile_detector, fit_detector
from keras_retina.train.optimizer import set_epochs


@dataclass(frozen=True)
class CompressTask:
    """What it takes to make one smaller model from its parent.

    Attributes:
        section: of the recipe, for messages: `compress.<name>`.
        folder: gets what a repeated call goes on from, `train/` with checkpoints and history among it.
    """

    section: str
    parent: keras.Model
    spec: DetectorSpec
    recipe: Recipe
    settings: CompressedModel
    train_set: Dataset
    validation_set: Dataset
    folder: CompressedPaths
    teacher: keras.Model | None = None
    """The float model, where the settings ask for distillation; made in the scope of `strategy`."""
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
    """The devices that fit, as in `train`; what is fitted must be made in its scope."""
    started: float = field(default_factory=time.perf_counter)
    """When the work on this model began, a time of `time.perf_counter`, earlier by what an interrupted call spent.
    `fine_tune.minutes` count from then on."""


def fine_tune(model: keras.Model, task: CompressTask) -> None:
    """Fits a plain detector, made in the scope of the strategy, in place; an interrupted call is continued.

    The first `frozen_stages` stages of the backbone stay as they are, and so does its BatchNorm unless the recipe
    trains it. BatchNorm of the heads always trains.

    Raises:
        InputError: a loss that is not a number, or a disk that is full; what was saved before is kept.
    """
    freeze_stages(model, task)
    with task.strategy.scope():
        network = fold_frozen_batch_norm(model)
    fit_network(network, model, task=task)
    estimate_batch_norm(model, fine_tune_batches(task))


def freeze_stages(
    model: keras.Model, task: CompressTask, *, batch_norm: Literal["frozen", "trained"] | None = None
) -> None:
    """Lets the layers train that a fine-tuning trains, the backbone's BatchNorm as the recipe says, or `batch_norm`.

    A model whose BatchNorm was folded away lacks the layers that end the backbone's parts; it keeps what is stored.
    """
    backbone = task.recipe.model.backbone
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        frozen = min(task.settings.fine_tune.frozen_stages, backbone.frozen_stages)
        changes = {"frozen_stages": frozen, "batch_norm": batch_norm or backbone.batch_norm}
        freeze(model, backbone.model_copy(update=changes))
        set_batch_norm_momentum(model)  # also of stages that `train` left frozen


def fit_network(
    network: keras.Model,
    detector: keras.Model,
    *,
    task: CompressTask,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: Literal["last"] | None = None,
) -> None:
    """Compiles and fits `network`; `detector` shares its variables and is evaluated (`fit_detector`).

    The recipe's `training.checkpoint` says which epoch is kept, unless it has to be the last.
    """
    keep_freed_memory()
    keras.utils.set_random_seed(task.recipe.seed)
    training = fine_tune_settings(task.recipe.training, task.settings.fine_tune)
    if checkpoint:
        training = training.model_copy(update={"checkpoint": checkpoint})
    with task.strategy.scope():
        network = network_for_losses(network, training.loss, task.spec)
        if task.teacher is not None:
            weight, box_loss = task.settings.fine_tune.distillation, detector_losses(training.loss, task.spec)["boxes"]
            network = with_teacher(network, task.teacher, weight=weight, box_loss=box_loss)
        compile_detector(
            network, task.spec, settings=training, steps_per_epoch=steps_per_epoch(task), precision="float32"
        )
    train_dir = task.folder.train
    train_dir.mkdir(parents=True, exist_ok=True)
    detect, keep_time = detect_function(detector, task.spec, nms=task.recipe.export.nms), None
    if training.minutes is not None:
        most = training.epochs
        training = within_minutes(
            training,
            training.minutes,
            steps_per_epoch=steps_per_epoch(task),
            path=train_dir / DURATION,
            measure=lambda: measure_pace(
                network,
                detect,
                batches=fine_tune_batches(task),
                spec=task.spec,
                validation_set=task.validation_set,
            ),
            started=task.started,
            section=f"{task.section}.fine_tune",
        )
        set_epochs(network.optimizer, training.epochs)
        keep_time = time_keeper(training, started=task.started, most=most, path=train_dir / DURATION)
    fit_detector(
        network,
        detector,
        spec=task.spec,
        settings=training,
        steps=steps_per_epoch(task),
        batches=lambda first_step: fine_tune_batches(task, first_step),
        validation_set=task.validation_set,
        train_dir=train_dir,
        callbacks=callbacks,
        section=f"{task.section}.fine_tune",
        detect=detect,
        keep_time=keep_time,
        images_of=lambda first_step: images_of_batch(
            task.train_set,
            augmentation=task.recipe.augmentation,
            batch_size=training.batch_size,
            seed=task.recipe.seed + 1,
            first_sample=first_step * training.batch_size,
        ),
    )


def fine_tune_batches(task: CompressTask, first_step: int = 0) -> tf.data.Dataset:
    """Returns the endless training batches of the recipe from a step on, in another order than those of `train`."""
    training = task.recipe.training
    return training_batches(
        task.train_set,
        task.spec,
        augmentation=task.recipe.augmentation,
        matching=training.matching,
        batch_size=training.batch_size,
        seed=task.recipe.seed + 1,
        first_sample=first_step * training.batch_size,
        cache_mebibytes=task.recipe.data.cache_mebibytes,
    )


def steps_per_epoch(task: CompressTask) -> int:
    """Returns the batches of an epoch of the recipe."""
    training = task.recipe.training
    return training.steps_per_epoch or max(1, len(task.train_set.records) // training.batch_size)


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
        "minutes": settings.minutes,
        "early_stop": None,
        "precision": "float32",
        "feature_views": None,
        "feature_cache": None,
    }
    return training.model_copy(update=changes)
