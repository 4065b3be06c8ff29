"""The one resize that training, evaluation and devices share, and where boxes go in it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from keras_retina.foundation.errors import InputError, closest

ResizeMode = Literal["stretch", "letterbox"]
RESIZE_MODES: tuple[ResizeMode, ...] = ("stretch", "letterbox")

# Training keeps images with at most this many times the pixels of the network input: enough for a zoom of 1.5.
STORED_AREA = 2.25


def reduced(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the image, smaller when it has more than `STORED_AREA` times the pixels of a `height` x `width` input.

    Both are uint8 RGB `[rows, columns, 3]`; the sides keep their ratio.
    """
    rows, columns = image.shape[:2]
    factor = min(1.0, (STORED_AREA * height * width / (rows * columns)) ** 0.5)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    if size == (columns, rows):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def resized_shape(image_height: int, image_width: int, *, height: int, width: int, mode: ResizeMode) -> tuple[int, int]:
    """Returns `(height, width)` of the picture inside the network input, without the padding."""
    if mode == "stretch":
        return height, width
    if mode == "letterbox":
        scale = min(height / image_height, width / image_width)
        inner_height = min(height, max(1, int(image_height * scale + 0.5)))
        inner_width = min(width, max(1, int(image_width * scale + 0.5)))
        return inner_height, inner_width
    hint = closest(str(mode), RESIZE_MODES)
    raise InputError(f"the resize mode must be stretch or letterbox. Received: mode={mode!r}. {hint}")


def resize_image(image: np.ndarray, height: int, *, width: int, mode: ResizeMode) -> np.ndarray:
    """Resizes uint8 `[h, w, 3]` to `[height, width, 3]` with Pillow's antialiased bilinear filter.

    `letterbox` keeps the aspect ratio, puts the picture at the top left and fills the rest with zeros, as pycoral does.
    """
    inner_height, inner_width = resized_shape(image.shape[0], image.shape[1], height=height, width=width, mode=mode)
    if image.shape[:2] == (inner_height, inner_width):
        picture = image
    else:
        picture = np.asarray(Image.fromarray(image).resize((inner_width, inner_height), Image.Resampling.BILINEAR))
    if (inner_height, inner_width) == (height, width):
        return picture
    padded = np.zeros((height, width, 3), dtype=np.uint8)
    padded[:inner_height, :inner_width] = picture
    return padded


def resize_transform(
    image_height: int, image_width: int, *, height: int, width: int, mode: ResizeMode
) -> tuple[float, float]:
    """Returns `(scale_y, scale_x)`: boxes in input pixels = boxes in image pixels * scale; divide to come back."""
    inner_height, inner_width = resized_shape(image_height, image_width, height=height, width=width, mode=mode)
    return inner_height / image_height, inner_width / image_width
