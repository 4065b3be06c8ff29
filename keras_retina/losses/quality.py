"""Losses whose class target is not 1 but how well the predicted box fits, its IoU: scores then rank boxes by fit.

They need the predicted boxes. `with_box_quality` returns a model that measures them for the loss of the classes;
inputs, outputs and layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes_tf import area, intersection
from keras_retina.losses.boxes import CODER_WEIGHTS, boxes_in_anchor_sides
from keras_retina.losses.dense import (
    ClassLoss,
    check_number,
    class_codes,
    count_positives,
    sum_over_classes,
    targets_of,
)


def quality_focal_terms(
    logits: tf.Tensor, codes: tf.Tensor, qualities: tf.Tensor, beta: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `|y - s| ** beta` times the cross entropy of the score s against y, and its slope, `[batch, A, K]` each.

    Args:
        codes: int32 `[batch, A]`.
        qualities: `y` of the target class, 0..1, `[batch, A]`; y of the other classes is 0.
        beta: at least 1.

    Source: Li et al., Generalized Focal Loss, quality focal loss.
    """
    is_target, counts = targets_of(codes, logits)
    wanted = tf.where(is_target, qualities[..., None], 0.0)
    score = tf.sigmoid(logits)
    cross_entropy = tf.math.softplus(logits) - wanted * logits
    error = score - wanted
    distance = tf.abs(error)
    factor = counts * tf.pow(distance, beta)
    # d|e| ** beta / ds = beta |e| ** (beta - 1) sign(e), and ds/dlogit = s (1 - s).
    through_factor = beta * tf.pow(distance, beta - 1.0) * tf.sign(error) * score * tf.sigmoid(-logits)
    return factor * cross_entropy, factor * error + counts * through_factor * cross_entropy


