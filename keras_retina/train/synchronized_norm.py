"""BatchNorm over the images of all replicas, with one sum over the replicas on the way there and one on the way back.

Keras' own (`synchronized=True`) takes three and three. Between machines each of them is a wait for the network, and a
network has one BatchNorm behind nearly every convolution.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.batch_norm import trainable_batch_norms

_POSITIONS = [0, 1, 2]  # of an image, of a map: all axes but that of the channels


def synchronized_norms(model: keras.Model, *, replicas: int) -> dict[str, SynchronizedNorm]:
    """Returns what takes the place of each BatchNorm of `model` that learns, by its name; with one replica nothing.

    Otherwise each replica would subtract the mean of its own few images, and several devices would train another
    network than one. The moving variance is then that of the batch, where Keras' fused kernel multiplies it by
    `n / (n - 1)` for `n` values of a channel; `estimate_batch_norm` measures it anew in the end.
    """
    return {norm.name: SynchronizedNorm(norm) for norm in trainable_batch_norms(model)} if replicas > 1 else {}


class SynchronizedNorm(keras.layers.Layer):
    """A BatchNorm over the last axis of `[batch, height, width, channels]`, in training over all replicas."""

    def __init__(self, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(name=f"{norm.name}_synchronized", dtype=norm.dtype_policy)
        self.norm = norm

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        norm = self.norm
        if not training:
            return norm(inputs, training=False)
        channels = inputs.shape[-1]
        gamma = norm.gamma if norm.scale else tf.ones([channels])
        beta = norm.beta if norm.center else tf.zeros([channels])
        # In lower precision BatchNorm keeps float32 variables and statistics.
        outputs, mean, variance = _normalized(norm.epsilon)(
            tf.cast(inputs, tf.float32), tf.identity(gamma), tf.identity(beta), tf.identity(norm.moving_mean)
        )
        for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign_sub((moving - value) * (1 - norm.momentum))
        return tf.cast(outputs, self.compute_dtype)


def _normalized(epsilon: float) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Returns (inputs, gamma, beta, near) -> outputs, mean and variance of the batch of all replicas.

    `near` `[channels]` is any value near the mean: squares are summed about it, so that a large mean takes no digits
    from the variance. It has no gradient, nor have mean and variance as outputs.
    """

    @tf.custom_gradient
    def normalized(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, near: tf.Tensor) -> tuple:
        own_mean, own_variance = tf.nn.moments(inputs, _POSITIONS)
        offset = own_mean - near
        offset, square = _mean_of_replicas(offset, own_variance + tf.square(offset))
        mean, variance = near + offset, tf.maximum(square - tf.square(offset), 0.0)
        factor = tf.math.rsqrt(variance + epsilon)
        outputs = (inputs - mean) * (gamma * factor) + beta

        def gradients(wanted: tf.Tensor, *_: tf.Tensor) -> tuple:
            centred = inputs - mean
            of_beta = tf.reduce_sum(wanted, _POSITIONS)  # of this replica: the optimizer sums over the replicas
            of_gamma = tf.reduce_sum(wanted * centred, _POSITIONS) * factor
            values = tf.cast(tf.size(inputs) // tf.size(gamma), tf.float32)  # of a channel; each replica has as many
            mean_wanted, mean_along = _mean_of_replicas(of_beta / values, of_gamma / values)
            of_inputs = (wanted - mean_wanted - centred * (factor * mean_along)) * (gamma * factor)
            return of_inputs, of_gamma, of_beta, None

        return (outputs, mean, variance), gradients

    return normalized


def _mean_of_replicas(one: tf.Tensor, other: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the means over the replicas of two tensors `[channels]`, which are sent together."""
    context = tf.distribute.get_replica_context()
    first, second = tf.unstack(context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack([one, other])))
    return first, second
