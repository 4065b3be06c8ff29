"""What a training tells while it runs: lines of progress, warnings about lost time, `history.csv` and scalars."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.checkpoints.folder import ADVICE

logger = logging.getLogger(__name__)

STARVING = 0.1
"""Share of the time at which waiting is worth a warning."""


class InputWait:
    """Seconds that whoever reads a dataset spent waiting for its elements."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the same dataset, timed. It must be the last step: what is prefetched after it is not waited for."""
        # Where operations are deterministic, tf.timestamp is an error.
        clock = tf.data.Dataset.counter().map(lambda _: tf.numpy_function(time.perf_counter, [], tf.float64))

        def note(before: tf.Tensor, element: Any, after: tf.Tensor) -> Any:
            tf.numpy_function(self._add, [after - before], [])
            return element

        # The parts of a zip are read one after the other.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip((clock, dataset, clock)).map(note).with_options(options)

    def take(self) -> float:
        """Returns the seconds since the last call and starts again at zero."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _add(self, seconds: np.ndarray) -> None:
        self._seconds += float(seconds)


HISTORY_COLUMNS = (
    "epoch", "loss", "classes_loss", "boxes_loss", "learning_rate", "seconds", "input_wait", "evaluation_seconds",
    "AP", "AP50",
)  # fmt: skip
EVALUATION_SHARE = 0.1
"""Share of the time at which evaluation is worth a warning."""
PROGRESS_SECONDS = 30.0


class History(keras.callbacks.Callback):
    """Appends a row to `history.csv` and TensorBoard scalars for each epoch, and reports progress in one line.

    `seconds` is the time of the whole epoch, `evaluation_seconds` that of its evaluation, and `input_wait` the share of
    the steps' time that was spent waiting for the next batch. Two warnings come once each at most: when an epoch waits
    for over a tenth of its time (not the first, which reads the files), and when evaluations, from the second on, have
    taken over a tenth of all time.

    Args:
        before: the `epoch_time` of the first epoch before it was interrupted.
    """

    def __init__(
        self,
        path: Path,
        writer: Any,
        *,
        epochs: int,
        images_per_epoch: int,
        evaluate_every: int,
        wait: InputWait,
        before: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        self.path, self.writer, self.epochs, self.wait = path, writer, epochs, wait
        self.images_per_epoch, self.evaluate_every = images_per_epoch, evaluate_every
        self._started = self._first_step = self._last_step = 0.0
        self._steps, self._before = 0, before
        self._waited = 0.0
        self._training: list[float] = []  # seconds of each epoch without its evaluation
        self._traced = 0.0  # seconds of the first epoch that no other epoch takes
        self._evaluation: list[float] = []
        self._has_warned = self._has_warned_of_evaluation = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.wait.take()
        self._waited, self._steps = 0.0, 0
        if self._training:
            self._before = (0.0, 0.0)
        self._started = self._last_step = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._last_step = time.perf_counter()
        self._steps += 1
        if not self._training:
            self._keep_tracing_time()

    def _keep_tracing_time(self) -> None:
        """Takes the first step apart: it traces the graph, and the next steps say how long it would take without."""
        if self._steps == 1:
            self._first_step = self._last_step
        else:
            pace = (self._last_step - self._first_step) / (self._steps - 1)
            self._traced = max(self._first_step - self._started - pace, 0.0)

    def epoch_time(self) -> tuple[float, float]:
        """Returns the seconds of the steps of the running epoch, and how many of them it waited for batches."""
        self._waited += self.wait.take()
        return self._last_step - self._started + self._before[0], self._waited + self._before[1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = dict(logs or {})
        seconds = time.perf_counter() - self._started + self._before[0]
        steps_seconds, waited_seconds = self.epoch_time()
        steps_seconds = max(steps_seconds, 1e-9)
        self._training.append(seconds - logs.get("evaluation_seconds", 0.0))
        if "evaluation_seconds" in logs:
            self._evaluation.append(logs["evaluation_seconds"])
        waited = waited_seconds / steps_seconds
        logs.update(epoch=epoch + 1, seconds=seconds, input_wait=waited, learning_rate=float(self._learning_rate()))
        self._write(logs)
        evaluated = f"  AP {logs['AP']:.1f} AP50 {logs['AP50']:.1f}" if "AP" in logs else ""
        share = evaluation_share(self._training, self._evaluation)
        logger.info(
            f"epoch {epoch + 1}/{self.epochs}  loss {logs['loss']:.4f} "
            f"(classes {logs['classes_loss']:.4f}, boxes {logs['boxes_loss']:.4f})  "
            f"{self.images_per_epoch / steps_seconds:.1f} images/s  input wait {waited:.0%}  "
            f"{f'evaluation {share:.0%}  ' if self._evaluation else ''}"
            f"about {self._seconds_left(epoch) / 60:.1f} min left{evaluated}"
        )
        if waited > STARVING and len(self._training) > 1 and not self._has_warned:
            self._has_warned = True
            logger.warning(
                f"training waited {waited:.0%} of this epoch for images. Let them fit into memory "
                "(data.cache_mebibytes), reduce them to about the input size, or augment less."
            )
        if evaluated and share > EVALUATION_SHARE and len(self._evaluation) > 1 and not self._has_warned_of_evaluation:
            self._has_warned_of_evaluation = True
            least = enough_epochs(float(np.median(self._training)), float(np.median(self._evaluation)))
            logger.warning(
                f"evaluation took {share:.0%} of the time so far. Set training.evaluate_every to {least} or "
                f"more (it is {self.evaluate_every}), or validate on fewer images."
            )

    def _write(self, logs: dict[str, Any]) -> None:
        try:
            self._append_row(logs)
            with self.writer.as_default(step=logs["epoch"]):
                for column in HISTORY_COLUMNS[1:]:
                    if column in logs:
                        tf.summary.scalar(column, logs[column])
            self.writer.flush()
        except (OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.path}: the history could not be written. Received: {reason}. {ADVICE}") from error

    def _append_row(self, logs: dict[str, Any]) -> None:
        row = [logs.get(column, "") for column in HISTORY_COLUMNS]
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if is_new:
                rows.writerow(HISTORY_COLUMNS)
            rows.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])

    def _seconds_left(self, epoch: int) -> float:
        left = self.epochs - epoch - 1
        evaluations = evaluations_between(epoch + 1, self.epochs, every=self.evaluate_every)
        epochs = [self._training[0] - self._traced, *self._training[1:]]
        return float(np.median(epochs)) * left + float(np.median(self._evaluation or [0.0])) * evaluations

    def _learning_rate(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.model.optimizer.learning_rate)


class Progress(keras.callbacks.Callback):
    """Logs a line inside an epoch whenever none has come for `PROGRESS_SECONDS`; short epochs bring none."""

    def __init__(self, batch_size: int, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.batch_size, self.clock = batch_size, clock
        self._epoch, self._told, self._told_step = 0, 0.0, 0
        self._has_traced = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._told, self._told_step = epoch, self.clock(), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now, step, steps = self.clock(), batch + 1, self.params["steps"]
        if not self._has_traced:  # the first step traces the graph and says nothing of the pace
            self._has_traced, self._told, self._told_step = True, now, step
        if now - self._told < PROGRESS_SECONDS or step == steps:
            return
        pace = (now - self._told) / (step - self._told_step)  # seconds a step
        self._told, self._told_step = now, step
        logger.info(
            f"  epoch {self._epoch + 1}/{self.params['epochs']} step {step}/{steps}  "
            f"loss {(logs or {}).get('loss', math.nan):.4f}  {self.batch_size / pace:.1f} images/s  "
            f"about {pace * (steps - step) / 60:.1f} min left of this epoch"
        )


def evaluations_between(done: int, epochs: int, *, every: int) -> int:
    """Returns how many epochs after `done` up to `epochs` end with an evaluation: each `every`th and the last."""
    return sum(epoch % every == 0 or epoch == epochs for epoch in range(done + 1, epochs + 1))


def evaluation_share(training: list[float], evaluation: list[float]) -> float:
    """Returns the share of evaluation in the seconds of all epochs, 0 before the first."""
    return sum(evaluation) / max(sum(training) + sum(evaluation), 1e-9)


def enough_epochs(training: float, evaluation: float) -> int:
    """Returns the epochs of so many seconds that must lie between evaluations of so many to stay at a tenth."""
    return max(1, math.ceil(evaluation * (1 / EVALUATION_SHARE - 1) / max(training, 1e-9) - 1e-6))
