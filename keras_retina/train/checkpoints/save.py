"""Saves a training while it runs: when a checkpoint is due, at its end, and when it is asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_retina.foundation.interruption import StopRequest
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.checkpoints.folder import TrainingPosition, write_checkpoint
from keras_retina.train.checkpoints.interval import Interval
from keras_retina.train.checkpoints.resume import epoch_sums


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes checkpoints of a training (`keras_retina.train.checkpoints.folder`).

    Must be called after all other callbacks. One after the last step of an epoch comes before its evaluation, so that
    the evaluation may be interrupted.

    Args:
        checkpoint: of all variables.
        done: where the training goes on, which is saved already.
        interval: tells when one is due.
        request: to stop; it is obeyed when a checkpoint is written.
        any_worker: whether this worker wants one -> whether any of the cluster does. Reading the variables takes all of
            them, so all write at the same steps.
        epoch_time: returns the seconds of the running epoch and those that it waited for batches.
        before: is called with the epochs and steps that are done before each checkpoint.
    """

    def __init__(
        self,
        train_dir: Path,
        checkpoint: tf.train.Checkpoint,
        *,
        done: TrainingPosition,
        interval: Interval,
        request: StopRequest,
        epoch_time: Callable[[], tuple[float, float]],
        any_worker: Callable[[bool], bool] = bool,
        before: Callable[[int, int], None] = lambda epochs, steps: None,
    ) -> None:
        super().__init__()
        self.train_dir, self.checkpoint, self.interval, self.request = train_dir, checkpoint, interval, request
        self.epoch_time, self.any_worker, self.before = epoch_time, any_worker, before
        self.epochs_done = 0
        self._epoch = self._steps = 0
        self._done, self._saved_steps = done, done.total_steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._steps = epoch, self._done.steps if epoch == self._done.epochs else 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._steps = batch + 1
        if self._is_wanted(self._epoch * self.params["steps"] + self._steps):
            self.save_in_epoch()
            self.request.obey()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs_done = epoch + 1
        total = self.epochs_done * self.params["steps"]
        is_last = self.model.stop_training or self.epochs_done == self.params["epochs"]
        if is_last or self._is_wanted(total):
            self._save(TrainingPosition(self.epochs_done, 0, total))
            self.request.obey()

    def _is_wanted(self, total_steps: int) -> bool:
        return self.any_worker(bool(self.request) or self.interval.is_due(total_steps))

    def save_in_epoch(self) -> None:
        """Saves what the last step left; called too when the evaluation of an epoch is interrupted."""
        total = self._epoch * self.params["steps"] + self._steps
        if total != self._saved_steps:
            seconds, waited = self.epoch_time()
            self._save(TrainingPosition(self._epoch, self._steps, total, seconds, waited, epoch_sums(self.model)))

    def _save(self, position: TrainingPosition) -> None:
        if not has_finite_weights(self.model):
            return  # the next loss is no number and ends the training, which can go on only from before
        started = time.perf_counter()
        self.before(position.epochs, position.steps)
        write_checkpoint(self.train_dir, position, write_variables=self.checkpoint.write)
        self._saved_steps = position.total_steps
        self.interval.note(position.total_steps, seconds=time.perf_counter() - started)


def has_finite_weights(model: keras.Model) -> bool:
    """Tells whether all weights that learn are finite numbers."""
    return all(bool(tf.reduce_all(tf.math.is_finite(variable))) for variable in model.trainable_variables)
