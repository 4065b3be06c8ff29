"""BatchNorm of a network that is about to be trained."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras

MOMENTUM = 0.9


def set_batch_norm_momentum(model: keras.Model) -> None:
    """Lets the statistics of trainable BatchNorm follow within tens of steps.

    tf_keras.applications use 0.999: after a few hundred steps the statistics are still those of the start.
    """
    for norm in trainable_batch_norms(model):
        norm.momentum = MOMENTUM


def trainable_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Returns the BatchNorms that follow the batches: untrainable ones run in inference mode, also in training."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [norm for norm in norms if norm.trainable]
