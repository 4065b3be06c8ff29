"""The losses of boxes: smooth L1 of the deltas, and 1 minus one of three overlaps of the boxes.

All are divided by the number of positive anchors of the global batch, at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.boxes_tf import complete_iou, distance_iou, generalized_iou
from keras_retina.losses.dense import check_number, global_normaliser

LARGEST_LOG_SIDE = math.log(1000 / 16)
"""Sides beyond 62 anchors are cut, as torchvision does: an untrained network must not overflow the exponential."""

CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


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


def smooth_l1_loss(targets: tf.Tensor, deltas: tf.Tensor, *, beta: float = 0.1) -> tf.Tensor:
    """Returns smooth L1 summed over the four deltas of each anchor, float32 `[batch, A]`, 0 where none is matched.

    Args:
        targets: float32 `[batch, A, 5]` of `matching.targets`: four deltas and 1.0 where matched. The
            mask is that flag, not the value: an anchor that fits its box exactly counts.
        deltas: float32 `[batch, A, 4]`.
    """
    loss = smooth_l1(deltas - targets[..., :4], beta)
    return tf.reduce_sum(tf.where(targets[..., 4:] > 0.5, loss, 0.0), axis=2)


def overlap_loss(
    overlap: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    targets: tf.Tensor,
    deltas: tf.Tensor,
    *,
    coder_weights: Sequence[float],
    anchor_sizes: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns `1 - overlap` of each matched anchor, float32 `[batch, A]`, 0 elsewhere.

    Args:
        overlap: of boxes `[n, 4]` and boxes `[n, 4]`, `[n]`.
        targets: float32 `[batch, A, 5]` of `matching.targets`: four deltas and 1.0 where matched.
        deltas: float32 `[batch, A, 4]`.
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.geometry.boxes.encode`.
        anchor_sizes: heights and widths `[A, 2]`, for an overlap that knows distances or aspects. Without them the
            boxes are measured in sides of their anchor, which changes neither IoU nor generalized IoU.
    """
    matched = tf.where(targets[..., 4] > 0.5)  # [n, 2]: image, anchor; a few in a thousand
    wanted = boxes_in_anchor_sides(tf.gather_nd(targets, matched)[:, :4], coder_weights)
    found = boxes_in_anchor_sides(tf.gather_nd(deltas, matched), coder_weights)
    if anchor_sizes is not None:
        sides = tf.tile(tf.gather(anchor_sizes, matched[:, 1]), [1, 2])
        wanted, found = wanted * sides, found * sides
    return tf.scatter_nd(matched, 1.0 - overlap(wanted, found), tf.shape(targets, tf.int64)[:2])


def boxes_in_anchor_sides(deltas: tf.Tensor, coder_weights: Sequence[float]) -> tf.Tensor:
    """Returns boxes `[n, 4]` of deltas `[n, 4]`, from the centre of the anchor, in heights and widths of the anchor."""
    scaled = deltas / tf.constant(coder_weights, tf.float32)
    half = 0.5 * tf.exp(tf.clip_by_value(scaled[:, 2:], -LARGEST_LOG_SIDE, LARGEST_LOG_SIDE))
    return tf.concat([scaled[:, :2] - half, scaled[:, :2] + half], axis=-1)


class MatchedBoxLoss(keras.losses.Loss):
    """What the losses of boxes share: a sum over matched anchors, divided by the positive anchors of the global batch.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.
    """

    def __init__(self, weight: float, name: str) -> None:
        check_number(self, "weight", weight, least=0, usual="1.0")
        super().__init__(reduction=keras.losses.Reduction.SUM, name=name)
        self.weight = weight

    def of_anchors(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        """Returns the weighted loss of each anchor, float32 `[batch, A]`, before that division."""
        raise NotImplementedError

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(y_true, tf.float32)
        positives = tf.reduce_sum(tf.cast(targets[..., 4] > 0.5, tf.float32))
        losses = self.of_anchors(targets, tf.cast(y_pred, tf.float32))
        return tf.reduce_sum(losses, axis=1) / global_normaliser(positives)


@keras.saving.register_keras_serializable(package="keras_retina")
class BoxLoss(MatchedBoxLoss):
    """Smooth L1 of the deltas of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative beta or weight.
    """

    def __init__(self, beta: float = 0.1, weight: float = 1.0, *, name: str = "box_loss") -> None:
        check_number(self, "beta", beta, least=0, usual="0.1")
        super().__init__(weight, name)
        self.beta = beta

    def of_anchors(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        return self.weight * smooth_l1_loss(targets, deltas, beta=self.beta)

    def get_config(self) -> dict:
        return {"beta": self.beta, "weight": self.weight, "name": self.name}


@keras.saving.register_keras_serializable(package="keras_retina")
class GIoULoss(MatchedBoxLoss):
    """`1 - generalized_iou` of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    `y_true`: float `[batch, A, 5]` of `keras_retina.geometry.matching.targets`. `y_pred`: deltas `[batch, A, 4]`.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self, coder_weights: Sequence[float] = CODER_WEIGHTS, weight: float = 1.0, *, name: str = "giou_loss"
    ) -> None:
        super().__init__(weight, name)
        self.coder_weights = tuple(coder_weights)

    def of_anchors(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        return self.weight * overlap_loss(generalized_iou, targets, deltas, coder_weights=self.coder_weights)

    def get_config(self) -> dict:
        return {"coder_weights": list(self.coder_weights), "weight": self.weight, "name": self.name}


class _OverlapInPixels(MatchedBoxLoss):
    """What the losses share whose overlap changes when one axis is scaled: they need the anchors."""

    def __init__(
        self, grid: AnchorGrid | dict[str, Any], coder_weights: Sequence[float], weight: float, name: str
    ) -> None:
        super().__init__(weight, name)
        self.grid = grid if isinstance(grid, AnchorGrid) else AnchorGrid(**grid)
        self.coder_weights = tuple(coder_weights)

    def overlap(self, boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
        """Returns the overlap of boxes `[n, 4]` in pixels, `[n]`."""
        raise NotImplementedError

    def of_anchors(self, targets: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        anchors = self.grid.boxes()
        sizes = tf.constant(anchors[:, 2:] - anchors[:, :2])
        weights = self.coder_weights
        return self.weight * overlap_loss(self.overlap, targets, deltas, coder_weights=weights, anchor_sizes=sizes)

    def get_config(self) -> dict:
        return {
            "grid": asdict(self.grid),
            "coder_weights": list(self.coder_weights),
            "weight": self.weight,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="keras_retina")
class DIoULoss(_OverlapInPixels):
    """`1 - distance_iou` of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    Inputs are those of `GIoULoss`; `grid` has the anchors of the detector.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self,
        grid: AnchorGrid | dict[str, Any],
        coder_weights: Sequence[float] = CODER_WEIGHTS,
        *,
        weight: float = 1.0,
        name: str = "diou_loss",
    ) -> None:
        super().__init__(grid, coder_weights, weight, name)

    def overlap(self, boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
        return distance_iou(boxes_a, boxes_b)


@keras.saving.register_keras_serializable(package="keras_retina")
class CIoULoss(_OverlapInPixels):
    """`1 - complete_iou` of matched anchors, divided by the positive anchors of the global batch, times `weight`.

    Inputs are those of `DIoULoss`.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self,
        grid: AnchorGrid | dict[str, Any],
        coder_weights: Sequence[float] = CODER_WEIGHTS,
        *,
        weight: float = 1.0,
        name: str = "ciou_loss",
    ) -> None:
        super().__init__(grid, coder_weights, weight, name)

    def overlap(self, boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
        return complete_iou(boxes_a, boxes_b)
