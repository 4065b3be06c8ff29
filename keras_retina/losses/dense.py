"""What the losses of classes share: one pass over all anchors and classes, and the division by a count of anchors.

Each loss is a function of a logit that gives its value and its slope. The pass is compiled, so that neither the value
nor the slope of an anchor is kept: half the time, and no memory but the gradient. Differentiated by TensorFlow, every
step between would be kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.matching import IGNORED

Elementwise = Callable[..., tuple[tf.Tensor, tf.Tensor]]
"""(logits `[batch, A, K]`, ...) -> the loss of each anchor and class, and its derivative by the logit, same shape."""


def sum_over_classes(elementwise: Elementwise, logits: tf.Tensor, *arguments: Any) -> tf.Tensor:
    """Returns the loss of each anchor, float32 `[batch, A]`, differentiable by the logits.

    Args:
        elementwise: a function at module level; it is compiled once for each set of shapes and Python numbers.
        logits: float32 `[batch, A, K]`.
        arguments: passed on behind the logits; no gradient flows into them.
    """

    @tf.custom_gradient
    def loss(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _slopes(elementwise, upstream, values, *arguments)

        return _sums(elementwise, values, *arguments), gradient

    return loss(logits)


@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _sums(elementwise: Elementwise, logits: tf.Tensor, *arguments: Any) -> tf.Tensor:
    return tf.reduce_sum(elementwise(logits, *arguments)[0], axis=-1)


@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _slopes(elementwise: Elementwise, upstream: tf.Tensor, logits: tf.Tensor, *arguments: Any) -> tf.Tensor:
    return upstream[..., None] * elementwise(logits, *arguments)[1]


def targets_of(codes: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the class of an anchor is its target, bool `[batch, A, K]`, and 0.0 for ignored anchors, else 1.0.

    Args:
        codes: int `[batch, A]`: class index, or `BACKGROUND`, or `IGNORED` of `keras_retina.geometry.matching`.
    """
    is_target = codes[..., None] == tf.range(tf.shape(logits)[-1])
    return is_target, tf.cast(codes != IGNORED, tf.float32)[..., None]


def alpha_weights(alpha: float | None) -> tuple[float, float]:
    """Returns the weights of the target class and of the others; both 1 for None."""
    return (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)


def class_codes(y_true: tf.Tensor) -> tf.Tensor:
    """Returns codes as int32 of any dtype: Keras casts targets to the dtype of the output."""
    codes = tf.convert_to_tensor(y_true)
    return tf.cast(tf.round(codes) if codes.dtype.is_floating else codes, tf.int32)


def count_positives(codes: tf.Tensor) -> tf.Tensor:
    """Returns the number of anchors with a class, a float32 scalar."""
    return tf.reduce_sum(tf.cast(codes >= 0, tf.float32))


def over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a value over all replicas; no gradient flows through it."""
    value = tf.stop_gradient(value)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        value = replica.all_reduce(tf.distribute.ReduceOp.SUM, value)
    return value


def global_normaliser(count: tf.Tensor) -> tf.Tensor:
    """Returns the number of anchors over all replicas, at least 1.0, given this replica's number.

    Both are float32 scalars; no gradient flows through them.
    """
    return tf.maximum(over_replicas(count), 1.0)


def check_number(
    loss: object, name: str, value: float, *, least: float, most: float = float("inf"), usual: str
) -> None:
    """Raises InputError unless a setting of a loss is in `least` to `most`, which may be reached if it is finite."""
    if not (least <= value <= most and value < float("inf")):
        wanted = f"of {least:g} or more" if most == float("inf") else f"in {least:g}..{most:g}"
        raise InputError(f"{type(loss).__name__} needs {name} {wanted}. Received: {name}={value}. {usual} is usual.")


class ClassLoss(keras.losses.Loss):
    """A loss of class logits, divided by a count of anchors of the global batch: the positive ones, if nothing is said.

    `y_true`: int `[batch, A]`, codes of `keras_retina.geometry.matching`. `y_pred`: logits `[batch, A, K]`. The images
    of a batch are summed, and so are the replicas' gradients: the reduction is SUM and must stay so.
    """

    needs_boxes = False
    """Whether `y_true` must also hold how well the boxes fit: see `keras_retina.losses.quality.with_box_quality`."""

    def __init__(self, name: str) -> None:
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the loss of each anchor, float32 `[batch, A]`, and how many anchors it is divided by."""
        raise NotImplementedError

    def observe(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> None:
        """Takes note of a batch in `state`; the next batch is the first to feel it."""
        raise NotImplementedError

    @property
    def state(self) -> list[tf.Variable]:
        """What `observe` changes, in losses that follow the training: a checkpoint must hold it."""
        return []

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        losses, count = self.of_anchors(y_true, y_pred)
        if self.state:
            self.observe(y_true, y_pred)
        return tf.reduce_sum(losses, axis=1) / global_normaliser(count)
