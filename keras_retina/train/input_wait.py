"""How long a training waits for its input."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_retina.foundation.legacy_keras import tf

STARVING = 0.1
"""Share of the time at which waiting is worth a warning."""


class InputWait:
    """Seconds that whoever reads a dataset spent waiting for its elements."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the same dataset, timed. It must be the last step: what is prefetched after it is not waited for."""
        now = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

        def note(before: tf.Tensor, element: Any, after: tf.Tensor) -> Any:
            tf.numpy_function(self._add, [after - before], [])
            return element

        # The parts of a zip are read one after the other.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip((now, dataset, now)).map(note).with_options(options)

    def take(self) -> float:
        """Returns the seconds since the last call and starts again at zero."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _add(self, seconds: np.ndarray) -> None:
        self._seconds += float(seconds)
