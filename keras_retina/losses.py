"""The focal loss and the box loss as plain Keras losses: `compile(loss={"classes": FocalLoss(), "boxes": BoxLoss()})`.

Both are divided by the number of positive anchors of the global batch, at least 1, so that one replica and several give
the same loss and the same update, and a batch of images without objects still trains the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes_tf import generalized_iou
from keras_retina.geometry.matching import IGNORED
from keras_retina.recipe.recipe import Loss


def focal_loss(classes: tf.Tensor, logits: tf.Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0) -> tf.Tensor:
    """Returns the focal loss summed over the anchors and classes of each image, not normalised.

    `FL = -alpha_t (1 - p_t) ** gamma log(p_t)` for each anchor and class. With `z = -logit` where the class is the
    target and `z = logit` elsewhere, `1 - p_t = sigmoid(z)` and `-log(p_t) = softplus(z)`, so that no probability is
    ever rounded to 0 or 1: value and gradient are finite for any logit.

    Args:
        classes: int `[batch, A]`: class index, or `BACKGROUND`, or `IGNORED` of `keras_retina.geometry.matching`.
        logits: float32 `[batch, A, K]`.
        alpha: weight of the target class, `1 - alpha` for the others; None for no balancing.
        gamma: 0 is alpha-balanced cross entropy.

    Returns: float32 `[batch]`.

    Source: Focal Loss for Dense Object Detection, equation 5.
    """
    classes, logits = tf.cast(classes, tf.int32), tf.convert_to_tensor(logits, tf.float32)
    weights = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)

    @tf.custom_gradient
    def loss(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _focal_gradient(upstream, classes, values, *weights, gamma)

        return _focal_sum(classes, values, *weights, gamma), gradient

    return loss(logits)


# Compiled, because each of these is then one pass over the logits without a copy of them: half the time, and no memory
# but the gradient. Differentiated by TensorFlow, every intermediate would be kept for the backward pass.
@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _focal_sum(classes: tf.Tensor, logits: tf.Tensor, target: float, other: float, gamma: float) -> tf.Tensor:
    _, weight, cross_entropy, modulation = _focal_parts(classes, logits, target=target, other=other, gamma=gamma)
    return tf.reduce_sum(weight * modulation * cross_entropy, axis=[1, 2])


@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _focal_gradient(
    upstream: tf.Tensor, classes: tf.Tensor, logits: tf.Tensor, target: float, other: float, gamma: float
) -> tf.Tensor:
    z, weight, cross_entropy, modulation = _focal_parts(classes, logits, target=target, other=other, gamma=gamma)
    error = tf.sigmoid(z)
    # With e = sigmoid(z): d/dz [e ** gamma softplus(z)] = e ** gamma (gamma (1 - e) softplus(z) + e).
    slope = upstream[:, None, None] * weight * modulation * (gamma * tf.sigmoid(-z) * cross_entropy + error)
    return tf.where(_is_target(classes, logits), -slope, slope)


def _focal_parts(
    classes: tf.Tensor, logits: tf.Tensor, *, target: float, other: float, gamma: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns z, the weight, `softplus(z)` and `sigmoid(z) ** gamma`, each `[batch, A, K]`."""
    is_target = _is_target(classes, logits)
    z = tf.where(is_target, -logits, logits)
    cross_entropy = tf.math.softplus(z)
    # The power is taken through the logarithm of sigmoid(z), so that nothing is lost where that is tiny.
    modulation = tf.exp(gamma * (z - cross_entropy))
    weight = tf.where(is_target, target, other) * tf.cast(classes != IGNORED, tf.float32)[..., None]
    return z, weight, cross_entropy, modulation


