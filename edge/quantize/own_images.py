"""Images to calibrate on, whatever a user has: paths, arrays, Pillow images or a `tf.data.Dataset`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge.quantize.calibration import network_samples
from edge.runtime import as_array
from keras_retina.data.images import read_image
from keras_retina.data.resize import resize_image
from keras_retina.foundation.errors import InputError
from keras_retina.model.spec import DetectorSpec

MOST_IMAGES = 300  # more hardly change a range


@dataclass(frozen=True)
class CalibrationImages:
    """Images of the network's size; `inputs` can be gone through as often as it is asked for.

    Attributes:
        pixels: uint8 `[height, width, 3]` each.
    """

    pixels: tuple[np.ndarray, ...]
    spec: DetectorSpec

    def samples(self) -> Iterator[list[np.ndarray]]:
        """Yields one `[float32 [1, H, W, 3]]` for each image, scaled as for training."""
        return network_samples(self.pixels, self.spec)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields one float32 `[1, H, W, 3]` for each image."""
        return (image for (image,) in self.samples())


def calibration_images(images: Iterable[Any], spec: DetectorSpec) -> CalibrationImages:
    """Reads and resizes at most `MOST_IMAGES` images.

    Args:
        images: paths, uint8 RGB arrays `[height, width, 3]` or Pillow images of any size, or a `tf.data.Dataset` of
            such arrays, alone or with labels behind them.

    Raises:
        InputError: no image, one that cannot be read, or pixels that are scaled already.
    """
    if isinstance(images, str | Path) or not isinstance(images, Iterable):
        raise InputError(
            f"calibration: expected several images. Received: {type(images).__name__}. Pass a list of paths or arrays."
        )
    pixels = [
        resize_image(_as_pixels(image, number), spec.height, width=spec.width, mode=spec.resize)
        for number, image in enumerate(itertools.islice(images, MOST_IMAGES))
    ]
    if not pixels:
        raise InputError(
            "calibration: expected images of the training data. Received: none. A few hundred measure the ranges well."
        )
    return CalibrationImages(tuple(pixels), spec)


def _as_pixels(image: Any, number: int) -> np.ndarray:
    if isinstance(image, tuple):  # of a tf.data.Dataset with labels
        image = image[0]
    if isinstance(image, str | Path):
        return read_image(image)
    array = as_array(image) if isinstance(image, Image.Image) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            f"calibration, image {number}: expected uint8 RGB [height, width, 3], 0 to 255. "
            f"Received: {array.dtype} {list(array.shape)}. Pass images as they are, not batched and not scaled."
        )
    return array
