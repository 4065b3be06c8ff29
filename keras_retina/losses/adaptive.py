"""Focal losses whose gamma follows the training: one for all classes, or one for each class of a long tail."""

from __future__ import annotations

import math

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses.dense import (
    ClassLoss,
    alpha_weights,
    check_number,
    class_codes,
    count_positives,
    global_normaliser,
    over_replicas,
    sum_over_classes,
)
from keras_retina.losses.focal import focal_terms

FIRST_GAMMA = 2.0
"""Of the automated focal loss until there was a positive anchor."""


def automated_gamma(mean_probability: tf.Tensor) -> tf.Tensor:
    """Returns `-log(p)`: 4.6 for a network that gives the right class 1 %, 0.1 for one that gives it 90 %."""
    return -tf.math.log(tf.clip_by_value(mean_probability, 1e-8, 1.0))


def equalized_gammas(positive_share: tf.Tensor, *, gamma: float, scale: float) -> tf.Tensor:
    """Returns the gamma of each class, `gamma + scale (1 - g)`, `[K]`.

    Args:
        positive_share: `g`, `[K]`: the gradients that a class got as target over those that it got otherwise, 0..1.
    """
    return gamma + scale * (1.0 - tf.clip_by_value(positive_share, 0.0, 1.0))


def equalized_terms(
    logits: tf.Tensor, codes: tf.Tensor, target: float, other: float, gammas: tf.Tensor, gamma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the equalized focal loss of each anchor and class and its slope, `[batch, A, K]` each.

    The weight `gammas / gamma` lets a class with a large gamma still learn from what it gets wrong.
    """
    value, slope = focal_terms(logits, codes, target, other, gammas)
    return value * (gammas / gamma), slope * (gammas / gamma)


def _variable(shape: tuple[int, ...], name: str) -> tf.Variable:
    # Every replica computes the same value, from the global batch.
    return tf.Variable(
        tf.zeros(shape), trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
    )


def positive_logits(logits: tf.Tensor, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the logits of the target class of positive anchors, `[n]`, and these classes: a few in a thousand."""
    positive = tf.where(codes >= 0)  # [n, 2]: image, anchor
    classes = tf.gather_nd(codes, positive)
    return tf.gather_nd(logits, tf.concat([positive, tf.cast(classes, tf.int64)[:, None]], axis=1)), classes


@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _sizes_of_all_slopes(
    logits: tf.Tensor, codes: tf.Tensor, target: float, other: float, gammas: tf.Tensor, gamma: float
) -> tf.Tensor:
    # One sum, because it then keeps no slope: two sums of the same slopes would keep them all.
    return tf.reduce_sum(tf.abs(equalized_terms(logits, codes, target, other, gammas, gamma)[1]), axis=[0, 1])


def sizes_of_slopes(
    logits: tf.Tensor, codes: tf.Tensor, *, alpha: float | None, gammas: tf.Tensor, gamma: float
) -> tf.Tensor:
    """Returns how large the slopes of each class are together, as target and otherwise, `[2, K]`."""
    target, other = alpha_weights(alpha)
    both = _sizes_of_all_slopes(logits, codes, target, other, gammas, gamma)
    own, classes = positive_logits(logits, codes)
    own_gammas = tf.gather(gammas, classes)
    # Each positive anchor as an image of one anchor with one class, its target.
    slopes = focal_terms(own[None, :, None], tf.zeros_like(classes)[None], target, other, own_gammas[None, :, None])[1]
    sizes = tf.abs(slopes[0, :, 0]) * own_gammas / gamma
    as_target = tf.math.unsorted_segment_sum(sizes, classes, tf.shape(logits)[-1])
    return tf.stack([as_target, tf.maximum(both - as_target, 0.0)])


@keras.saving.register_keras_serializable(package="keras_retina")
class AutomatedFocalLoss(ClassLoss):
    """Focal loss whose gamma falls as the network learns: `-log` of the moving mean of `p_t` of positive anchors.

    The mean is taken over positive anchors: over all of them, background would keep it near 1 and gamma near 0. It
    has a state, which every call changes, validation and `evaluate` too, and which no file of the model holds; make it
    inside `strategy.scope()`. Inputs and normaliser are those of `FocalLoss`.

    Args:
        decay: of the moving mean, for each batch.

    Raises:
        InputError: alpha outside 0..1, or a decay that is not in 0..0.9999.

    Source: Weber et al., Automated Focal Loss for Image based Object Detection.
    """

    def __init__(self, alpha: float | None = 0.25, decay: float = 0.95, *, name: str = "automated_focal_loss") -> None:
        if alpha is not None:
            check_number(self, "alpha", alpha, least=0, most=1, usual="0.25")
        check_number(self, "decay", decay, least=0, most=0.9999, usual="0.95")
        super().__init__(name)
        self.alpha, self.decay = alpha, decay
        self._mean, self._weight = _variable((), f"{name}_mean"), _variable((), f"{name}_weight")

    @property
    def gamma(self) -> tf.Tensor:
        """The gamma of the next batch, a scalar."""
        mean = tf.math.divide_no_nan(self._mean.read_value(), self._weight.read_value())
        return tf.where(self._weight > 0, automated_gamma(mean), FIRST_GAMMA)

    @property
    def state(self) -> list[tf.Variable]:
        return [self._mean, self._weight]

    def observe(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> None:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        count = over_replicas(count_positives(codes))
        mean = over_replicas(tf.reduce_sum(tf.sigmoid(positive_logits(logits, codes)[0]))) / tf.maximum(count, 1.0)
        share = tf.where(count > 0, 1.0 - self.decay, 0.0)  # a batch without objects says nothing
        self._mean.assign((1.0 - share) * self._mean + share * mean)
        self._weight.assign((1.0 - share) * self._weight + share)

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        losses = sum_over_classes(focal_terms, logits, codes, *alpha_weights(self.alpha), self.gamma)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {"alpha": self.alpha, "decay": self.decay, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class EqualizedFocalLoss(ClassLoss):
    """Focal loss for long tails: a rare class, pushed down more than up so far, gets a larger gamma and weight.

    `gamma_j = gamma + scale (1 - g_j)` and the weight `gamma_j / gamma`, where `g_j` in 0..1 is the gradient that class
    j got as target over the gradient that it got otherwise, over all batches so far. This is a state,
    as that of `AutomatedFocalLoss`. Inputs and normaliser are those of `FocalLoss`.

    Args:
        classes: K.
        gamma: of a class whose gradients are in balance.
        scale: how much larger the gamma of a class without any target is.

    Raises:
        InputError: no class, alpha outside 0..1, a gamma that is not above 0, or a negative scale.

    Source: Li et al., Equalized Focal Loss for Dense Long-Tailed Object Detection, section 3.
    """

    def __init__(
        self,
        classes: int,
        alpha: float | None = 0.25,
        *,
        gamma: float = 2.0,
        scale: float = 8.0,
        name: str = "equalized_focal_loss",
    ) -> None:
        if classes < 1 or classes != math.floor(classes):
            raise InputError(
                f"EqualizedFocalLoss needs the number of classes, 1 or more. Received: classes={classes}. "
                "Give len(class_names)."
            )
        if alpha is not None:
            check_number(self, "alpha", alpha, least=0, most=1, usual="0.25")
        check_number(self, "gamma", gamma, least=1e-3, usual="2.0")
        check_number(self, "scale", scale, least=0, usual="8.0")
        super().__init__(name)
        self.classes, self.alpha, self.gamma, self.scale = int(classes), alpha, gamma, scale
        self._gradients = _variable((2, self.classes), f"{name}_gradients")

    @property
    def gammas(self) -> tf.Tensor:
        """The gamma of each class in the next batch, `[K]`; `gamma` for a class without any gradient so far."""
        positive, negative = tf.unstack(self._gradients.read_value())
        share = tf.where(negative > 0, positive / tf.maximum(negative, 1e-30), 1.0)
        return equalized_gammas(share, gamma=self.gamma, scale=self.scale)

    @property
    def state(self) -> list[tf.Variable]:
        return [self._gradients]

    def observe(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> None:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        sizes = sizes_of_slopes(logits, codes, alpha=self.alpha, gammas=self.gammas, gamma=self.gamma)
        self._gradients.assign_add(over_replicas(sizes) / global_normaliser(count_positives(codes)))

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        weights = alpha_weights(self.alpha)
        losses = sum_over_classes(equalized_terms, logits, codes, *weights, self.gammas, self.gamma)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {
            "classes": self.classes,
            "alpha": self.alpha,
            "gamma": self.gamma,
            "scale": self.scale,
            "name": self.name,
        }
