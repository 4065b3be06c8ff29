"""Going on inside an epoch: Keras begins at a step, and the sums of the epoch are those of before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.checkpoints.folder import Saved, TrainingPosition


def checkpoint_of(network: keras.Model, detector: keras.Model) -> tf.train.Checkpoint:
    """Returns what has all variables of a training: model, optimiser, and a loss that follows the training.

    Args:
        network: the compiled one.
        detector: shares its variables.
    """
    losses = network.loss["classes"].state  # of a gamma that follows the training
    return tf.train.Checkpoint(model=detector, optimizer=network.optimizer, losses=losses)


def restore_variables(saved: Saved, network: keras.Model, detector: keras.Model) -> None:
    """Gives all variables of a training the values of a checkpoint.

    Raises:
        InputError: it is of another network or optimiser, as another version may have made it.
    """
    try:
        checkpoint_of(network, detector).read(saved.variables).assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"{saved.path}: expected the variables of this training. Received: {' '.join(str(error).split())[:200]}. "
            "Finish it with the version that began it, or delete the folder of checkpoints to train from the beginning."
        ) from error


@contextlib.contextmanager
def starting_at(network: keras.Model, step: int) -> Iterator[None]:
    """Lets `network.fit` begin its first epoch at a step.

    Raises:
        InputError: this version of tf_keras cannot.
    """
    # Private, since Keras has no public way: `initial_epoch` knows whole epochs alone, and `BackupAndRestore`, which
    # sets this attribute too, goes on from none but its own checkpoints. Two calls of `fit`, for the rest of the epoch
    # and for what follows, would open the data twice and tell all callbacks twice that the training begins and ends.
    if not step:
        yield
        return
    if not hasattr(network, "_training_state"):  # else `fit` would repeat the steps that are done, and say nothing
        raise InputError(
            "tf_keras: expected a version in which a training can go on inside an epoch, such as 2.21. "
            f"Received: {keras.__version__}. Install that version, and repeat the command."
        )
    network._training_state = _Start(step)
    try:
        yield
    finally:
        network._training_state = None


class _Start:
    """Stands for the `WorkerTrainingState` of Keras, as far as `fit` asks it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def maybe_load_initial_counters_from_ckpt(self, _: int, initial_epoch: int, mode: str) -> tuple[int, int]:
        return initial_epoch, self.step


def epoch_sums(network: keras.Model) -> dict[str, list[float]]:
    """Returns what the metrics of the running epoch have summed: by name, the values of their variables."""
    return {metric.name: [float(variable.read_value()) for variable in metric.variables] for metric in network.metrics}


def means_of(position: TrainingPosition) -> dict[str, float]:
    """Returns the logs of the epoch: the means of its metrics, as Keras computes them."""
    return {name: float(np.float32(total) / np.float32(count)) for name, (total, count) in position.sums.items()}


class ContinueSums(keras.callbacks.Callback):
    """Adds the sums of before the interruption to the metrics, after the first step: before it Keras sets them to 0.

    Must be called before the callbacks that save. The order of two numbers does not change their sum.
    """

    def __init__(self, position: TrainingPosition) -> None:
        super().__init__()
        self.sums = position.sums if position.steps else {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for metric in self.model.metrics if self.sums else ():
            for variable, before in zip(metric.variables, self.sums[metric.name], strict=True):
                variable.assign(variable.read_value() + before)
        self.sums = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.sums = {}  # of an epoch that had all its steps: its logs are their means
