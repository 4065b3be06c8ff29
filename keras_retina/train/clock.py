"""A training that ends in time: after every epoch the clock says how many epochs fit, and the schedule follows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.legacy_keras import keras
from keras_retina.recipe.recipe import Training
from keras_retina.train.batch_norm import STEPS
from keras_retina.train.callbacks.history import evaluations_between
from keras_retina.train.duration import AFTER_TRACING, read_duration
from keras_retina.train.optimizer import set_epochs

UNUSED_EPOCHS = 1  # the first one reads the images, and traces the graph where a training is resumed
END = 0.01  # of the time: the saved model, after the last epoch
FORWARD = 1 / 3  # of a step: the statistics of BatchNorm need no gradients


class KnowsItsEnd(Protocol):
    """A callback that does something in the last epoch, or tells how many there are."""

    epochs: int


class KeepTime(keras.callbacks.Callback):
    """Ends a training at a time, and takes the learning rate to its last value there.

    Must be called before the callback that evaluates, whose time it measures as that between two epochs. The epochs are
    counted anew after each epoch but the first. They are written to `path` with the seconds that are spent, so that a
    resumed training keeps to both.

    Args:
        began: when the work began, a time of `clock`.
        seconds: that it may take. A hundredth of them is kept for the end, and the time of the statistics of BatchNorm.
        epochs: that were decided before.
        most: epochs, however fast they are.
        evaluate_every: epochs between two evaluations.
        path: of `duration.json`.
        evaluation: seconds of one, as measured before the training; counts until two are done.
        tracing: seconds of the training's graph, as measured before the training.
    """

    def __init__(
        self,
        began: float,
        *,
        seconds: float,
        epochs: int,
        most: int,
        evaluate_every: int,
        path: Path,
        evaluation: float = 0.0,
        tracing: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self.began, self.ends = began, began + seconds * (1 - END) - AFTER_TRACING * tracing
        self.epochs, self.most = epochs, most
        self.every, self.path, self.evaluation, self.clock = evaluate_every, path, evaluation, clock
        self.followers: list[KnowsItsEnd] = []
        self._began = self._ended = 0.0
        self._was_evaluated = False
        self._epochs: list[float] = []
        self._after: dict[bool, list[float]] = {True: [], False: []}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._epochs.clear()  # of one that was resumed after its last step

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = self.clock()
        if self._ended:
            self._after[self._was_evaluated].append(self._began - self._ended)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._ended, done = self.clock(), epoch + 1
        self._was_evaluated = done % self.every == 0 or done == self.epochs
        self._epochs.append(self._ended - self._began)
        if len(self._epochs) > UNUSED_EPOCHS:
            self._decide(done)
        self.write_spent(done, 0)
        if done >= self.epochs:
            self.model.stop_training = True

    def write_spent(self, epochs: int, steps: int) -> None:
        """Writes the seconds that are spent, of which so many epochs and steps of the next one were done."""
        spent = self.clock() - self.began
        decided = {"epochs": self.epochs, "done": epochs, "steps": steps, "spent_seconds": spent}
        write_json(self.path, {**read_duration(self.path), **decided})

    def _decide(self, done: int) -> None:
        epoch = statistics.median(self._epochs[UNUSED_EPOCHS:][-20:])
        plain = statistics.median(self._after[False] or [0.0])
        evaluated = statistics.median(self._after[True][1:] or [self.evaluation + plain])  # the first one traces
        statistics_of_norms = STEPS * FORWARD * epoch / self.params["steps"]
        left = self.ends - self._ended - statistics_of_norms
        chosen = epochs_left(left, epoch, plain=plain, evaluated=evaluated, done=done, every=self.every, most=self.most)
        if chosen == self.epochs:
            return
        self.epochs = chosen
        for one in self.followers:
            one.epochs = chosen
        set_epochs(self.model.optimizer, chosen)


def time_keeper(settings: Training, *, started: float, most: int, path: Path) -> KeepTime | None:
    """Returns what ends a training in time; None without minutes.

    Args:
        settings: with the epochs of `within_minutes`, which wrote `path`.
        started: when the work began, a time of `time.perf_counter`, earlier by what an interrupted call spent.
        most: epochs of the recipe.
        path: of `duration.json`.
    """
    if settings.minutes is None:
        return None
    facts = read_duration(path)
    return KeepTime(
        started,
        seconds=60 * settings.minutes,
        epochs=settings.epochs,
        most=most,
        evaluate_every=settings.evaluate_every,
        path=path,
        evaluation=facts["evaluation_seconds"],
        tracing=facts.get("tracing_seconds", 0.0),
    )


def epochs_left(
    seconds: float, epoch: float, *, plain: float, evaluated: float, done: int, every: int, most: int
) -> int:
    """Returns after how many epochs to end, so that the rest takes at most `seconds`; `done` at least.

    Args:
        epoch: seconds of the steps of one.
        plain, evaluated: seconds between two epochs, without and with an evaluation.
        done: epochs whose steps are done; what follows the last of them is still to come.
    """
    total = done
    while total < most:
        following = total + 1
        evaluations = evaluations_between(done - 1, following, every=every)
        others = following - done + 1 - evaluations
        if (following - done) * epoch + evaluations * evaluated + others * plain > seconds:
            break
        total = following
    return total
