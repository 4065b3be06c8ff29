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
    # One more box, empty and so never matched: no operation below sees zero boxes.
    boxes = tf.pad(tf.reshape(tf.cast(boxes, tf.float32), [-1, 4]), [[0, 1], [0, 0]])
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 1]])
    crowd = tf.pad(tf.cast(crowd, tf.bool), [[0, 1]])

    objects = tf.where(crowd[:, None], 0.0, boxes)
    iou = _iou(objects, anchors)  # [n, A]
    best_iou = tf.reduce_max(iou, axis=0)
    matched = tf.where(best_iou >= positive, _first_row_equal(iou, best_iou), -1)
    if force:
        matched = _force(matched, iou, objects, anchors)

    background = (best_iou < negative) & ~_in_crowd(anchors, tf.boolean_mask(boxes, crowd))
    unmatched = tf.where(background, BACKGROUND, IGNORED)
    return tf.where(matched >= 0, tf.gather(classes, tf.maximum(matched, 0)), unmatched), matched


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
    row = tf.where(matched >= 0)  # [positives, 1]
    matched_boxes = tf.gather(tf.reshape(tf.cast(boxes, tf.float32), [-1, 4]), tf.gather_nd(matched, row))
    deltas = encode(matched_boxes, tf.gather_nd(anchors, row), coder_weights)
    with_flag = tf.pad(deltas, [[0, 0], [0, 1]], constant_values=1.0)
    return {"classes": codes, "boxes": tf.scatter_nd(row, with_flag, [tf.shape(anchors, tf.int64)[0], 5])}


def encode(boxes: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """`keras_retina.boxes.encode` as graph operations, `[A, 4]` and `[A, 4]` to `[A, 4]`."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    offsets = 0.5 * ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / anchor_sizes
    return tf.concat([offsets, tf.math.log(sizes / anchor_sizes)], axis=-1) * tf.constant(weights, tf.float32)


def _iou(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Returns `[n, A]`, zeros for an empty box; n is at least 1."""
    columns, anchor_areas = tf.unstack(anchors, axis=1), _area(anchors)

    def row(box: tf.Tensor) -> tf.Tensor:
        intersection = _intersection(box, columns)
        return intersection / (anchor_areas + _area(box) - intersection)

    # Row by row, because a number with a vector takes half the time of broadcasting [n, 1] with [1, A].
    return tf.map_fn(row, boxes, fn_output_signature=tf.float32)


def _in_crowd(anchors: tf.Tensor, crowd_boxes: tf.Tensor) -> tf.Tensor:
    """Returns which anchors lie by `CROWD_OVERLAP` of their area in one of the crowd boxes, bool `[A]`."""
    columns = tf.unstack(anchors, axis=1)
    covered = tf.foldl(
        lambda most, box: tf.maximum(most, _intersection(box, columns)), crowd_boxes, tf.zeros_like(columns[0])
    )
    return covered >= CROWD_OVERLAP * _area(anchors)


def _intersection(box: tf.Tensor, columns: list[tf.Tensor]) -> tf.Tensor:
    """Returns the square pixels that a box `[4]` shares with each anchor, given as its four columns, `[A]`."""
    y1, x1, y2, x2 = columns
    height = tf.maximum(tf.minimum(box[2], y2) - tf.maximum(box[0], y1), 0.0)
    width = tf.maximum(tf.minimum(box[3], x2) - tf.maximum(box[1], x1), 0.0)
    return height * width


def _force(matched: tf.Tensor, iou: tf.Tensor, boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Gives each box the anchor it overlaps most; `matched` and the result are int32 `[A]`."""
    count, last = tf.shape(boxes)[0], tf.shape(anchors)[0] - 1
    best = tf.reduce_max(iou, axis=1)  # [n]
    is_tied = (iou >= (best * (1.0 - _TIE))[:, None]) & (best > 0.0)[:, None]  # an empty box would tie everywhere
    tied = tf.where(is_tied)  # [ties, 2], box and anchor
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
    """Returns the first row of `[n, A]` with its column's maximum, int32 `[A]`; tf.argmax orders no equals."""
    rows = tf.range(tf.shape(values)[0])[:, None]
    return tf.reduce_min(tf.where(values == maximum[None, :], rows, tf.int32.max), axis=0)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    """`[..., 4]` to `[...]`, zero for swapped corners."""
    return tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0)


def _double_centres(boxes: tf.Tensor) -> tf.Tensor:
    return boxes[:, :2] + boxes[:, 2:]
