"""Which training images the int8 ranges are measured on, and how the network gets to see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, ImageFile
from keras_retina.data.resize import resize_image
from keras_retina.foundation.errors import InputError
from keras_retina.model.spec import DetectorSpec

LISTING = "calibration.txt"


def choose_calibration_images(dataset: Dataset, count: int, *, seed: int = 0) -> list[ImageFile]:
    """Returns up to `count` different images of the training split, the same ones for the same seed.

    Classes take turns in naming a random image that shows them, so that a rare class is seen as well; when all
    labelled images are used up, those without objects follow.
    """
    order = np.random.default_rng(seed).permutation(len(dataset.records))
    shuffled = [dataset.records[index] for index in order]
    queues = [[record for record in shuffled if label in record.classes] for label in range(len(dataset.class_names))]
    turns = [record for turn in range(len(shuffled)) for queue in queues for record in queue[turn : turn + 1]]
    return list(dict.fromkeys(record.path for record in [*turns, *shuffled]))[:count]


def images_used(used: int, asked: int) -> str:
    """Returns how many images of the training split are used, and that there are no more if fewer than asked."""
    return f"{used} images of the training split" + (f", all there are ({asked} asked for)" if used < asked else "")


def calibration_samples(paths: Sequence[ImageFile], spec: DetectorSpec) -> Iterator[list[np.ndarray]]:
    """Yields one `[float32 [1, H, W, 3]]` per image, scaled to [-1, 1] as the network gets it, without augmentation.

    One corner pixel of the first image is made black and one white: the range of the input, and with it the
    quantization of camera bytes, is then exact instead of that of the brightest photograph.
    """
    images = (resize_image(read_image(path), spec.height, width=spec.width, mode=spec.resize) for path in paths)
    return network_samples(images, spec)


def network_samples(images: Iterable[np.ndarray], spec: DetectorSpec) -> Iterator[list[np.ndarray]]:
    """Yields what `calibration_samples` does, of images of the network's size, uint8 `[H, W, 3]`."""
    for number, image in enumerate(images):
        if number == 0:
            image = image.copy()
            image[-1, -1], image[-1, -2] = 0, 255
        yield [spec.scale(image[None])]


def calibration_listing(paths: Sequence[ImageFile]) -> str:
    """Returns one `sha256  name` line per image, as `sha256sum` prints them.

    Raises:
        InputError: an image cannot be read.
    """
    lines = []
    for path in paths:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(
                f"{path}: expected a calibration image. Received: {error.strerror}. Correct the data folder."
            ) from error
        lines.append(f"{digest}  {' '.join(path.name.split())}\n")
    return "".join(lines)
