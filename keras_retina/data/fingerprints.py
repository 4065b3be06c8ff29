"""What is left of an image once it was decoded: enough to find its copies among many others, in half a kilobyte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from PIL import Image

from keras_retina.data.images import grey_image, image_bytes, inspect_bytes
from keras_retina.data.records import ImageFile
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.machine import usable_cores
from keras_retina.foundation.progress import tell_progress

ROWS, COLUMNS = 16, 17  # of the thumbnail; 17 columns have 16 steps from one to the next
LEAST_SIDE = 128  # pixels of the shorter side that is reduced to the thumbnail: 8 a cell
_TOGETHER = 32  # images that one thread takes at a time
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Fingerprint:
    """What two copies of a picture share: `digest` byte for byte, `bits` and `grey` also when saved again."""

    digest: bytes
    bits: np.ndarray  # uint64 [4]: is each of 16 x 16 cells darker than its right neighbour
    grey: np.ndarray  # uint8 [16, 17]


@dataclass(frozen=True)
class LookedAt:
    """An image file that could be decoded.

    Attributes:
        size: `(height, width)` of the upright image.
        mode: of its stored pixels.
    """

    size: tuple[int, int]
    mode: str
    exif_rotated: bool
    fingerprint: Fingerprint


def look_at(path: ImageFile) -> LookedAt:
    """Decodes an image file. The bits of its fingerprint are a difference hash.

    Raises:
        InputError: the file is missing or damaged.
    """
    data = image_bytes(path)
    height, width, _, _ = inspect_bytes(data, path)
    pixels, mode, exif_rotated = grey_image(data, path, least=LEAST_SIDE)
    grey = np.asarray(Image.fromarray(pixels).resize((COLUMNS, ROWS), Image.Resampling.BOX))
    bits = np.packbits(grey[:, :-1] < grey[:, 1:]).view(np.uint64)
    return LookedAt((height, width), mode, exif_rotated, Fingerprint(hashlib.sha256(data).digest(), bits, grey))


def look_at_all(paths: Sequence[ImageFile], title: str) -> Iterator[LookedAt | InputError]:
    """Yields `look_at(path)` or what it raised, in order; how far it is, is logged under `title`."""

    def look(path: ImageFile) -> LookedAt | InputError:
        try:
            return look_at(path)
        except InputError as error:
            return error

    return on_all_cores(look, paths, title=title)


def on_all_cores(function: Callable[[_Item], _Result], items: Sequence[_Item], *, title: str) -> Iterator[_Result]:
    """Yields `function(item)` in order, and logs how far it is every few seconds.

    Threads are enough: Pillow decodes, NumPy computes and hashlib hashes without holding the interpreter.
    """
    parts = [items[start : start + _TOGETHER] for start in range(0, len(items), _TOGETHER)]
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        results = chain.from_iterable(pool.map(lambda part: [function(item) for item in part], parts))
        yield from tell_progress(results, total=len(items), title=title)
