"""Boxes as NumPy arrays: layouts, overlap and the coder. No TensorFlow, so a device can use it too.

Boxes are float32 `[..., 4]` as `[y1, x1, y2, x2]` in pixels of the network input, unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def xywh_to_yxyx(boxes: np.ndarray) -> np.ndarray:
    """Converts `[x, y, width, height]` (COCO labels and results, x and y of the top left corner) to our layout.

    Shapes: `[..., 4]` to float32 `[..., 4]`.
    """
    x, y, width, height = _columns(boxes)
    return np.stack([y, x, y + height, x + width], axis=-1)


def yxyx_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Converts our layout to `[x, y, width, height]` of COCO; the inverse of `xywh_to_yxyx`."""
    y1, x1, y2, x2 = _columns(boxes)
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=-1)


def area(boxes: np.ndarray) -> np.ndarray:
    """Returns the area in square pixels, `[..., 4]` to `[...]`; zero without extent or with swapped corners."""
    y1, x1, y2, x2 = _columns(boxes)
    return np.maximum(y2 - y1, 0) * np.maximum(x2 - x1, 0)


def iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Returns intersection over union of every pair, `[n, 4]` and `[m, 4]` to `[n, m]`, in 0..1.

    A box without area overlaps nothing: 0, also with itself.
    """
    a = _as_boxes(boxes_a).reshape(-1, 1, 4)
    b = _as_boxes(boxes_b).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(sides, 0), axis=-1)
    union = area(a) + area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def clip(boxes: np.ndarray, height: float, *, width: float) -> np.ndarray:
    """Clips `[..., 4]` to an image of `height` x `width` pixels; a box outside ends without area on the border."""
    limit = np.array([height, width, height, width], np.float32)
    return np.clip(_as_boxes(boxes), np.float32(0), limit)


def encode(boxes: np.ndarray, anchors: np.ndarray, *, weights: Sequence[float]) -> np.ndarray:
    """Returns the deltas `(ty, tx, th, tw)` that `decode` turns back into the boxes; all shapes are `[..., 4]`.

    `ty = wy (yc - ya) / ha` and `th = wh log(h / ha)` with the centre `yc` and height `h` of the box, `ya` and `ha` of
    the anchor; `tx` and `tw` likewise. Boxes need positive sides: the logarithm of a zero side is -inf.

    Args:
        weights: `(wy, wx, wh, ww)`, the `y_scale, x_scale, h_scale, w_scale` of TFLite_Detection_PostProcess.

    Source: Faster R-CNN, section 3.1.2; tensorflow/lite/kernels/detection_postprocess.cc.
    """
    centres, sizes = _centre_size(boxes)
    anchor_centres, anchor_sizes = _centre_size(anchors)
    scale = np.asarray(weights, np.float32)
    with np.errstate(divide="ignore"):
        deltas = np.concatenate([(centres - anchor_centres) / anchor_sizes, np.log(sizes / anchor_sizes)], axis=-1)
    return deltas * scale


def decode(deltas: np.ndarray, anchors: np.ndarray, *, weights: Sequence[float]) -> np.ndarray:
    """Returns the boxes of deltas `(ty, tx, th, tw)`, the inverse of `encode`; nothing is clipped.

    Shapes: `[..., A, 4]` and `[A, 4]` to `[..., A, 4]`.
    """
    anchor_centres, anchor_sizes = _centre_size(anchors)
    scaled = _as_boxes(deltas) / np.asarray(weights, np.float32)
    centres = scaled[..., :2] * anchor_sizes + anchor_centres
    with np.errstate(over="ignore"):
        halves = np.float32(0.5) * np.exp(scaled[..., 2:]) * anchor_sizes
    return np.concatenate([centres - halves, centres + halves], axis=-1)


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    array = np.asarray(boxes, np.float32)
    return array.reshape(0, 4) if array.size == 0 and array.ndim < 2 else array  # an empty list is zero boxes


def _columns(boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    array = _as_boxes(boxes)
    return array[..., 0], array[..., 1], array[..., 2], array[..., 3]


def _centre_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    array = _as_boxes(boxes)
    return (array[..., :2] + array[..., 2:]) * np.float32(0.5), array[..., 2:] - array[..., :2]
