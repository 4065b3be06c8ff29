"""Which anchor learns what: labelled boxes to one class code and one box target per anchor, in the input pipeline.

TensorFlow graph operations only, for a batch of images inside `tf.data`: with the boxes of one image alone, starting
the operations would take longer than what they do. Every function works with zero boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.anchors import AnchorGrid, AnchorGroups
from keras_retina.geometry.boxes_tf import area, encode, intersection, pair_iou
from keras_retina.geometry.candidates import all_pairs, covering_pairs, overlapping_pairs
from keras_retina.recipe.training import Matching

BACKGROUND = -1
"""Class code of an anchor that must predict no class."""

IGNORED = -2
"""Class code of an anchor that takes no part in the loss."""

CROWD_OVERLAP = 0.5
"""An anchor with at least this share of its area inside a crowd box is not background."""

_NO_BOX = tf.int32.max
_TIE = 1e-6  # IoUs that differ by less, relatively, are equal: rounding must not choose the anchor


def match(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    *,
    classes: tf.Tensor,
    ignored: tf.Tensor,
    matching: Matching,
    groups: AnchorGroups | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Assigns a class code and a box to every anchor of every image.

    An anchor takes the box it overlaps most (the lower index when equal): positive from IoU `positive` up, background
    below `negative`, ignored between. With `force`, each box also gets the anchor that overlaps it most, whatever
    the IoU and whatever that anchor overlaps more: of equal anchors the one with the nearest centre, then the lowest
    index. If two boxes want the same anchor the one with the higher IoU gets it, then the lower index; the other gets
    no second choice. An anchor that is not positive and lies by half of its area in an ignored box is ignored. Ignored
    boxes and boxes without area are never matched.

    Args:
        anchors: float32 `[A, 4]`, pixels, with area.
        boxes: float32 `[batch, n, 4]`, pixels of their image; where an image has fewer, boxes without area.
        classes: int `[batch, n]`, from 0.
        ignored: bool `[batch, n]`, a crowd of objects or what is mostly cut away.
        matching: `positive`, `negative` and `force`.
        groups: how the anchors lie where they are a grid: fewer pairs are compared, the result is the same.

    Returns:
        Class or `BACKGROUND` or `IGNORED`, int32 `[batch, A]`; and the index of the matched box in its image or -1,
        int32 `[batch, A]`.

    Source: Focal Loss for Dense Object Detection, section 4 (Anchors); the forced match is Faster R-CNN's.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    unmatched, slot, box = _assign(anchors, boxes, ignored=ignored, matching=matching, groups=groups)
    indices = tf.scatter_nd(slot[:, None], box + 1, tf.shape(unmatched)) - 1
    shape = [-1, tf.shape(anchors)[0]]
    return tf.reshape(_codes(unmatched, slot, box=box, classes=classes), shape), tf.reshape(indices, shape)


def targets(
    grid: AnchorGrid,
    boxes: tf.Tensor,
    *,
    classes: tf.Tensor,
    ignored: tf.Tensor,
    matching: Matching,
    coder_weights: Sequence[float],
) -> dict[str, tf.Tensor]:
    """Returns what `model.fit` compares the two outputs with; labels and `matching` as in `match`.

    Args:
        grid: of the detector, which has A anchors.
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.geometry.boxes.encode`.

    Returns:
        `classes`: int32 `[batch, A]`, codes of `match`. `boxes`: float32 `[batch, A, 5]`, the deltas
        `(ty, tx, th, tw)` and 1.0 for a positive anchor; zeros and 0.0 for any other.
    """
    anchors = tf.constant(grid.boxes())
    boxes = tf.cast(boxes, tf.float32)
    unmatched, slot, box = _assign(anchors, boxes, ignored=ignored, matching=matching, groups=grid.groups())
    image, anchor = slot // tf.shape(anchors)[0], slot % tf.shape(anchors)[0]
    deltas = encode(
        tf.gather_nd(boxes, tf.stack([image, box], axis=1)), tf.gather(anchors, anchor), weights=coder_weights
    )
    with_flag = tf.pad(deltas, [[0, 0], [0, 1]], constant_values=1.0)
    shape = [-1, tf.shape(anchors)[0], 5]
    return {
        "classes": tf.reshape(_codes(unmatched, slot, box=box, classes=classes), shape[:2]),
        "boxes": tf.reshape(tf.scatter_nd(slot[:, None], with_flag, [tf.size(unmatched), 5]), shape),
    }


def _assign(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    *,
    ignored: tf.Tensor,
    matching: Matching,
    groups: AnchorGroups | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Matches; a slot is one anchor of one image, `image * A + anchor`. Arguments as in `match`.

    Returns:
        `BACKGROUND` or `IGNORED`, int32 `[batch * A]`, what an anchor is that has no box; slot and index of the box in
        its image for those that have one, int32 `[positives]` each, slots in order.
    """
    # One more box, empty and so never matched: no operation below sees zero boxes.
    boxes = tf.pad(tf.cast(boxes, tf.float32), [[0, 0], [0, 1], [0, 0]])
    crowd = tf.reshape(tf.pad(tf.cast(ignored, tf.bool), [[0, 0], [0, 1]]), [-1])
    each, slots = tf.shape(boxes)[1], tf.shape(boxes)[0] * tf.shape(anchors)[0]
    boxes = tf.reshape(boxes, [-1, 4])

    objects = tf.where(crowd[:, None], 0.0, boxes)
    if groups is None:
        box, anchor = all_pairs(objects, anchors)
    else:
        box, anchor = overlapping_pairs(
            objects, anchors, groups=groups, smallest_iou=tf.minimum(matching.positive, matching.negative)
        )
    iou = pair_iou(tf.gather(objects, box), tf.gather(anchors, anchor))  # [pairs]
    slot = box // each * tf.shape(anchors)[0] + anchor
    best_iou, matched = _first_best(iou, slot, box=box, slots=slots)
    matched = tf.where((best_iou >= matching.positive) & (best_iou > 0.0), matched, _NO_BOX)
    if matching.force:
        matched = _force(matched, iou, box=box, anchor=anchor, slot=slot, boxes=objects, anchors=anchors)

    near = best_iou >= matching.negative
    near = tf.cond(
        tf.reduce_any(crowd),
        lambda: near | _in_crowd(anchors, boxes, crowd=crowd, each=each, groups=groups, slots=slots),
        lambda: near,
    )
    positives = tf.cast(tf.where(matched < _NO_BOX)[:, 0], tf.int32)
    return tf.where(near, IGNORED, BACKGROUND), positives, tf.gather(matched, positives) % each


def _codes(unmatched: tf.Tensor, slot: tf.Tensor, *, box: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Returns int32 `[batch * A]`: `unmatched` with the classes, `[batch, n]`, of the matched boxes."""
    classes = tf.cast(classes, tf.int32)
    image = slot // (tf.size(unmatched) // tf.shape(classes)[0])
    of_boxes = tf.gather_nd(classes, tf.stack([image, box], axis=1))
    return tf.tensor_scatter_nd_update(unmatched, slot[:, None], of_boxes)


def _in_crowd(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    *,
    crowd: tf.Tensor,
    each: tf.Tensor,
    groups: AnchorGroups | None,
    slots: tf.Tensor,
) -> tf.Tensor:
    """Returns which anchors lie by `CROWD_OVERLAP` of their area in one of the crowd boxes, bool `[slots]`."""
    row = tf.where(crowd)[:, 0]
    crowd_boxes = tf.gather(boxes, row)
    if groups is None:
        box, anchor = all_pairs(crowd_boxes, anchors)
    else:
        box, anchor = covering_pairs(crowd_boxes, groups, share=CROWD_OVERLAP)
    box_anchors = tf.gather(anchors, anchor)
    covered = intersection(tf.gather(crowd_boxes, box), box_anchors) >= CROWD_OVERLAP * area(box_anchors)
    slot = tf.gather(tf.cast(row, tf.int32), box) // each * tf.shape(anchors)[0] + anchor
    return tf.math.unsorted_segment_max(tf.cast(covered, tf.int32), slot, slots) > 0


def _force(
    matched: tf.Tensor,
    iou: tf.Tensor,
    *,
    box: tf.Tensor,
    anchor: tf.Tensor,
    slot: tf.Tensor,
    boxes: tf.Tensor,
    anchors: tf.Tensor,
) -> tf.Tensor:
    """Gives each box the anchor it overlaps most; `matched` and the result are int32 `[slots]`, the next `[pairs]`."""
    count = tf.shape(boxes)[0]
    best = tf.maximum(tf.math.unsorted_segment_max(iou, box, count), 0.0)  # [n]
    limit = tf.where(best > 0.0, best * (1.0 - _TIE), 1.0)  # what overlaps nothing would tie everywhere
    tied = tf.where(iou >= tf.gather(limit, box))[:, 0]
    box, anchor, slot = tf.gather(box, tied), tf.gather(anchor, tied), tf.gather(slot, tied)
    offset = _double_centres(tf.gather(boxes, box)) - _double_centres(tf.gather(anchors, anchor))
    distance = tf.reduce_sum(tf.square(offset), axis=1)
    nearest = tf.gather(tf.math.unsorted_segment_min(distance, box, count), box)
    candidate = tf.where(distance <= nearest * (1.0 + _TIE), slot, _NO_BOX)
    chosen = tf.math.unsorted_segment_min(candidate, box, count)  # [n]

    overlapping = tf.where(best > 0.0)[:, 0]
    best, chosen = tf.gather(best, overlapping), tf.gather(chosen, overlapping)
    _, winner = _first_best(best, chosen, box=tf.cast(overlapping, tf.int32), slots=tf.size(matched))
    return tf.where(winner < _NO_BOX, winner, matched)


def _first_best(iou: tf.Tensor, slot: tf.Tensor, *, box: tf.Tensor, slots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the largest IoU of each slot, 0 without any, and the first box that has it, `_NO_BOX` without.

    `iou`, `slot` and `box` are `[pairs]`, the results `[slots]`.
    """
    best = tf.maximum(tf.math.unsorted_segment_max(iou, slot, slots), 0.0)
    box = tf.where(iou == tf.gather(best, slot), box, _NO_BOX)
    return best, tf.math.unsorted_segment_min(box, slot, slots)


def _double_centres(boxes: tf.Tensor) -> tf.Tensor:
    return boxes[:, :2] + boxes[:, 2:]
