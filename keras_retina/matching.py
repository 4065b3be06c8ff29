"""Which anchor learns what: labelled boxes to one class code and one box target per anchor, in the input pipeline.

TensorFlow graph operations only, for one image inside `tf.data`; every function works with zero boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_retina.legacy_keras import tf

BACKGROUND = -1
"""Class code of an anchor that must predict no class."""

IGNORED = -2
"""Class code of an anchor that takes no part in the loss."""

CROWD_OVERLAP = 0.5
"""An anchor with at least this share of its area inside a crowd box is not background."""

_TIE = 1e-6  # IoUs that differ by less, relatively, are equal: rounding must not choose the anchor


def match(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    crowd: tf.Tensor,
    positive: float = 0.5,
    negative: float = 0.4,
    force: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Assigns a class code and a box to every anchor.

    An anchor takes the box it overlaps most (the lower index when equal): positive from IoU `positive` up, background
    below `negative`, ignored between. With `force`, each box also gets the anchor that overlaps it most, whatever
    the IoU and whatever that anchor overlaps more: of equal anchors the one with the nearest centre, then the lowest
    index. If two boxes want the same anchor the one with the higher IoU gets it, then the lower index; the other gets
    no second choice. An anchor that is not positive and lies by half of its area in a crowd box is ignored. Crowd
    boxes and boxes without area are never matched.

    Args:
        anchors: float32 `[A, 4]`, pixels, with area.
        boxes: float32 `[n, 4]`, pixels of the same image.
        classes: int `[n]`, from 0.
        crowd: bool `[n]`.

    Returns:
        Class or `BACKGROUND` or `IGNORED`, int32 `[A]`; and the index of the matched box or -1, int32 `[A]`.

    Source: Focal Loss for Dense Object Detection, section 4 (Anchors); the forced match is Faster R-CNN's.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    crowd = tf.cast(crowd, tf.bool)
    iou, intersection = _overlaps(boxes, anchors)  # [n, A] both
    iou = tf.where(crowd[:, None], 0.0, iou)

    best_iou = tf.maximum(tf.reduce_max(iou, axis=0), 0.0)  # the maximum over zero boxes is -inf
    matched = tf.where(best_iou >= positive, _first_row_equal(iou, best_iou), -1)
    if force:
        matched = _force(matched, iou, boxes, anchors)

    in_crowd = tf.reduce_max(tf.boolean_mask(intersection, crowd), axis=0) >= CROWD_OVERLAP * _area(anchors)
    background = (best_iou < negative) & ~in_crowd
    unmatched = tf.where(background, BACKGROUND, IGNORED)
    return tf.where(matched >= 0, _take(tf.cast(classes, tf.int32), matched), unmatched), matched


def targets(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    crowd: tf.Tensor,
    coder_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    positive: float = 0.5,
    negative: float = 0.4,
    force: bool = True,
) -> dict[str, tf.Tensor]:
    """Returns what `model.fit` compares the two outputs with; arguments as in `match`.

    Args:
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.boxes.encode`.

    Returns:
        `classes`: int32 `[A]`, codes of `match`. `boxes`: float32 `[A, 5]`, the deltas `(ty, tx, th, tw)` and 1.0 for a
        positive anchor; zeros and 0.0 for any other.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    codes, matched = match(anchors, boxes, classes, crowd, positive, negative, force)
    is_matched = matched >= 0
    # An unmatched anchor is encoded against itself: deltas of exactly zero and no infinite logarithm.
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    deltas = encode(tf.where(is_matched[:, None], _take(boxes, matched), anchors), anchors, coder_weights)
    return {"classes": codes, "boxes": tf.concat([deltas, tf.cast(is_matched, tf.float32)[:, None]], axis=-1)}


def encode(boxes: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """`keras_retina.boxes.encode` as graph operations, `[A, 4]` and `[A, 4]` to `[A, 4]`."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    offsets = 0.5 * ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / anchor_sizes
    return tf.concat([offsets, tf.math.log(sizes / anchor_sizes)], axis=-1) * tf.constant(weights, tf.float32)


def _overlaps(boxes: tf.Tensor, anchors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns IoU and intersection in square pixels, both `[n, A]`; anchors run along the contiguous axis."""
    y1, x1, y2, x2 = (column[:, None] for column in tf.unstack(boxes, axis=1))
    anchor_y1, anchor_x1, anchor_y2, anchor_x2 = (column[None, :] for column in tf.unstack(anchors, axis=1))
    height = tf.maximum(tf.minimum(y2, anchor_y2) - tf.maximum(y1, anchor_y1), 0.0)
    width = tf.maximum(tf.minimum(x2, anchor_x2) - tf.maximum(x1, anchor_x1), 0.0)
    intersection = height * width
    union = (_area(boxes)[:, None] + _area(anchors)[None, :]) - intersection
    return intersection / union, intersection


def _force(matched: tf.Tensor, iou: tf.Tensor, boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Gives each box the anchor it overlaps most; `matched` and the result are int32 `[A]`."""
    count, last = tf.shape(boxes)[0], tf.shape(anchors)[0] - 1
    best = tf.reduce_max(iou, axis=1)  # [n]
    tied = tf.where((iou >= (best * (1.0 - _TIE))[:, None]) & (best > 0.0)[:, None])  # [ties, 2], box and anchor
    box, anchor = tied[:, 0], tf.cast(tied[:, 1], tf.int32)
    offset = _double_centres(tf.gather(boxes, box)) - _double_centres(tf.gather(anchors, anchor))
    distance = tf.reduce_sum(tf.square(offset), axis=1)
    nearest = tf.gather(tf.math.unsorted_segment_min(distance, box, count), box)
    candidate = tf.where(distance <= nearest * (1.0 + _TIE), anchor, last)
    chosen = tf.minimum(tf.math.unsorted_segment_min(candidate, box, count), last)  # [n]

    # Several boxes may have chosen one anchor; n is small, so all pairs are compared.
    order = tf.range(count)
    better = (best[None, :] > best[:, None]) | ((best[None, :] == best[:, None]) & (order[None, :] < order[:, None]))
    beaten = tf.reduce_any(better & (chosen[None, :] == chosen[:, None]), axis=1)
    winner = tf.where(~beaten & (best > 0.0))[:, 0]
    return tf.tensor_scatter_nd_update(matched, tf.gather(chosen, winner)[:, None], tf.cast(winner, tf.int32))


def _first_row_equal(values: tf.Tensor, maximum: tf.Tensor) -> tf.Tensor:
    """Returns the first row of `[n, A]` that holds its column's maximum, int32 `[A]`: an argmax that allows n = 0."""
    rows = tf.range(tf.shape(values)[0])[:, None]
    return tf.reduce_min(tf.where(values == maximum[None, :], rows, tf.int32.max), axis=0)


def _take(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Gathers rows, zeros where `index` is -1, also from an empty tensor."""
    empty = tf.zeros([1, *values.shape[1:]], values.dtype)
    return tf.gather(tf.concat([empty, values], axis=0), index + 1)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return tf.maximum(boxes[:, 2] - boxes[:, 0], 0.0) * tf.maximum(boxes[:, 3] - boxes[:, 1], 0.0)


def _double_centres(boxes: tf.Tensor) -> tf.Tensor:
    return boxes[:, :2] + boxes[:, 2:]
