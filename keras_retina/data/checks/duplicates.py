"""Images that are there twice: byte for byte, or saved again at another quality or size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_retina.data.packed_image import ImageFile

# Measured on the 564 photographs of BCCD and raccoon: copies at JPEG quality 30 or at half the size differ by at most
# 29 bits and 3.2 grey levels, the same scene focused again by 30 and 2.3, different photographs by 73 and 6.7 or more.
HASH_DISTANCE = 40  # of 256 bits
GREY_DIFFERENCE = 5.0  # mean over the thumbnail, of 255


@dataclass(frozen=True)
class Fingerprint:
    """What two copies of a picture share: `digest` byte for byte, `bits` and `grey` also when saved again."""

    digest: str
    bits: np.ndarray  # uint64 [4]: is each of 16 x 16 cells darker than its right neighbour
    grey: np.ndarray  # uint8 [16, 17]


@dataclass(frozen=True)
class DuplicatePair:
    """Two keys of the same picture; `exact` when the files are equal byte for byte."""

    first: str
    second: str
    exact: bool


def fingerprint(path: ImageFile, image: np.ndarray) -> Fingerprint:
    """Describes an image file and its decoded pixels, uint8 `[height, width, 3]`. The bits are a difference hash."""
    small = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small)
    bits = np.packbits(grey[:, :-1] < grey[:, 1:]).view(np.uint64)
    return Fingerprint(hashlib.sha256(path.read_bytes()).hexdigest(), bits, grey)


def find_duplicates(fingerprints: Mapping[str, Fingerprint]) -> list[DuplicatePair]:
    """Returns the pairs of keys that are the same picture, in the order of the keys."""
    keys = list(fingerprints)
    if not keys:
        return []
    bits = np.stack([fingerprints[key].bits for key in keys])
    pairs: list[DuplicatePair] = []
    for index, key in enumerate(keys):
        one = fingerprints[key]
        distances = np.bitwise_count(bits[index + 1 :] ^ one.bits).sum(axis=1)
        for other in np.flatnonzero(distances <= HASH_DISTANCE) + index + 1:
            two = fingerprints[keys[other]]
            exact = one.digest == two.digest
            difference = np.abs(one.grey.astype(np.int16) - two.grey).mean()
            if exact or difference <= GREY_DIFFERENCE:
                pairs.append(DuplicatePair(key, keys[other], exact))
    return pairs