def _is_target(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return classes[..., None] == tf.range(tf.shape(logits)[-1])


def smooth_l1(difference: tf.Tensor, beta: float) -> tf.Tensor:
    """Returns `0.5 d^2 / beta` where `|d| < beta` and `|d| - 0.5 beta` beyond, elementwise; plain `|d|` at beta 0.

    Value and slope are continuous at beta, and the slope beyond is 1. Source: Fast R-CNN, equation 3, with beta = 1.
    """
    distance = tf.abs(difference)
    if beta == 0:
        return distance
    # One expression for both branches: a tf.where would multiply the square's overflow by a zero gradient.
    inner = tf.minimum(distance, beta)
    return inner * (distance - 0.5 * inner) / beta


def box_loss(targets: tf.Tensor, deltas: tf.Tensor, *, beta: float = 0.1) -> tf.Tensor:
    """Returns smooth L1 summed over the matched anchors and four deltas of each image, not normalised.

    Args:
        targets: float32 `[batch, A, 5]` of `matching.targets`: four deltas and 1.0 where matched. The
            mask is that flag, not the value: an anchor that fits its box exactly counts.
        deltas: float32 `[batch, A, 4]`.

    Returns: float32 `[batch]`.
    """
    loss = smooth_l1(deltas - targets[..., :4], beta)
    return tf.reduce_sum(tf.where(targets[..., 4:] > 0.5, loss, 0.0), axis=[1, 2])


def global_normaliser(positives: tf.Tensor) -> tf.Tensor:
    """Returns the number of positive anchors over all replicas, at least 1.0, given this replica's number.

    Both are float32 scalars; no gradient flows through them.
    """
    positives = tf.stop_gradient(positives)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        positives = replica.all_reduce(tf.distribute.ReduceOp.SUM, positives)
    return tf.maximum(positives, 1.0)


@keras.saving.register_keras_serializable(package="keras_retina")
class FocalLoss(keras.losses.Loss):
    """Focal loss of class logits, divided by the positive anchors of the global batch (`focal_loss` has the equation).

    `y_true`: int `[batch, A]`, codes of `geometry.matching`. `y_pred`: logits `[batch, A, K]`. The images of a
    batch are summed, and so are the replicas' gradients: the reduction is SUM and must stay so.

    Raises:
        InputError: alpha outside 0..1, or a negative gamma.
    """

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, *, name: str = "focal_loss") -> None:
        if alpha is not None and not 0 <= alpha <= 1:
            raise InputError(f"FocalLoss needs alpha in 0..1, or None. Received: alpha={alpha}. The paper's is 0.25.")
        if not 0 <= gamma < float("inf"):
            raise InputError(f"FocalLoss needs a gamma of 0 or more. Received: gamma={gamma}. The paper's is 2.0.")
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        classes = tf.convert_to_tensor(y_true)
        if classes.dtype.is_floating:  # Keras casts targets to the dtype of the output
            classes = tf.round(classes)
        classes = tf.cast(classes, tf.int32)
        positives = tf.reduce_sum(tf.cast(classes >= 0, tf.float32))
        return focal_loss(classes, tf.cast(y_pred, tf.float32), alpha=self.alpha, gamma=self.gamma) / global_normaliser(
            positives
        )

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "gamma": self.gamma, "name": self.name}


