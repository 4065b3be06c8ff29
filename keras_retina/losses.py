"""The focal loss and the box loss as plain Keras losses: `compile(loss={"classes": FocalLoss(), "boxes": BoxLoss()})`.

Both are divided by the number of positive anchors of the global batch, at least 1, so that one replica and several give
the same loss and the same update, and a batch of images without objects still trains the classes.
"""

from __future__ import annotations

from keras_retina.errors import InputError
from keras_retina.legacy_keras import keras, tf
from keras_retina.matching import IGNORED


def focal_loss(classes: tf.Tensor, logits: tf.Tensor, alpha: float | None = 0.25, gamma: float = 2.0) -> tf.Tensor:
    """Returns the focal loss summed over the anchors and classes of each image, not normalised.

    `FL = -alpha_t (1 - p_t) ** gamma log(p_t)` for each anchor and class. With `z = -logit` where the class is the
    target and `z = logit` elsewhere, `1 - p_t = sigmoid(z)` and `-log(p_t) = softplus(z)`, so that no probability is
    ever rounded to 0 or 1: value and gradient are finite for any logit.

    Args:
        classes: int `[batch, A]`: class index, or `BACKGROUND`, or `IGNORED` of `keras_retina.matching`.
        logits: float32 `[batch, A, K]`.
        alpha: weight of the target class, `1 - alpha` for the others; None for no balancing.
        gamma: 0 is alpha-balanced cross entropy.

    Returns: float32 `[batch]`.

    Source: Focal Loss for Dense Object Detection, equation 5.
    """
    target_weight, other_weight = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    # The few targets are flipped in place: no one-hot copy, a third of the time at few classes.
    positive = tf.where(classes >= 0)  # [positives, 2], image and anchor
    target = tf.concat([positive, tf.cast(tf.gather_nd(classes, positive), tf.int64)[:, None]], axis=1)
    flipped = -tf.gather_nd(logits, target)
    loss = _modulated(tf.tensor_scatter_nd_update(logits, target, flipped), gamma)
    per_image = tf.reduce_sum(tf.where(classes != IGNORED, tf.reduce_sum(loss, axis=2), 0.0), axis=1)
    of_targets = tf.math.unsorted_segment_sum(_modulated(flipped, gamma), positive[:, 0], tf.shape(logits)[0])
    return other_weight * per_image + (target_weight - other_weight) * of_targets


def _modulated(z: tf.Tensor, gamma: float) -> tf.Tensor:
    """Returns `sigmoid(z) ** gamma * softplus(z)`."""
    cross_entropy = tf.math.softplus(z)
    # The power is taken through the logarithm of sigmoid(z): a power of 0 has no finite gradient below gamma 1.
    return tf.exp(gamma * (z - cross_entropy)) * cross_entropy


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


def box_loss(targets: tf.Tensor, deltas: tf.Tensor, beta: float = 0.1) -> tf.Tensor:
    """Returns smooth L1 summed over the matched anchors and four deltas of each image, not normalised.

    Args:
        targets: float32 `[batch, A, 5]` of `keras_retina.matching.targets`: four deltas and 1.0 where matched. The
            mask is that flag, not the value: an anchor that fits its box exactly counts.
        deltas: float32 `[batch, A, 4]`.

    Returns: float32 `[batch]`.
    """
    loss = smooth_l1(deltas - targets[..., :4], beta)
    return tf.reduce_sum(tf.where(targets[..., 4:] > 0.5, loss, 0.0), axis=[1, 2])


def global_normaliser(positives: tf.Tensor) -> tf.Tensor:
    """Returns the number of positive anchors over all replicas, at least 1.0, given this replica's number."""
    positives = tf.stop_gradient(positives)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        positives = replica.all_reduce(tf.distribute.ReduceOp.SUM, positives)
    return tf.maximum(positives, 1.0)


@keras.saving.register_keras_serializable(package="keras_retina")
class FocalLoss(keras.losses.Loss):
    """Focal loss of class logits, divided by the positive anchors of the global batch (`focal_loss` has the equation).

    `y_true`: int `[batch, A]`, codes of `keras_retina.matching`. `y_pred`: logits `[batch, A, K]`. The images of a
    batch are summed, and so are the replicas' gradients: the reduction is SUM and must stay so.

    Raises:
        InputError: alpha outside 0..1, or a negative gamma.
    """

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, name: str = "focal_loss") -> None:
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
        return focal_loss(classes, tf.cast(y_pred, tf.float32), self.alpha, self.gamma) / global_normaliser(positives)

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "gamma": self.gamma, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class BoxLoss(keras.losses.Loss):
    """Smooth L1 of the deltas of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative beta or weight.
    """

    def __init__(self, beta: float = 0.1, weight: float = 1.0, name: str = "box_loss") -> None:
        for argument, value, default in (("beta", beta, 0.1), ("weight", weight, 1.0)):
            if not 0 <= value < float("inf"):
                raise InputError(
                    f"BoxLoss needs a {argument} of 0 or more. "
                    f"Received: {argument}={value}. The default is {default}."
                )
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.beta = beta
        self.weight = weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(y_true, tf.float32)
        positives = tf.reduce_sum(tf.cast(targets[..., 4] > 0.5, tf.float32))
        loss = box_loss(targets, tf.cast(y_pred, tf.float32), self.beta)
        return self.weight * loss / global_normaliser(positives)

    def get_config(self) -> dict:
        return {"beta": self.beta, "weight": self.weight, "name": self.name}
