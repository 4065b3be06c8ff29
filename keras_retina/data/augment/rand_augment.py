"""RandAugment without its geometric operations, which boxes would have to follow: Pillow's changes of colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]


def rand_augment(image: np.ndarray, operations: int, strength: float, rng: np.random.Generator) -> np.ndarray:
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