class _LossOfMatchedBoxes(keras.losses.Loss):
    """What the losses of boxes share: a sum of `of_images`, divided by the positive anchors of the global batch."""

    def of_images(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        """Returns the weighted loss of each image, float32 `[batch]`, before that division.

        Args:
            targets: float32 `[batch, A, 5]` of `keras_retina.geometry.matching.targets`.
            deltas: float32 `[batch, A, 4]`.
        """
        raise NotImplementedError

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(y_true, tf.float32)
        positives = tf.reduce_sum(tf.cast(targets[..., 4] > 0.5, tf.float32))
        return self.of_images(targets, tf.cast(y_pred, tf.float32)) / global_normaliser(positives)


@keras.saving.register_keras_serializable(package="keras_retina")
class BoxLoss(_LossOfMatchedBoxes):
    """Smooth L1 of the deltas of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative beta or weight.
    """

    def __init__(self, beta: float = 0.1, weight: float = 1.0, *, name: str = "box_loss") -> None:
        for argument, value, default in (("beta", beta, 0.1), ("weight", weight, 1.0)):
            if not 0 <= value < float("inf"):
                raise InputError(
                    f"BoxLoss needs a {argument} of 0 or more. Received: {argument}={value}. The default is {default}."
                )
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.beta = beta
        self.weight = weight

    def of_images(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        return self.weight * box_loss(targets, deltas, beta=self.beta)

    def get_config(self) -> dict:
        return {"beta": self.beta, "weight": self.weight, "name": self.name}


LARGEST_LOG_SIDE = math.log(1000 / 16)
"""Sides beyond 62 anchors are cut, as torchvision does: an untrained network must not overflow the exponential."""


def giou_loss(targets: tf.Tensor, deltas: tf.Tensor, *, coder_weights: Sequence[float]) -> tf.Tensor:
    """Returns `1 - generalized_iou` summed over the matched anchors of each image, not normalised.

    The anchors are not needed: the boxes of targets and deltas are measured in sides of their anchor, and no IoU
    changes when both axes are scaled.

    Args:
        targets: float32 `[batch, A, 5]` of `matching.targets`: four deltas and 1.0 where matched.
        deltas: float32 `[batch, A, 4]`.
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.geometry.boxes.encode`.

    Returns: float32 `[batch]`.
    """
    matched = tf.where(targets[..., 4] > 0.5)  # [n, 2]: image, anchor; a few in a thousand
    wanted = _boxes_in_anchor_sides(tf.gather_nd(targets, matched)[:, :4], coder_weights)
    found = _boxes_in_anchor_sides(tf.gather_nd(deltas, matched), coder_weights)
    losses = 1.0 - generalized_iou(wanted, found)
    return tf.math.unsorted_segment_sum(losses, matched[:, 0], tf.shape(targets)[0])


@keras.saving.register_keras_serializable(package="keras_retina")
class GIoULoss(_LossOfMatchedBoxes):
    """`1 - generalized_iou` of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self, coder_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0), weight: float = 1.0, *, name: str = "giou_loss"
    ) -> None:
        if not 0 <= weight < float("inf"):
            raise InputError(f"GIoULoss needs a weight of 0 or more. Received: weight={weight}. The default is 1.0.")
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.coder_weights = tuple(coder_weights)
        self.weight = weight

    def of_images(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        return self.weight * giou_loss(targets, deltas, coder_weights=self.coder_weights)

    def get_config(self) -> dict:
        return {"coder_weights": list(self.coder_weights), "weight": self.weight, "name": self.name}


def _boxes_in_anchor_sides(deltas: tf.Tensor, coder_weights: Sequence[float]) -> tf.Tensor:
    scaled = deltas / tf.constant(coder_weights, tf.float32)
    half = 0.5 * tf.exp(tf.clip_by_value(scaled[:, 2:], -LARGEST_LOG_SIDE, LARGEST_LOG_SIDE))
    return tf.concat([scaled[:, :2] - half, scaled[:, :2] + half], axis=-1)


BOX_LOSSES: dict[str, Callable[[Loss, Sequence[float]], _LossOfMatchedBoxes]] = {
    "smooth_l1": lambda settings, coder_weights: BoxLoss(settings.box_beta, settings.box_weight),
    "giou": lambda settings, coder_weights: GIoULoss(coder_weights, settings.box_weight),
}
"""The loss of the boxes by its name in a recipe, made from the section `loss` and the coder's weights."""


def detector_losses(settings: Loss, coder_weights: Sequence[float]) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output of the detector: `compile(loss=detector_losses(...))`."""
    return {
        "classes": FocalLoss(settings.alpha, settings.gamma),
        "boxes": BOX_LOSSES[settings.box](settings, coder_weights),
    }


def box_loss_of_images(
    settings: Loss, coder_weights: Sequence[float], *, targets: tf.Tensor, deltas: tf.Tensor
) -> tf.Tensor:
    """Returns the box loss of each image, `[batch]`: weighted, and not divided by the number of positive anchors."""
    return BOX_LOSSES[settings.box](settings, coder_weights).of_images(targets, deltas)
