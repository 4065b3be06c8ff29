"""From the outputs of the model to detections, as graph operations (the exported file has TFLite's own operator)."""

from __future__ import annotations

from collections.abc import Sequence

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.boxes_tf import decode

CANDIDATES = 5000
"""Anchors of an image that reach the non-maximum suppression: those with the best scores.

As many as the paper keeps over its five levels (section 4); an exported file keeps all.
"""


def detections(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    *,
    anchors: tf.Tensor,
    coder_weights: Sequence[float],
    score_threshold: float,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    clip_to: tuple[int, int] | None = None,
) -> dict[str, tf.Tensor]:
    """Returns the detections of a batch, best score first, after non-maximum suppression within each class.

    Args:
        logits: `[batch, A, K]`. deltas: `[batch, A, 4]`. anchors: `[A, 4]`, pixels.
        coder_weights: `(wy, wx, wh, ww)` of `keras_retina.geometry.boxes.encode`.
        score_threshold: scores must be above it; `EVALUATION_SCORE_THRESHOLD` or `SHOW_SCORE_THRESHOLD`.
        iou_threshold: of two boxes of one class that overlap more, the lower-scored one goes.
        max_detections: M, the most of one image.
        clip_to: height and width of the input, to which boxes are clipped before their overlaps are computed.

    Returns:
        `boxes` float32 `[batch, M, 4]` in input pixels, clipped to `clip_to` alone; `scores` float32 `[batch, M]`;
        `classes` int32 `[batch, M]`; `count` int32 `[batch]`. Rows from `count` on are zeros.

    Source: Focal Loss for Dense Object Detection, section 4 (Inference).
    """
    boxes, scores = _candidates(logits, deltas, anchors=anchors, coder_weights=coder_weights, clip_to=clip_to)
    boxes, scores, classes, count = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        scores,
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,
    )
    return {"boxes": boxes, "scores": scores, "classes": tf.cast(classes, tf.int32), "count": count}


def fast_detections(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    *,
    anchors: tf.Tensor,
    coder_weights: Sequence[float],
    score_threshold: float,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    clip_to: tuple[int, int] | None = None,
) -> dict[str, tf.Tensor]:
    """Returns what `detections` returns when each anchor has only its best class and boxes of any class suppress.

    It is what a file with `export.nms: fast` does: TFLite_Detection_PostProcess without `use_regular_nms`.
    """
    boxes, scores = _candidates(logits, deltas, anchors=anchors, coder_weights=coder_weights, clip_to=clip_to)
    best, classes = tf.reduce_max(scores, axis=-1), tf.argmax(scores, axis=-1, output_type=tf.int32)

    def of_image(image: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        boxes, scores, classes = image
        kept = tf.image.non_max_suppression(boxes, scores, max_detections, iou_threshold, score_threshold)
        missing = max_detections - tf.size(kept)
        rows = tf.pad(tf.gather(boxes, kept), [[0, missing], [0, 0]])
        padded = [tf.pad(tf.gather(values, kept), [[0, missing]]) for values in (scores, classes)]
        return rows, *padded, tf.size(kept)

    boxes, best, classes, count = tf.map_fn(
        of_image,
        (boxes, best, classes),
        fn_output_signature=(
            tf.TensorSpec([max_detections, 4], tf.float32),
            tf.TensorSpec([max_detections], tf.float32),
            tf.TensorSpec([max_detections], tf.int32),
            tf.TensorSpec([], tf.int32),
        ),
    )
    return {"boxes": boxes, "scores": best, "classes": classes, "count": count}


def _candidates(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    *,
    anchors: tf.Tensor,
    coder_weights: Sequence[float],
    clip_to: tuple[int, int] | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns boxes `[batch, candidates, 4]` and scores `[batch, candidates, K]` of the best anchors of each image."""
    logits, deltas = tf.cast(logits, tf.float32), tf.cast(deltas, tf.float32)
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    best = tf.reduce_max(logits, axis=-1)  # [batch, A]
    _, kept = tf.math.top_k(best, k=tf.minimum(CANDIDATES, tf.shape(best)[1]))  # [batch, candidates]
    boxes = decode(tf.gather(deltas, kept, batch_dims=1), tf.gather(anchors, kept), weights=coder_weights)
    if clip_to is not None:
        boxes = tf.clip_by_value(boxes, 0.0, tf.constant([*clip_to, *clip_to], tf.float32))
    return boxes, tf.sigmoid(tf.gather(logits, kept, batch_dims=1))
