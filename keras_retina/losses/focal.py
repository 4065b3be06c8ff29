"""Cross entropy, the focal loss and the paper's other form of it, FL*.

With `z = -logit` where the class is the target and `z = logit` elsewhere, `1 - p_t = sigmoid(z)` and
`-log(p_t) = softplus(z)`, so no probability is ever rounded to 0 or 1: value and gradient are finite for any logit.
"""

from __future__ import annotations

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses.dense import (
    ClassLoss,
    alpha_weights,
    check_number,
    class_codes,
    count_positives,
    sum_over_classes,
    targets_of,
)


def focal_loss(classes: tf.Tensor, logits: tf.Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0) -> tf.Tensor:
    """Returns the focal loss summed over the anchors and classes of each image, not normalised.

    `FL = -alpha_t (1 - p_t) ** gamma log(p_t)` for each anchor and class.

    Args:
        classes: int `[batch, A]`: class index, or `BACKGROUND`, or `IGNORED` of `keras_retina.geometry.matching`.
        logits: float32 `[batch, A, K]`.
        alpha: weight of the target class, `1 - alpha` for the others; None for no balancing.
        gamma: 0 is alpha-balanced cross entropy.

    Returns: float32 `[batch]`.

    Source: Focal Loss for Dense Object Detection, equation 5.
    """
    logits = tf.convert_to_tensor(logits, tf.float32)
    losses = sum_over_classes(focal_terms, logits, tf.cast(classes, tf.int32), *alpha_weights(alpha), gamma)
    return tf.reduce_sum(losses, axis=1)


def focal_terms(
    logits: tf.Tensor, codes: tf.Tensor, target: float, other: float, gamma: float | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the focal loss of each anchor and class and its slope, `[batch, A, K]` each.

    Args:
        codes: int32 `[batch, A]`.
        target, other: weights of the target class and of the others.
        gamma: a number, or `[K]`.
    """
    is_target, counts = targets_of(codes, logits)
    z = tf.where(is_target, -logits, logits)
    cross_entropy = tf.math.softplus(z)
    # The power is taken through the logarithm of sigmoid(z), so that nothing is lost where that is tiny.
    weight = tf.where(is_target, target, other) * counts * tf.exp(gamma * (z - cross_entropy))
    # With e = sigmoid(z): d/dz [e ** gamma softplus(z)] = e ** gamma (gamma (1 - e) softplus(z) + e).
    slope = weight * (gamma * tf.sigmoid(-z) * cross_entropy + tf.sigmoid(z))
    return weight * cross_entropy, tf.where(is_target, -slope, slope)


def focal_star_terms(
    logits: tf.Tensor, codes: tf.Tensor, target: float, other: float, gamma: float, beta: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns FL* of each anchor and class and its slope, `[batch, A, K]` each; arguments as `focal_terms`."""
    is_target, counts = targets_of(codes, logits)
    weight = tf.where(is_target, target, other) * counts
    z = gamma * tf.where(is_target, -logits, logits) - beta
    slope = weight * tf.sigmoid(z)
    return weight * tf.math.softplus(z) / gamma, tf.where(is_target, -slope, slope)


@keras.saving.register_keras_serializable(package="keras_retina")
class FocalLoss(ClassLoss):
    """Focal loss of class logits, divided by the positive anchors of the global batch (`focal_loss` has the equation).

    `y_true`: int `[batch, A]`, codes of `geometry.matching`. `y_pred`: logits `[batch, A, K]`. The images of a
    batch are summed, and so are the replicas' gradients: the reduction is SUM and must stay so.

    Raises:
        InputError: alpha outside 0..1, or a negative gamma.
    """

    def __init__(self, alpha: float | None = 0.25, gamma: float = 2.0, *, name: str = "focal_loss") -> None:
        _check_alpha(self, alpha)
        check_number(self, "gamma", gamma, least=0, usual="2.0, the paper's,")
        super().__init__(name)
        self.alpha = alpha
        self.gamma = gamma

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        losses = sum_over_classes(focal_terms, logits, codes, *alpha_weights(self.alpha), self.gamma)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "gamma": self.gamma, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class CrossEntropyLoss(ClassLoss):
    """Cross entropy of class logits, alpha-balanced if wanted: the focal loss at gamma 0.

    Inputs and normaliser are those of `FocalLoss`. Source: the paper's sections 3 and 3.1, equations 1 and 3.

    Raises:
        InputError: alpha outside 0..1.
    """

    def __init__(self, alpha: float | None = None, *, name: str = "cross_entropy_loss") -> None:
        _check_alpha(self, alpha)
        super().__init__(name)
        self.alpha = alpha

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return FocalLoss(self.alpha, 0.0).of_anchors(y_true, y_pred)

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class FocalStarLoss(ClassLoss):
    """FL*, the paper's other form of the focal loss: `-alpha_t log(sigmoid(gamma x_t + beta)) / gamma`.

    `x_t` is the logit of the target class and the negative logit of the others; `beta` moves the loss of what is
    classified well. Inputs and normaliser are those of `FocalLoss`. Source: the paper's appendix A, equations 6 and 7.

    Raises:
        InputError: alpha outside 0..1, a gamma that is not above 0, or a beta that is not finite.
    """

    def __init__(
        self, alpha: float | None = 0.25, gamma: float = 2.0, *, beta: float = 1.0, name: str = "focal_star_loss"
    ) -> None:
        _check_alpha(self, alpha)
        check_number(self, "gamma", gamma, least=1e-3, usual="2.0 or 4.0")
        check_number(self, "beta", beta, least=-100, most=100, usual="1.0, or 0.0 for gamma 4,")
        super().__init__(name)
        self.alpha, self.gamma, self.beta = alpha, gamma, beta

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        losses = sum_over_classes(focal_star_terms, logits, codes, *alpha_weights(self.alpha), self.gamma, self.beta)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "gamma": self.gamma, "beta": self.beta, "name": self.name}


def _check_alpha(loss: ClassLoss, alpha: float | None) -> None:
    if alpha is not None and not 0 <= alpha <= 1:
        raise InputError(
            f"{type(loss).__name__} needs alpha in 0..1, or None. Received: alpha={alpha}. The paper's is 0.25."
        )
