"""Stops a training whose loss is no number, and says on which images that happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.legacy_keras import keras

NAMED = 8


class StopOnNaN(keras.callbacks.Callback):
    """Stops with a clear error when the loss is not a number; checkpoints of earlier steps stay.

    Args:
        section: of the recipe that has the learning rate.
        images_of: batches since the training began -> the names of the images in the next one.
    """

    def __init__(self, section: str = "training", images_of: Callable[[int], Sequence[str]] | None = None) -> None:
        super().__init__()
        self.section, self.images_of = section, images_of
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        images = ""
        if self.images_of is not None:
            images = f", on the images {_listed(self.images_of(self._epoch * self.params['steps'] + batch))}"
        raise InputError(
            f"training: the loss must stay finite. Received: loss={loss} at step {batch + 1} of epoch "
            f"{self._epoch + 1}{images}. Look at their labels, lower {self.section}.learning_rate or set "
            "training.clip_norm; earlier checkpoints are kept."
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(printable(name) for name in names[:NAMED]) + more
