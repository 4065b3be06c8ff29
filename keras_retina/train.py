"""Training with `model.fit`: strategy, optimiser, schedule, callbacks, resume and the final weights."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from keras_retina.callbacks import (
    Checkpoint,
    EvaluateAveragePrecision,
    StopOnNaN,
    patience_is_over,
    read_state,
)
from keras_retina.data.check_augmentation import check_augmentation
from keras_retina.data.input_wait import InputWait
from keras_retina.data.pipeline import training_batches
from keras_retina.data.records import Dataset
from keras_retina.detector_losses import detector_losses
from keras_retina.detector_spec import DetectorSpec, detector_spec
from keras_retina.devices import distribution_strategy
from keras_retina.diagnostics import Diagnostics
from keras_retina.duration import measure_pace, within_minutes
from keras_retina.errors import InputError
from keras_retina.feature_cache import build_feature_cache, feature_batches
from keras_retina.history import History, Progress, trim_history
from keras_retina.legacy_keras import keras, tf
from keras_retina.memory import keep_freed_memory
from keras_retina.model.folding import fold_frozen_batch_norm
from keras_retina.model.frozen_split import split_at_frozen
from keras_retina.model.retinanet import retinanet
from keras_retina.model.saving import plain_model, save_detector
from keras_retina.model.weights import find_weights, load_pretrained
from keras_retina.optimizer import build_optimizer
from keras_retina.precision import choose_precision, copy_weights, in_precision, scale_loss, training_devices
from keras_retina.recipe import Recipe, Training

BATCH_NORM_STEPS = 60
BATCH_NORM_MOMENTUM = 0.9


def train(
    recipe: Recipe,
    train_set: Dataset,
    validation_set: Dataset,
    run_dir: Path,
    data_dir: Path | None = None,
    report: Callable[[str], None] = print,
) -> tuple[keras.Model, DetectorSpec]:
    """Trains a detector, or finishes an interrupted training, and writes `model.keras` into the run folder.

    The run folder gets `train/` with checkpoints, `history.csv` and TensorBoard logs. After an interruption the same
    call continues at the first epoch whose checkpoint is missing, with the batches that the uninterrupted run would
    have seen.

    Raises:
        InputError: pretrained weights that do not fit, an augmentation that hides every object, fewer batches than one
            update takes, minutes too few for an epoch, a precision that the device has not, a loss that is not a
            number, a disk that is full.
    """
    started = time.perf_counter()
    settings = recipe.training
    precision = choose_precision(settings.precision, training_devices())
    keep_freed_memory()
    keras.utils.set_random_seed(recipe.seed)
    spec = detector_spec(recipe.model, train_set.class_names)
    check_augmentation(train_set, spec, recipe.augmentation, recipe.seed)
    steps = settings.steps_per_epoch or max(1, len(train_set.records) // settings.batch_size)
    _check_updates(settings, steps)
    strategy = distribution_strategy(settings.strategy, settings.batch_size)
    with strategy.scope():
        detector = retinanet(recipe.model, len(train_set.class_names))
        source = find_weights(recipe.model.backbone, data_dir)
        load_pretrained(detector, recipe.model.backbone, source)
        _set_batch_norm_momentum(detector)
        model = in_precision(detector, precision)
        frozen, learning = split_at_frozen(model) if settings.feature_views else (None, model)
        network = fold_frozen_batch_norm(learning)
        _compile(network, spec, settings, steps, precision)
    report(f"backbone weights: {source or 'random'}; {model.count_params():,} parameters; {precision}")

    train_dir = run_dir / "train"
    train_dir.mkdir(parents=True, exist_ok=True)

    features = Path(settings.feature_cache) if settings.feature_cache else train_dir / "features"
    if settings.feature_views:
        frozen = fold_frozen_batch_norm(frozen)
        build_feature_cache(features, recipe, train_set, spec, frozen, settings.feature_views, report)

    def batches(first_step: int) -> tf.data.Dataset:
        common = (settings.matching, settings.batch_size, recipe.seed, first_step * settings.batch_size)
        if settings.feature_views:
            return feature_batches(features, spec, *common)
        return training_batches(train_set, spec, recipe.augmentation, *common, recipe.data.cache_mebibytes)

    if settings.minutes is not None:
        settings = within_minutes(
            settings,
            settings.minutes,
            steps,
            train_dir / "duration.json",
            lambda: measure_pace(network, model, batches(0), spec, validation_set),
            report,
            started,
        )
        _check_updates(settings, steps)
        with strategy.scope():
            _compile(network, spec, settings, steps, precision)

    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=network.optimizer, epoch=epoch)
    manager = tf.train.CheckpointManager(checkpoint, str(train_dir / "checkpoints"), max_to_keep=1)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).expect_partial()
        report(f"resuming after epoch {int(epoch)}")
    first_epoch = int(epoch)
    trim_history(train_dir / "history.csv", first_epoch)

    wait = InputWait()
    patience = settings.early_stop.patience * settings.evaluate_every if settings.early_stop else None
    if first_epoch < settings.epochs and not patience_is_over(read_state(train_dir), first_epoch, patience):
        writer = tf.summary.create_file_writer(str(train_dir / "tensorboard"))
        callbacks = [
            StopOnNaN(),
            EvaluateAveragePrecision(
                model, spec, validation_set, settings.evaluate_every, settings.epochs, train_dir, writer, patience
            ),
            Diagnostics(next(iter(batches(0))), spec, settings.loss, settings.evaluate_every, writer),
            History(
                train_dir / "history.csv",
                writer,
                settings.epochs,
                steps * settings.batch_size,
                settings.evaluate_every,
                report,
                wait,
            ),
            Progress(settings.batch_size, report),
            Checkpoint(manager, epoch),
        ]
        network.fit(
            wait.watch(batches(first_epoch * steps)),
            epochs=settings.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=steps,
            callbacks=callbacks,
            verbose=0,
        )
        if int(epoch) < settings.epochs:
            report(f"stopped early after epoch {int(epoch)}: the validation AP had not risen for {patience} epochs")
    _take_final_weights(model, network, settings, train_dir, report)
    if model is not detector:
        copy_weights(model, detector)
    if recipe.model.backbone.batch_norm == "trained":
        estimate_batch_norm(detector, batches(settings.epochs * steps))
    save_detector(detector, spec, run_dir / "model.keras")
    return detector, spec


def _compile(
    model: keras.Model, spec: DetectorSpec, settings: Training, steps_per_epoch: int, precision: str
) -> None:
    model.compile(
        optimizer=scale_loss(build_optimizer(settings, steps_per_epoch), precision),
        loss=detector_losses(settings.loss, spec.coder_weights),
    )
    model.optimizer.build(model.trainable_variables)


def _check_updates(settings: Training, steps_per_epoch: int) -> None:
    batches = settings.epochs * steps_per_epoch
    if settings.accumulate_steps > batches:
        raise InputError(
            f"training.accumulate_steps: expected at most the {batches} batches of the training. "
            f"Received: {settings.accumulate_steps}, so no update. Closest: {batches}."
        )


def estimate_batch_norm(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Re-estimates the moving statistics of every trainable BatchNorm with the final weights.

    The moving averages of training lag behind the weights, and averaged weights have no statistics of their own.
    """

    @tf.function
    def forward(images: tf.Tensor) -> None:
        model(images, training=True)

    for images, _ in batches.take(BATCH_NORM_STEPS):
        forward(images)


def _set_batch_norm_momentum(model: keras.Model) -> None:
    # tf_keras.applications use 0.999: after a few hundred steps the statistics are still those of the start.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layer.momentum = BATCH_NORM_MOMENTUM


def _take_final_weights(
    model: keras.Model, network: keras.Model, settings: Training, train_dir: Path, report: Callable[[str], None]
) -> None:
    best = train_dir / "best.weights.h5"
    if settings.checkpoint == "best" and best.exists():
        plain_model(model).load_weights(best)
        state = read_state(train_dir)
        report(f"final weights: best validation AP {state['best_AP']:.1f}, epoch {state['best_epoch']}")
        return
    if getattr(network.optimizer, "use_ema", False):
        network.optimizer.finalize_variable_values(network.trainable_variables)
    report("final weights: those of the last step")


def write_metrics(run_dir: Path, split: str, metrics: dict) -> None:
    """Writes `metrics.json`, the COCO metrics of the float Keras model on a split."""
    temporary = run_dir / ".metrics.json.writing"
    temporary.write_text(json.dumps({"split": split, **metrics}, indent=2), encoding="utf-8")
    shutil.move(temporary, run_dir / "metrics.json")
