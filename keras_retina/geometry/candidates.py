"""Pairs of a box and an anchor that can matter to matching: a few dozen a box, found without looking at the others.

The anchors of one group lie at equal distances (`AnchorGroups`), so the square pixels that a pair must share give a
window of rows and columns around the box. Every function takes boxes float32 `[n, 4]` with n >= 1 and returns the index
of the box and the index of the anchor, int32 `[pairs]` each, boxes in order and no pair twice.
"""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.anchors import AnchorGroups
from keras_retina.geometry.boxes_tf import area, pair_iou

Pairs = tuple[tf.Tensor, tf.Tensor]

# Windows are a little wider than needed: too much is compared and dropped, too little would be a wrong match.
_SLACK_PIXELS, _SLACK_RATIO = 0.01, 1e-3


def overlapping_pairs(
    boxes: tf.Tensor, anchors: tf.Tensor, *, groups: AnchorGroups, smallest_iou: tf.Tensor | float
) -> Pairs:
    """Returns at least all pairs of IoU `smallest_iou` or more, and of each box those with the IoU that is its best.

    Args:
        anchors: float32 `[A, 4]`, `AnchorGrid.boxes` of the grid that `groups` describes.
    """
    # Of a group, the anchor with the nearest centre overlaps most.
    centres = 0.5 * (boxes[:, None, :2] + boxes[:, None, 2:])  # [n, 1, 2]
    last_cell = (groups.cells - 1).astype("float32")
    cell = tf.cast(
        tf.clip_by_value(tf.round(centres / groups.stride[:, None] - groups.offset), 0.0, last_cell), tf.int32
    )
    nearest = tf.reduce_sum(cell * _steps(groups), axis=2) + groups.first  # [n, G]
    best = tf.reduce_max(pair_iou(boxes[:, None], tf.gather(anchors, nearest)), axis=1, keepdims=True)  # [n, 1]
    threshold = tf.minimum(best, smallest_iou)
    # IoU >= t means: intersection >= t / (1 + t) * (sum of the areas).
    return _pairs(boxes, groups, needed_area=threshold / (1.0 + threshold) * (area(boxes)[:, None] + _areas(groups)))


def covering_pairs(boxes: tf.Tensor, groups: AnchorGroups, *, share: float) -> Pairs:
    """Returns at least all pairs where the box covers `share` or more of the anchor."""
    return _pairs(boxes, groups, needed_area=share * _areas(groups) + tf.zeros_like(boxes[:, :1]))


def all_pairs(boxes: tf.Tensor, anchors: tf.Tensor) -> Pairs:
    """Returns every pair, for anchors that are no grid."""
    anchor_count = tf.shape(anchors)[0]
    place = tf.range(tf.shape(boxes)[0] * anchor_count)
    return place // anchor_count, place % anchor_count


def _pairs(boxes: tf.Tensor, groups: AnchorGroups, *, needed_area: tf.Tensor) -> Pairs:
    """Returns at least all pairs that share `needed_area`, `[n, G]`, square pixels; none of a box without area."""
    stride, last_cell = groups.stride[:, None], (groups.cells - 1).astype("float32")
    centres = 0.5 * (boxes[:, None, :2] + boxes[:, None, 2:])  # [n, 1, 2]
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    possible = tf.minimum(sides, groups.sizes)  # [n, G, 2], what a pair shares at most in each direction
    needed = (1.0 - _SLACK_RATIO) * needed_area[..., None] / tf.reverse(possible, [2])
    reach = 0.5 * (sides + groups.sizes) - needed + _SLACK_PIXELS
    fits = tf.reduce_all((needed <= possible) & (sides > 0.0), axis=2, keepdims=True)
    # Clipped before they become integers, which have no room for a box far away.
    low = tf.clip_by_value(tf.math.ceil((centres - reach) / stride - groups.offset), 0.0, last_cell + 1.0)
    high = tf.clip_by_value(tf.floor((centres + reach) / stride - groups.offset), -1.0, last_cell)
    spans = tf.cast(tf.where(fits, tf.maximum(high - low + 1.0, 0.0), 0.0), tf.int32)  # [n, G, 2]
    corners = tf.reduce_sum(tf.cast(low, tf.int32) * _steps(groups), axis=2) + groups.first  # [n, G]

    counts = tf.reshape(tf.reduce_prod(spans, axis=2), [-1])
    ends = tf.cumsum(counts)
    place = tf.range(ends[-1])
    window = tf.searchsorted(ends, place, side="right")  # which of the n * G windows a pair is in
    table = tf.stack([tf.reshape(corners, [-1]), ends - counts, tf.reshape(spans[..., 1], [-1])], axis=1)
    corner, start, width = tf.unstack(tf.gather(table, window), axis=1)
    inside, box = place - start, window // len(groups.first)
    row_step = tf.gather(_steps(groups)[:, 0], window - box * len(groups.first))
    return box, corner + inside // width * row_step + inside % width * groups.per_cell


def _steps(groups: AnchorGroups) -> tf.Tensor:
    """Returns int32 `[G, 2]`: the anchor in the next row, and in the next column, is so many anchors further."""
    return tf.stack([groups.cells[:, 1] * groups.per_cell, tf.fill([len(groups.first)], groups.per_cell)], axis=1)


def _areas(groups: AnchorGroups) -> tf.Tensor:
    return tf.constant(groups.sizes[:, 0] * groups.sizes[:, 1])
