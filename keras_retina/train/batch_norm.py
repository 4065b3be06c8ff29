"""Statistics of BatchNorm: how fast they follow, and measuring them anew."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras, tf

STEPS = 60
MOMENTUM = 0.9


def estimate_batch_norm(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Re-estimates the moving statistics of every trainable BatchNorm, if there is one, with the final weights.

    The moving averages of training lag behind the weights, and averaged weights have no statistics of their own.

    Args:
        batches: (inputs of the model, targets).
    """
    if not trainable_batch_norms(model):
        return

    @tf.function
    def forward(inputs: tf.Tensor | dict[str, tf.Tensor]) -> None:
        model(inputs, training=True)

    for inputs, _ in batches.take(STEPS):
        forward(inputs)


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
