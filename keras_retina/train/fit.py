"""One `model.fit` with everything around it: resume, evaluation, pictures, history, checkpoints, final weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.interruption import held_signals
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.run_paths import HISTORY
from keras_retina.losses import detector_losses
from keras_retina.model.saving import plain_model
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Training
from keras_retina.train.callbacks.diagnostics import Diagnostics
from keras_retina.train.callbacks.evaluation import EvaluateAveragePrecision, patience_is_over, read_state
from keras_retina.train.callbacks.finite import StopOnNaN
from keras_retina.train.callbacks.history import History, InputWait, Progress
from keras_retina.train.checkpoints.folder import BEST_WEIGHTS, Saved, TrainingPosition, newest_whole
from keras_retina.train.checkpoints.interval import Interval
from keras_retina.train.checkpoints.resume import (
    ContinueSums,
    checkpoint_of,
    means_of,
    restore_variables,
    starting_at,
)
from keras_retina.train.checkpoints.save import SaveCheckpoints, has_finite_weights
from keras_retina.train.clock import KeepTime
from keras_retina.train.optimizer import build_optimizer, hold_frozen
from keras_retina.train.workers.collective import any_worker_of, distributed_batches, is_cluster
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

    All variables of a step are made here: where the first step makes one, TensorFlow traces its graph twice.

    Args:
        precision: what `choose_precision` says.
        starts: what begins to learn later, for `training.unfreeze_at`: see `starts_of_variables`.
    """
    model.compile(
        optimizer=scale_loss(build_optimizer(settings, steps_per_epoch), precision),
        loss=detector_losses(settings.loss, spec),
    )
    model.optimizer.build(model.trainable_variables)
    with model.distribute_strategy.scope():
        model.compiled_loss.build(model.output)  # the sums of each loss
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
    images_of: Callable[[int], Sequence[str]] | None = None,
) -> None:
    """Fits a compiled network to the last epoch of `settings` and leaves the final weights in it.

    What an interrupted call left in `train_dir` is continued: after the last step whose checkpoint is whole, with the
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
        images_of: the first step -> the names of the images of one batch, for messages.

    Raises:
        InputError: a loss that is not a number, a disk that is full, or checkpoints of which none is whole.
        Preempted, KeyboardInterrupt: it was asked to stop, and saved.
    """
    strategy = network.distribute_strategy
    saved = _resumed(network, detector, train_dir=train_dir)
    done = saved.position if saved else TrainingPosition(0, 0, 0)
    patience = settings.early_stop.patience * settings.evaluate_every if settings.early_stop else None
    if done.epochs < settings.epochs and not patience_is_over(read_state(train_dir), done.epochs, patience=patience):
        wait = InputWait()
        writer = tf.summary.create_file_writer(str(train_dir / "tensorboard"))
        history = History(
            train_dir / HISTORY,
            writer,
            epochs=settings.epochs,
            images_per_epoch=steps * settings.batch_size,
            evaluate_every=settings.evaluate_every,
            wait=wait,
            before=(done.seconds, done.waited),
        )
        with held_signals() as request:
            save = SaveCheckpoints(
                train_dir,
                checkpoint_of(network, detector),
                done=done,
                interval=Interval(steps=settings.checkpoint_steps, minutes=settings.checkpoint_minutes),
                request=request,
                any_worker=any_worker_of(strategy),
                epoch_time=history.epoch_time,
                before=keep_time.write_spent if keep_time else lambda epochs, steps: None,
            )
            evaluate = EvaluateAveragePrecision(
                detector,
                spec,
                dataset=validation_set,
                every=settings.evaluate_every,
                epochs=settings.epochs,
                train_dir=train_dir,
                writer=writer,
                patience=patience,
                detect=detect,
                interruptible=contextlib.nullcontext if is_cluster(strategy) else request.not_held,
                when_interrupted=save.save_in_epoch,
            )
            if keep_time is not None:
                keep_time.followers += [evaluate, history]
            every_epoch = [
                ContinueSums(done),
                StopOnNaN(section, images_of),
                *callbacks,
                *([keep_time] if keep_time else []),
                evaluate,
                Diagnostics(next(iter(batches(0))), spec, every=settings.evaluate_every, writer=writer),
                history,
                Progress(settings.batch_size),
                save,
            ]
            _fit(
                network,
                distributed_batches(strategy, wait.watch(batches(done.total_steps))),
                callbacks=every_epoch,
                epochs=keep_time.most if keep_time else settings.epochs,
                steps=steps,
                done=done,
            )
        if save.epochs_done < (keep_time.epochs if keep_time else settings.epochs):
            logger.info(
                f"stopped early after epoch {save.epochs_done}: the validation AP had not risen for {patience} epochs"
            )
    _take_final_weights(detector, network, settings=settings, train_dir=train_dir, section=section)


def _resumed(network: keras.Model, detector: keras.Model, *, train_dir: Path) -> Saved | None:
    """Restores the last whole checkpoint, if there is one, and returns it."""
    saved = newest_whole(train_dir)
    if saved is not None:
        restore_variables(saved, network, detector)
        done = saved.position
        inside = f"step {done.steps} of epoch {done.epochs + 1}"
        logger.info(f"resuming after {inside if done.steps else f'epoch {done.epochs}'}")
    return saved


def _fit(
    network: keras.Model,
    batches: Any,
    *,
    callbacks: list[keras.callbacks.Callback],
    epochs: int,
    steps: int,
    done: TrainingPosition,
) -> None:
    """Calls `network.fit` from where a training was: also inside an epoch, or between its last step and its end."""
    first_epoch, first_step = done.epochs, done.steps
    if first_step == steps:
        end = keras.callbacks.CallbackList(callbacks, model=network, epochs=epochs, steps=steps)
        end.on_train_begin()
        end.on_epoch_begin(first_epoch)
        end.on_epoch_end(first_epoch, means_of(done))
        first_epoch, first_step = first_epoch + 1, 0
        if network.stop_training or first_epoch == epochs:
            return
    with starting_at(network, first_step):
        network.fit(
            batches, epochs=epochs, initial_epoch=first_epoch, steps_per_epoch=steps, callbacks=callbacks, verbose=0
        )


def _take_final_weights(
    detector: keras.Model, network: keras.Model, *, settings: Training, train_dir: Path, section: str
) -> None:
    best = train_dir / BEST_WEIGHTS
    if settings.checkpoint == "best" and best.exists():
        plain_model(detector).load_weights(best)
        state = read_state(train_dir)
        logger.info(f"final weights: best validation AP {state['best_AP']:.1f}, epoch {state['best_epoch']}")
        return
    if getattr(network.optimizer, "use_ema", False):
        network.optimizer.finalize_variable_values(network.trainable_variables)
    if not has_finite_weights(network):
        raise InputError(
            "training: the weights must stay finite. Received: weights that are no numbers after the last step. Lower "
            f"{section}.learning_rate or set training.clip_norm; earlier checkpoints are kept."
        )
    logger.info("final weights: those of the last step")
