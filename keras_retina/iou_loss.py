"""The generalised IoU as a box loss: it trains the overlap that AP is counted by, not the four deltas apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import global_normaliser

LARGEST_LOG_SIDE = math.log(1000 / 16)
"""Sides beyond 62 anchors are cut, as torchvision does: an untrained network must not overflow the exponential."""


def generalized_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Returns IoU minus the share of the enclosing box that neither covers, row by row, `[n, 4]` twice to `[n]`.

    In -1..1; 1 for equal boxes. The boxes must have positive sides.

    Source: Rezatofighi et al., Generalized Intersection over Union, algorithm 1.
    """
    low, high = tf.maximum(boxes_a[:, :2], boxes_b[:, :2]), tf.minimum(boxes_a[:, 2:], boxes_b[:, 2:])
    intersection = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    union = _area(boxes_a) + _area(boxes_b) - intersection
    low, high = tf.minimum(boxes_a[:, :2], boxes_b[:, :2]), tf.maximum(boxes_a[:, 2:], boxes_b[:, 2:])
    enclosing = tf.reduce_prod(high - low, axis=-1)
    return intersection / union - (enclosing - union) / enclosing


def giou_loss(targets: tf.Tensor, deltas: tf.Tensor, coder_weights: Sequence[float]) -> tf.Tensor:
    """Returns `1 - generalized_iou` summed over the matched anchors of each image, not normalised.

    The anchors are not needed: the boxes of targets and deltas are measured in sides of their anchor, and no IoU
    changes when both axes are scaled.

    Args:
        targets: float32 `[batch, A, 5]` of `keras_retina.geometry.matching.targets`: four deltas and 1.0 where matched.
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
class GIoULoss(keras.losses.Loss):
    """`1 - generalized_iou` of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self, coder_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0), weight: float = 1.0, name: str = "giou_loss"
    ) -> None:
        if not 0 <= weight < float("inf"):
            raise InputError(f"GIoULoss needs a weight of 0 or more. Received: weight={weight}. The default is 1.0.")
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.coder_weights = tuple(coder_weights)
        self.weight = weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(y_true, tf.float32)
        positives = tf.reduce_sum(tf.cast(targets[..., 4] > 0.5, tf.float32))
        loss = giou_loss(targets, tf.cast(y_pred, tf.float32), self.coder_weights)
        return self.weight * loss / global_normaliser(positives)

    def get_config(self) -> dict:
        return {"coder_weights": list(self.coder_weights), "weight": self.weight, "name": self.name}


def _boxes_in_anchor_sides(deltas: tf.Tensor, coder_weights: Sequence[float]) -> tf.Tensor:
    scaled = deltas / tf.constant(coder_weights, tf.float32)
    half = 0.5 * tf.exp(tf.clip_by_value(scaled[:, 2:], -LARGEST_LOG_SIDE, LARGEST_LOG_SIDE))
    return tf.concat([scaled[:, :2] - half, scaled[:, :2] + half], axis=-1)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
