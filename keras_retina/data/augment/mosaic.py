"""Mosaic: four labelled images side by side in one, so that a view shows more objects, smaller and in new company."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def mosaic(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    centre: tuple[float, float],
    places: np.ndarray,
    height: int,
    width: int,
    minimum_visible: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the joined image, the boxes of all parts in pixels of it, and which boxes are visible.

    Every image keeps its aspect ratio, is scaled to cover its quarter, and loses what stands over.

    Args:
        parts: four of (uint8 `[h, w, 3]`, float32 boxes `[n, 4]` in its pixels): top left, top right, bottom left,
            bottom right.
        centre: where the four meet, (y, x) in 0..1 of the result; each quarter gets at least one pixel.
        places: `[4]`, 0..1: which part of the surplus of each image is cut off at its top or left.
        height, width: pixels of the result, at least 2.
        minimum_visible: a box with a smaller share of its area in view, or less than a pixel, is not visible.

    Returns:
        uint8 `[height, width, 3]`; float32 `[sum of n, 4]`, clipped to the quarters; bool `[sum of n]`.

    Source: Bochkovskiy et al., YOLOv4, section 3.3.
    """
    middle_y = min(max(round(centre[0] * height), 1), height - 1)
    middle_x = min(max(round(centre[1] * width), 1), width - 1)
    joined = np.empty((height, width, 3), np.uint8)
    boxes, visible = [], []
    for number, (image, labels) in enumerate(parts):
        top, bottom = ((0, middle_y), (middle_y, height))[number // 2]
        left, right = ((0, middle_x), (middle_x, width))[number % 2]
        rows, columns = bottom - top, right - left
        scale = max(rows / image.shape[0], columns / image.shape[1])
        shown = np.array([rows, columns]) / scale  # pixels of the image
        start = (np.array(image.shape[:2]) - shown) * places[number]
        y, x = np.maximum(start, 0.0)
        window = (x, y, min(x + shown[1], image.shape[1]), min(y + shown[0], image.shape[0]))
        resized = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR, window)
        joined[top:bottom, left:right] = np.asarray(resized)
        moved = (labels.reshape(-1, 4) - [y, x, y, x]) * scale + [top, left, top, left]
        clipped = np.clip(moved, [top, left, top, left], [bottom, right, bottom, right])
        boxes.append(clipped)
        visible.append(_area(clipped) >= np.maximum(minimum_visible * _area(moved), 1.0))
    return joined, np.concatenate(boxes).astype(np.float32), np.concatenate(visible)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
