"""Worker for keras_retina: a recipe, through the functions that `keras-retina train` is made of.

    python benchmarks/peers/ours.py train --recipe recipes/raccoon.yaml --weights FILE --data DIR --out FILE

The input is `--size` x `--size`, or the recipe's with `--own-input`. Everything else is the recipe's: network, frozen
stages, splits, augmentation, matching, losses, optimiser, averaged weights, suppression. Its schedule spans the
`--steps`; with `--minutes` it is the one over `epochs`, stretched over the minutes. Evaluation, pictures and
checkpoints between epochs are left out, because the peers do without them as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reader import BATCH, CLASSES, constant_batch
from worker import Trainer, parser, run

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.geometry.matching import targets
from keras_retina.losses import detector_losses, network_for_losses
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.model.weights.pretrained import load_pretrained
from keras_retina.recipe.recipe import Recipe, Training, load_recipe
from keras_retina.train.batch_norm import estimate_batch_norm, fold_frozen_batch_norm
from keras_retina.train.optimizer import build_optimizer, learning_rate_schedule


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--recipe", default="recipes/bccd.yaml")
    made.add_argument("--own-input", action="store_true", help="the input height and width of the recipe, not --size")
    made.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    keep_freed_memory()
    run(made.parse_args(), constant_step, trainer=trainer)


def constant_step(arguments: argparse.Namespace) -> Callable[[], float]:
    """Returns step(), an update with the constant batch."""
    recipe = _recipe(arguments)
    model = _compiled_model(recipe, CLASSES, arguments=arguments)
    spec = detector_spec(recipe.model, tuple(f"class {index}" for index in range(CLASSES)))
    images, boxes, classes = constant_batch(spec.height, spec.width)
    ignored = tf.zeros(boxes.shape[:2], tf.bool)
    labels = targets(
        spec.grid,
        boxes,
        classes=classes,
        ignored=ignored,
        matching=recipe.training.matching,
        coder_weights=spec.coder_weights,
    )
    inputs = spec.scale(tf.cast(images, tf.float32))
    return _step(model, tf.data.Dataset.from_tensors((inputs, labels)).repeat())


def trainer(arguments: argparse.Namespace) -> Trainer:
    """Returns the training on the train split of `--data`."""
    recipe = _recipe(arguments)
    settings = recipe.training
    _refuse_other_steps(settings)
    dataset = _split(arguments.data, recipe.data.train, recipe=recipe)
    spec = detector_spec(recipe.model, dataset.class_names)
    model = _compiled_model(recipe, len(dataset.class_names), arguments=arguments)
    batches = training_batches(
        dataset,
        spec,
        augmentation=recipe.augmentation,
        matching=settings.matching,
        batch_size=settings.batch_size,
        seed=arguments.seed,
    )
    steps = arguments.steps or settings.epochs * max(1, len(dataset.records) // settings.batch_size)
    schedule = learning_rate_schedule(settings.model_copy(update={"epochs": 1}), steps)

    def set_rate(fraction: float) -> None:
        model.optimizer.learning_rate = float(schedule(fraction * steps))

    def detect() -> list[dict[str, Any]]:
        reported = _split(arguments.data, arguments.split, recipe=recipe)
        return _results(model, spec, recipe=recipe, batches=batches, reported=reported)

    size = f"{spec.height}x{spec.width}" if arguments.own_input else arguments.size
    return Trainer(_step(model, batches), set_rate, detect, size)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    size = [] if arguments.own_input else [f"model.input.{side}={arguments.size}" for side in ("height", "width")]
    fixed = [*size, f"training.batch_size={BATCH}", f"model.backbone.weights={arguments.weights}"]
    return load_recipe(arguments.recipe, [*fixed, *arguments.set])


def _refuse_other_steps(settings: Training) -> None:
    if settings.precision not in ("float32", "auto") or settings.feature_views or settings.accumulate_steps > 1:
        raise InputError(
            "training: expected float32 and one update for each batch of images. "
            f"Received: precision={settings.precision!r}, feature_views={settings.feature_views}, "
            f"accumulate_steps={settings.accumulate_steps}. Change the recipe with --set."
        )


def _split(data: Path, split: str, *, recipe: Recipe) -> Dataset:
    return load_dataset(data, split, format=recipe.data.format, classes=recipe.data.classes)


def _compiled_model(recipe: Recipe, classes: int, *, arguments: argparse.Namespace) -> keras.Model:
    settings = recipe.training
    keras.utils.set_random_seed(arguments.seed)
    detector = detector_network(recipe.model, classes)
    load_pretrained(detector, recipe.model.backbone, source=str(arguments.weights))
    set_batch_norm_momentum(detector)
    spec = detector_spec(recipe.model, tuple(map(str, range(classes))))
    model = network_for_losses(fold_frozen_batch_norm(detector), settings.loss, spec)
    model.compile(optimizer=_optimizer(settings), loss=detector_losses(settings.loss, spec))
    return model


def _optimizer(settings: Training) -> keras.optimizers.Optimizer:
    """Returns the recipe's optimiser with a learning rate that can be set instead of a schedule."""
    scheduled = build_optimizer(settings, 1)
    optimizer = type(scheduled).from_config(scheduled.get_config() | {"learning_rate": settings.learning_rate})
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _step(model: keras.Model, batches: tf.data.Dataset) -> Callable[[], float]:
    function, iterator = model.make_train_function(), iter(batches)

    def step() -> float:
        model.reset_metrics()  # the loss of this step, not the mean of all
        return float(function(iterator)["loss"])

    return step


def _results(
    model: keras.Model, spec: DetectorSpec, *, recipe: Recipe, batches: tf.data.Dataset, reported: Dataset
) -> list[dict[str, Any]]:
    if recipe.training.weight_average is not None:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    estimate_batch_norm(model, batches)
    files = recipe.export
    detect = detect_function(
        model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
    )
    return predict_dataset(detect, spec, dataset=reported)


if __name__ == "__main__":
    main()
