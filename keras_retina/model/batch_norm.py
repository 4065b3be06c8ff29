"""Statistics of BatchNorm: how fast they follow, and measuring them anew."""

from __future__ import annotations

from keras_retina.legacy_keras import keras, tf

STEPS = 60
MOMENTUM = 0.9


def estimate_batch_norm(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Re-estimates the moving statistics of every trainable BatchNorm with the final weights.

    The moving averages of training lag behind the weights, and averaged weights have no statistics of their own.
    """

    @tf.function
    def forward(images: tf.Tensor) -> None:
        model(images, training=True)

    for images, _ in batches.take(STEPS):
        forward(images)


def set_batch_norm_momentum(model: keras.Model) -> None:
    """Lets the statistics of trainable BatchNorm follow within tens of steps.

    tf_keras.applications use 0.999: after a few hundred steps the statistics are still those of the start.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layer.momentum = MOMENTUM
