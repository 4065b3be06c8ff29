"""Augmentation of pictures before the view is cut: RandAugment's changes of colour, and mosaics of four pictures.

RandAugment is without its geometric operations: boxes would have to follow them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]


def rand_augment(image: np.ndarray, operations: int, *, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Applies `operations` different ones of `OPERATIONS`, chosen by `rng`, to uint8 `[h, w, 3]`.

    `strength` 0..1 is how far an operation may go; how far each goes, and to which side, is drawn up to it.

    Source: Cubuk et al., RandAugment, section 3.
    """
    picture = Image.fromarray(image)
    for index in rng.choice(len(OPERATIONS), operations, replace=False):
        picture = OPERATIONS[index](picture, strength * rng.uniform(-1.0, 1.0))
    return np.asarray(picture)


def autocontrast(picture: Image.Image, amount: float) -> Image.Image:
    """Stretches every channel to the whole range, mixed with the picture by `abs(amount)`."""
    return Image.blend(picture, ImageOps.autocontrast(picture), abs(amount))


def equalize(picture: Image.Image, amount: float) -> Image.Image:
    """Makes all grey levels of a channel equally frequent, mixed with the picture by `abs(amount)`."""
    return Image.blend(picture, ImageOps.equalize(picture), abs(amount))


def posterize(picture: Image.Image, amount: float) -> Image.Image:
    """Keeps 8 (amount 0) down to 4 (amount 1) bits of a channel."""
    return ImageOps.posterize(picture, 8 - round(4 * abs(amount)))


def solarize(picture: Image.Image, amount: float) -> Image.Image:
    """Inverts what is brighter than 256 (amount 0: nothing) down to 128."""
    return ImageOps.solarize(picture, 256 - round(128 * abs(amount)))


def saturate(picture: Image.Image, amount: float) -> Image.Image:
    """Moves colours from (amount > 0) or to their grey."""
    return ImageEnhance.Color(picture).enhance(1.0 + 0.9 * amount)


def change_contrast(picture: Image.Image, amount: float) -> Image.Image:
    """Moves values from (amount > 0) or to the mean grey of the picture."""
    return ImageEnhance.Contrast(picture).enhance(1.0 + 0.9 * amount)


def change_brightness(picture: Image.Image, amount: float) -> Image.Image:
    """Multiplies all values."""
    return ImageEnhance.Brightness(picture).enhance(1.0 + 0.9 * amount)


def change_sharpness(picture: Image.Image, amount: float) -> Image.Image:
    """Sharpens (amount > 0) or smooths."""
    return ImageEnhance.Sharpness(picture).enhance(1.0 + 0.9 * amount)


OPERATIONS: tuple[Operation, ...] = (
    autocontrast,
    equalize,
    posterize,
    solarize,
    saturate,
    change_contrast,
    change_brightness,
    change_sharpness,
)


def mosaic(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    centre: tuple[float, float],
    *,
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
