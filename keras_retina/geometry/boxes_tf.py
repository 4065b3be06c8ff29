"""Boxes as TensorFlow operations: overlap, and the coder of the network's deltas."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_retina.foundation.legacy_keras import tf


def pair_iou(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns intersection over union of boxes and anchors `[..., 4]`, which broadcast; 0 for a box without area."""
    shared = intersection(boxes, anchors)
    return shared / (area(anchors) + area(boxes) - shared)


def intersection(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns the square pixels that boxes and anchors `[..., 4]` share; they broadcast."""
    sides = tf.minimum(boxes[..., 2:], anchors[..., 2:]) - tf.maximum(boxes[..., :2], anchors[..., :2])
    return tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """`[..., 4]` to `[...]`, zero for swapped corners."""
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)


def encode(boxes: tf.Tensor, anchors: tf.Tensor, *, weights: Sequence[float]) -> tf.Tensor:
    """`keras_retina.geometry.boxes.encode` as graph operations, `[A, 4]` and `[A, 4]` to `[A, 4]`."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    offsets = 0.5 * ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / anchor_sizes
    return tf.concat([offsets, tf.math.log(sizes / anchor_sizes)], axis=-1) * tf.constant(weights, tf.float32)


def decode(deltas: tf.Tensor, anchors: tf.Tensor, *, weights: Sequence[float]) -> tf.Tensor:
    """`keras_retina.geometry.boxes.decode` as graph operations.

    Deltas and anchors `[..., 4]` to boxes `[..., 4]` in pixels.
    """
    sizes = anchors[..., 2:] - anchors[..., :2]
    centres = 0.5 * (anchors[..., :2] + anchors[..., 2:])
    scaled = deltas / tf.constant(weights, tf.float32)
    box_centres = scaled[..., :2] * sizes + centres
    halves = 0.5 * tf.exp(scaled[..., 2:]) * sizes
    return tf.concat([box_centres - halves, box_centres + halves], axis=-1)


def generalized_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Returns IoU minus the share of the enclosing box that neither covers, row by row, `[n, 4]` twice to `[n]`.

    In -1..1; 1 for equal boxes. The boxes must have positive sides.

    Source: Rezatofighi et al., Generalized Intersection over Union, algorithm 1.
    """
    shared = intersection(boxes_a, boxes_b)
    union = area(boxes_a) + area(boxes_b) - shared
    low, high = tf.minimum(boxes_a[:, :2], boxes_b[:, :2]), tf.maximum(boxes_a[:, 2:], boxes_b[:, 2:])
    enclosing = tf.reduce_prod(high - low, axis=-1)
    return shared / union - (enclosing - union) / enclosing


def distance_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Returns IoU minus the squared distance of the centres over that of the enclosing box's corners, row by row.

    `[n, 4]` twice to `[n]`, in -1..1; 1 for equal boxes. The boxes must have positive sides.

    Source: Zheng et al., Distance-IoU Loss, equation 7.
    """
    shared = intersection(boxes_a, boxes_b)
    union = area(boxes_a) + area(boxes_b) - shared
    low, high = tf.minimum(boxes_a[:, :2], boxes_b[:, :2]), tf.maximum(boxes_a[:, 2:], boxes_b[:, 2:])
    between = 0.5 * (boxes_a[:, :2] + boxes_a[:, 2:] - boxes_b[:, :2] - boxes_b[:, 2:])
    return shared / union - tf.reduce_sum(between**2, axis=-1) / tf.reduce_sum((high - low) ** 2, axis=-1)


def complete_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Returns `distance_iou` minus how much the aspects differ, row by row, `[n, 4]` twice to `[n]`; 1 for equal boxes.

    The weight of the aspects grows with the IoU, and no gradient flows through it. The boxes must have positive sides.

    Source: Zheng et al., Distance-IoU Loss, equations 8 to 11.
    """
    angles = [tf.math.atan((boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])) for boxes in (boxes_a, boxes_b)]
    difference = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    shared = intersection(boxes_a, boxes_b)
    iou = shared / (area(boxes_a) + area(boxes_b) - shared)
    weight = tf.stop_gradient(tf.math.divide_no_nan(difference, 1.0 - iou + difference))
    return distance_iou(boxes_a, boxes_b) - weight * difference