def varifocal_terms(
    logits: tf.Tensor, codes: tf.Tensor, qualities: tf.Tensor, alpha: float, gamma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the varifocal loss of each anchor and class and its slope, `[batch, A, K]` each.

    With the quality q of the target class, `q` times the cross entropy against q; for the other classes, and where q is
    0, `alpha s ** gamma` times the cross entropy against 0. Arguments are those of `quality_focal_terms`.

    Source: Zhang et al., VarifocalNet, equation 2.
    """
    is_target, counts = targets_of(codes, logits)
    wanted = tf.where(is_target, qualities[..., None], 0.0)
    score, softplus = tf.sigmoid(logits), tf.math.softplus(logits)
    modulation = alpha * tf.exp(gamma * (logits - softplus))
    value = tf.where(wanted > 0, wanted * (softplus - wanted * logits), modulation * softplus)
    of_background = modulation * (gamma * tf.sigmoid(-logits) * softplus + score)
    slope = tf.where(wanted > 0, wanted * (score - wanted), of_background)
    return counts * value, counts * slope


def box_qualities(targets: tf.Tensor, deltas: tf.Tensor, *, coder_weights: Sequence[float]) -> tf.Tensor:
    """Returns the IoU of each matched anchor's predicted box and its labelled one, `[batch, A]`, 0 elsewhere.

    No gradient flows through it. The boxes are measured in sides of their anchor, which changes no IoU.

    Args:
        targets: float32 `[batch, A, 5]` of `matching.targets`: four deltas and 1.0 where matched.
        deltas: float32 `[batch, A, 4]`.
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.geometry.boxes.encode`.
    """
    matched = tf.where(targets[..., 4] > 0.5)  # [n, 2]: image, anchor; a few in a thousand
    wanted = boxes_in_anchor_sides(tf.gather_nd(targets, matched)[:, :4], coder_weights)
    found = boxes_in_anchor_sides(tf.gather_nd(deltas, matched), coder_weights)
    shared = intersection(wanted, found)
    fits = shared / (area(wanted) + area(found) - shared)
    return tf.stop_gradient(tf.scatter_nd(matched, fits, tf.shape(targets, tf.int64)[:2]))


def quality_targets(wanted: Mapping[str, tf.Tensor], deltas: tf.Tensor, *, coder_weights: Sequence[float]) -> tf.Tensor:
    """Returns the targets of a loss that needs qualities, float32 `[batch, A, 2]`: code, IoU of the predicted box.

    Args:
        wanted: targets of `keras_retina.geometry.matching.targets`, batched.
        deltas: `[batch, A, 4]`, the output for boxes.
        coder_weights: those of the deltas.
    """
    boxes, deltas = tf.cast(wanted["boxes"], tf.float32), tf.cast(deltas, tf.float32)
    qualities = box_qualities(boxes, deltas, coder_weights=coder_weights)
    return tf.stack([tf.cast(wanted["classes"], tf.float32), qualities], axis=-1)


@keras.saving.register_keras_serializable(package="keras_retina")
class BoxQualityModel(keras.Model):
    """A detector whose loss of the classes also gets how well the predicted boxes fit; made by `with_box_quality`."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None) -> tf.Tensor:
        class_loss = self.loss.get("classes") if isinstance(self.loss, dict) else None
        if not isinstance(class_loss, QualityLoss):
            raise InputError(
                "a model of with_box_quality needs compile(loss={'classes': QualityFocalLoss(), 'boxes': ...}), or "
                f"VarifocalLoss. Received: loss={self.loss!r}. For other losses compile the model without it."
            )
        # In float32: 16 bits would round the codes of the classes, too.
        y_pred = {name: tf.cast(value, tf.float32) for name, value in y_pred.items()}
        y = {**y, "classes": quality_targets(y, y_pred["boxes"], coder_weights=class_loss.coder_weights)}
        return super().compute_loss(x, y, y_pred, sample_weight)


def with_box_quality(model: keras.Model) -> keras.Model:
    """Returns a detector of the same layers and outputs for `compile(loss={"classes": QualityFocalLoss(), ...})`.

    Call it last: functions that build a new model, such as `edge.quantize_aware` and `edge.prune_channels`, return a
    plain one.

    Raises:
        InputError: a model whose outputs are not "classes" and "boxes".
    """
    if not isinstance(model.output, dict) or not {"classes", "boxes"} <= set(model.output):
        raise InputError(
            "with_box_quality needs a model with the outputs 'classes' and 'boxes'. "
            f"Received: {model.name!r} with the outputs {model.output_names}. Build it with kr.retinanet."
        )
    return BoxQualityModel(model.inputs, model.output, name=model.name)


class QualityLoss(ClassLoss):
    """What both losses share: `y_true` is float `[batch, A, 2]` as `quality_targets` makes it."""

    needs_boxes = True

    def __init__(self, coder_weights: Sequence[float], name: str) -> None:
        super().__init__(name)
        self.coder_weights = tuple(coder_weights)

    def split(self, y_true: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns codes and qualities, `[batch, A]` each.

        Raises:
            InputError: there are codes alone.
        """
        y_true = tf.convert_to_tensor(y_true)
        if y_true.shape.rank != 3 or y_true.shape[-1] != 2:
            raise InputError(
                f"{type(self).__name__} needs targets [batch, anchors, 2], code and quality. "
                f"Received: shape={tuple(y_true.shape)}. Compile a model of kr.with_box_quality, and call that last."
            )
        return class_codes(y_true[..., 0]), tf.cast(y_true[..., 1], tf.float32)


@keras.saving.register_keras_serializable(package="keras_retina")
class QualityFocalLoss(QualityLoss):
    """Quality focal loss, divided by the positive anchors of the global batch; for a model of `with_box_quality`.

    `|y - s| ** beta` times the cross entropy of the score s against y, the IoU of the predicted box of a positive
    anchor and 0 for everything else. `y_true`: float `[batch, A, 2]`, code and IoU. `y_pred`: logits `[batch, A, K]`.

    Raises:
        InputError: a beta under 1.

    Source: Li et al., Generalized Focal Loss, quality focal loss.
    """

    def __init__(
        self, coder_weights: Sequence[float] = CODER_WEIGHTS, beta: float = 2.0, *, name: str = "quality_focal_loss"
    ) -> None:
        check_number(self, "beta", beta, least=1, usual="2.0")
        super().__init__(coder_weights, name)
        self.beta = beta

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, qualities = self.split(y_true)
        losses = sum_over_classes(quality_focal_terms, tf.cast(y_pred, tf.float32), codes, qualities, self.beta)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {"coder_weights": list(self.coder_weights), "beta": self.beta, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class VarifocalLoss(QualityLoss):
    """Varifocal loss, divided by the positive anchors of the global batch; for a model of `with_box_quality`.

    Positive anchors count by the IoU of their predicted box, background by a power of its score. Inputs are those of
    `QualityFocalLoss`; `varifocal_terms` has the equation.

    Raises:
        InputError: alpha outside 0..1, or a negative gamma.
    """

    def __init__(
        self,
        coder_weights: Sequence[float] = CODER_WEIGHTS,
        alpha: float = 0.75,
        *,
        gamma: float = 2.0,
        name: str = "varifocal_loss",
    ) -> None:
        check_number(self, "alpha", alpha, least=0, most=1, usual="0.75")
        check_number(self, "gamma", gamma, least=0, usual="2.0")
        super().__init__(coder_weights, name)
        self.alpha, self.gamma = alpha, gamma

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, qualities = self.split(y_true)
        settings = self.alpha, self.gamma
        losses = sum_over_classes(varifocal_terms, tf.cast(y_pred, tf.float32), codes, qualities, *settings)
        return losses, count_positives(codes)

    def get_config(self) -> dict:
        return {
            "coder_weights": list(self.coder_weights),
            "alpha": self.alpha,
            "gamma": self.gamma,
            "name": self.name,
        }
