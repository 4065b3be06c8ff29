"""A model of two weights, its `fit`, and a writer of summaries that writes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.callbacks.evaluation import EvaluateAveragePrecision


@pytest.fixture(scope="session")
def linear_model() -> Callable[..., keras.Model]:
    """linear_model(average, rate): y = w x from w = 0, with two outputs so that the logs are named as a detector's."""

    def make(average: float | None = None, rate: float = 0.1) -> keras.Model:
        x = keras.Input((1,))
        outputs = {
            name: keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name=name)(x)
            for name in ("classes", "boxes")
        }
        model = keras.Model(x, outputs)
        optimizer = keras.optimizers.SGD(rate, use_ema=average is not None, ema_momentum=average or 0.99)
        model.compile(optimizer, {"classes": "mse", "boxes": "mse"}, run_eagerly=True)
        optimizer.build(model.trainable_variables)
        return model

    return make


@pytest.fixture(scope="session")
def fit() -> Callable[..., keras.callbacks.History]:
    """fit(model, epochs, *hooks): trains it to y = x, two steps an epoch; it is what hooks evaluate."""

    def train(
        model: keras.Model, epochs: int, *hooks: keras.callbacks.Callback, initial_epoch: int = 0
    ) -> keras.callbacks.History:
        for hook in hooks:
            if isinstance(hook, EvaluateAveragePrecision):
                hook.detector = model
        ones = np.ones((8, 1), np.float32)
        return model.fit(
            ones, {"classes": ones, "boxes": ones}, batch_size=4, epochs=epochs, initial_epoch=initial_epoch,
            callbacks=list(hooks), verbose=0, shuffle=False,
        )  # fmt: skip

    return train


class SilentWriter:
    def as_default(self, step: int):
        return tf.summary.create_noop_writer().as_default(step)

    def flush(self) -> None:
        pass


@pytest.fixture
def writer() -> SilentWriter:
    """Takes summaries and writes none."""
    return SilentWriter()
