"""Images that belong together: copies, frames of one video, and changed versions of one photograph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from keras_retina.data.fingerprints import Fingerprint, look_at_all
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError

# Copies as check-data finds them differ by at most 40 bits of 256 and 5 grey levels. Frames of a moving camera differ
# by more, but follow each other in the order of their names; photographs of other things differ by 73 bits or more.
FRAME_DISTANCE = 64  # of 256 bits
FRAME_GREY = 16.0  # mean difference of the thumbnails, of 255
_FRAMES_APART = 3  # names between two frames that are compared

_ROBOFLOW = re.compile(r"\.rf\.[0-9a-fA-F]{8,}$")
_DIGITS = re.compile(r"(\d+)")


def look_alike_groups(dataset: Dataset) -> list[list[int]]:
    """Returns indices into the records, grouped so that images of one group must not be on two sides of a split.

    It decodes every image. An image that cannot be decoded is alone.
    """
    files = [record.path for record in dataset.records]
    found = [
        None if isinstance(one, InputError) else one.fingerprint
        for one in look_at_all(files, title="looking for images that look alike")
    ]
    names = [record.file_name for record in dataset.records]
    return joined(len(names), [*_same_source(names), *_alike(names, found)])


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Returns the numbers below `count` in groups: two of a pair are in one group."""
    first = list(range(count))

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        first[high] = low
    groups: dict[int, list[int]] = {}
    for number in range(count):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())


def _same_source(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs images that Roboflow made of one photograph: `cat_jpg.rf.<hash>.jpg` several times."""
    of_source: dict[str, int] = {}
    pairs = []
    for index, name in enumerate(names):
        stem = name.rpartition(".")[0]
        source = _ROBOFLOW.sub("", stem)
        if source != stem:
            pairs.append((of_source.setdefault(source, index), index))
    return pairs


def _alike(names: Sequence[str], fingerprints: Sequence[Fingerprint | None]) -> list[tuple[int, int]]:
    """Pairs images that follow each other by name and look alike."""
    order = sorted(range(len(names)), key=lambda index: _natural(names[index]))
    pairs = []
    for place, index in enumerate(order):
        one = fingerprints[index]
        for other_index in order[place + 1 : place + 1 + _FRAMES_APART]:
            other = fingerprints[other_index]
            if one is not None and other is not None and _looks_like(one, other):
                pairs.append((index, other_index))
    return pairs


def _looks_like(one: Fingerprint, other: Fingerprint) -> bool:
    if np.bitwise_count(one.bits ^ other.bits).sum() > FRAME_DISTANCE:
        return False
    return bool(np.abs(one.grey.astype(np.int16) - other.grey).mean() <= FRAME_GREY)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Returns what a name is sorted by: its numbers as numbers, so that frame 10 comes after frame 9."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(name)]
