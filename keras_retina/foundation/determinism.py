"""Equal bytes from equal runs: `training.deterministic`."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import tf


def enable_determinism() -> None:
    """Makes TensorFlow compute the same bits from the same input, from now on until the process ends.

    Every operation then adds in one fixed order, or is an error where it has no such form, and so is a random number
    without a seed. `tf.data` keeps its order. Seeds, order of images and augmentation are fixed in every training.
    """
    tf.config.experimental.enable_op_determinism()
