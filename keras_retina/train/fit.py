"""One `model.fit` with everything around it: resume, evaluation, pictures, history, checkpoints, final weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.run_paths import HISTORY
from keras_retina.losses import detector_losses
from keras_retina.model.saving import plain_model
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Training
from keras_retina.train.callbacks import Checkpoint, EvaluateAveragePrecision, StopOnNaN, patience_is_over, read_state
from keras_retina.train.clock import KeepTime
from keras_retina.train.diagnostics import Diagnostics
from keras_retina.train.history import History, InputWait, Progress, trim_history
from keras_retina.train.optimizer import build_optimizer, hold_frozen
from keras_retina.train.workers.collective import fed_to_all
from keras_retina.train.workers.devices import scale_loss

logger = logging.getLogger(__name__)


def compile_detector(
    model: keras.Model,
    spec: DetectorSpec,
    *,
    settings: Training,
    steps_per_epoch: int,
    precision: str,
    starts: Sequence[tuple[tf.Variable, float]] = (),
) -> None:
    """Compiles a network of `network_for_losses` with the losses, the optimiser and the schedule of a recipe.

    Args:
        precision: what `choose_precision` says.
        starts: what begins to learn later, for `training.unfreeze_at`: see `starts_of_variables`.
    """
    model.compile(
        optimizer=scale_loss(build_optimizer(settings, steps_per_epoch), precision),
        loss=detector_losses(settings.loss, spec),
    )
    model.optimizer.build(model.trainable_variables)
    if starts:
        hold_frozen(model.optimizer, starts, settings=settings, steps_per_epoch=steps_per_epoch)


def fit_detector(
    network: keras.Model,
    detector: keras.Model,
    *,
    spec: DetectorSpec,
    settings: Training,
    steps: int,
    batches: Callable[[int], tf.data.Dataset],
    validation_set: Dataset,
    train_dir: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    section: str = "training",
    detect: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
    keep_time: KeepTime | None = None,
) -> None:
    """Fits a compiled network to the last epoch of `settings` and leaves the final weights in it.

    What an interrupted call left in `train_dir` is continued: after the last epoch whose checkpoint is whole, with the
    batches that would have followed.

    Args:
        network: what is compiled and fitted.
        detector: shares all variables of `network`; takes images, is evaluated and checkpointed.
        steps: batches of an epoch.
        batches: the first step -> the endless batches from that step on.
        callbacks: more of them, called before the epoch is evaluated and saved.
        section: of the recipe that has the learning rate, for messages.
        detect: `detect_function` of `detector`, with the suppression of the files; by default with suppression per
            class.
        keep_time: ends the training by the clock, earlier or later than at the last epoch of `settings`.

    Raises:
        InputError: a loss that is not a number, or a disk that is full.
    """
    manager, epoch = _resumed(network, detector, train_dir=train_dir)
    first_epoch = int(epoch)
    trim_history(train_dir / HISTORY, first_epoch)
    wait = InputWait()
    patience = settings.early_stop.patience * settings.evaluate_every if settings.early_stop else None
    if first_epoch < settings.epochs and not patience_is_over(read_state(train_dir), first_epoch, patience=patience):
        writer = tf.summary.create_file_writer(str(train_dir / "tensorboard"))
        evaluate = EvaluateAveragePrecision(
            detector,
            spec,
            validation_set,
            settings.evaluate_every,
            settings.epochs,
            train_dir,
            writer,
            patience,
            detect,
        )
        images_per_epoch = steps * settings.batch_size
        history = History(train_dir / HISTORY, writer, settings.epochs, images_per_epoch, settings.evaluate_every, wait)
        if keep_time is not None:
            keep_time.followers += [evaluate, history]
        every_epoch = [
            StopOnNaN(section),
            *callbacks,
            *([keep_time] if keep_time else []),
            evaluate,
            Diagnostics(next(iter(batches(0))), spec, settings.evaluate_every, writer),
            history,
            Progress(settings.batch_size),
            Checkpoint(manager, epoch),
        ]
        network.fit(
            fed_to_all(network.distribute_strategy, wait.watch(batches(first_epoch * steps))),
            epochs=keep_time.most if keep_time else settings.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=steps,
            callbacks=every_epoch,
            verbose=0,
        )
        if int(epoch) < (keep_time.epochs if keep_time else settings.epochs):
            logger.info(
                f"stopped early after epoch {int(epoch)}: the validation AP had not risen for {patience} epochs"
            )
    _take_final_weights(detector, network, settings=settings, train_dir=train_dir)


def _resumed(
    network: keras.Model, detector: keras.Model, *, train_dir: Path
) -> tuple[tf.train.CheckpointManager, tf.Variable]:
    """Restores the last checkpoint, if there is one; returns who writes the next ones and the epochs that are done."""
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    losses = network.loss["classes"].state  # of a gamma that follows the training
    checkpoint = tf.train.Checkpoint(model=detector, optimizer=network.optimizer, epoch=epoch, losses=losses)
    manager = tf.train.CheckpointManager(checkpoint, str(train_dir / "checkpoints"), max_to_keep=1)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).expect_partial()
        logger.info(f"resuming after epoch {int(epoch)}")
    return manager, epoch


def _take_final_weights(detector: keras.Model, network: keras.Model, *, settings: Training, train_dir: Path) -> None:
    best = train_dir / "best.weights.h5"
    if settings.checkpoint == "best" and best.exists():
        plain_model(detector).load_weights(best)
        state = read_state(train_dir)
        logger.info(f"final weights: best validation AP {state['best_AP']:.1f}, epoch {state['best_epoch']}")
        return
    if getattr(network.optimizer, "use_ema", False):
        network.optimizer.finalize_variable_values(network.trainable_variables)
    logger.info("final weights: those of the last step")
