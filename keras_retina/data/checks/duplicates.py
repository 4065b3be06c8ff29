"""Images that are there twice, byte for byte or saved again, found among a hundred thousand without comparing all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_retina.data.checks.inside_boxes import same_inside
from keras_retina.data.fingerprints import Fingerprint
from keras_retina.data.records import Record

# Measured on the 564 photographs of BCCD and raccoon: copies at JPEG quality 30 or of half the size differ by at most
# 24 bits and 3.2 grey levels, the same scene focused again by 26 and 2.3, different photographs by 72 and 6.7 or more.
HASH_DISTANCE = 40  # of 256 bits
GREY_DIFFERENCE = 5.0  # mean over the thumbnail, of 255

# A fixed camera makes every picture a neighbour of every other. Of a small set all pairs are looked at.
MOST_PAIRS = 1_000_000
FEWEST_NEIGHBOURS = 16  # of one image, however many images there are
_ROWS, _COLUMNS = 64, 4096  # of a tile of distances, which fits the cache of a core


@dataclass(frozen=True)
class DuplicatePair:
    """Two keys of the same picture; `exact` when the files are equal byte for byte."""

    first: str
    second: str
    exact: bool


@dataclass(frozen=True)
class DuplicateGroup:
    """Keys that pairs connect; `exact` when all the files are equal byte for byte."""

    keys: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class Duplicates:
    """What `find_duplicates` found.

    Attributes:
        pairs: in the order of the keys. Equal files are paired with the first of them alone, not with each other.
        crowded: images with so many look-alikes that only the nearest were compared.
    """

    pairs: tuple[DuplicatePair, ...] = ()
    crowded: int = 0


def find_duplicates(
    keys: Sequence[str], fingerprints: Sequence[Fingerprint], *, records: Sequence[Record]
) -> Duplicates:
    """Finds the images that are the same picture.

    Equal files are. Other files are when both their thumbnails and what is inside their boxes look the same: the
    photographs of a fixed camera have their background in common and are different pictures.

    Args:
        keys, fingerprints, records: of the same images, in the same order.
    """
    first_of: dict[bytes, int] = {}
    pairs: list[tuple[int, int, bool]] = []
    for index, one in enumerate(fingerprints):
        first = first_of.setdefault(one.digest, index)
        if first != index:
            pairs.append((first, index, True))
    kept = list(first_of.values())
    if kept:
        bits = np.stack([fingerprints[index].bits for index in kept])
        grey = np.stack([fingerprints[index].grey for index in kept])
        near, crowded = near_pairs(bits, grey)
        same = same_inside([records[index] for index in kept], near)
        pairs += [(kept[first], kept[second], False) for first, second in near[same]]
    else:
        crowded = 0
    return Duplicates(
        tuple(DuplicatePair(keys[first], keys[second], exact) for first, second, exact in sorted(pairs)), crowded
    )


def near_pairs(bits: np.ndarray, grey: np.ndarray, most: int = MOST_PAIRS) -> tuple[np.ndarray, int]:
    """Finds the pairs of thumbnails that differ little in bits and in grey levels.

    Every pair is found as long as no image has more neighbours behind it than `most / n` and `FEWEST_NEIGHBOURS`. Of
    such an image the nearest in bits are taken.

    Args:
        bits: uint64 `[n, 4]`.
        grey: uint8 `[n, rows, columns]`.

    Returns:
        pairs: int64 `[pairs, 2]`, the smaller index first, in order.
        crowded: how many images had more neighbours.
    """
    # Two thumbnails differ by no less than their mean levels do, so that in the order of these a window is enough.
    means = grey.mean(axis=(1, 2))
    order = np.argsort(means, kind="stable")
    means, sorted_bits = means[order], bits[order]
    neighbours = max(FEWEST_NEIGHBOURS, most // max(len(bits), 1))
    found, crowded = [np.zeros((0, 2), np.int64)], 0
    for start in range(0, len(bits), _ROWS):
        stop = min(start + _ROWS, len(bits))
        end = int(np.searchsorted(means, means[stop - 1] + GREY_DIFFERENCE, side="right"))
        distances = _distances(sorted_bits[start:stop], sorted_bits[start:end])
        distances[np.tri(stop - start, end - start, dtype=bool)] = 256  # itself and what came before
        near = distances <= HASH_DISTANCE
        for row in np.flatnonzero(near.sum(axis=1) > neighbours):
            crowded += 1
            near[row] = False
            near[row, np.argpartition(distances[row], neighbours - 1)[:neighbours]] = True
        pairs = np.argwhere(near) + start
        found.append(pairs[_grey_differences(grey, order[pairs]) <= GREY_DIFFERENCE])
    pairs = np.sort(order[np.concatenate(found)], axis=1)
    return pairs[np.lexsort(pairs.T[::-1])], crowded


def groups(pairs: Sequence[DuplicatePair]) -> list[DuplicateGroup]:
    """Joins the pairs that share a key."""
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    for pair in pairs:
        for key in (pair.first, pair.second):
            parents.setdefault(key, key)
        parents[root(pair.second)] = root(pair.first)
    members: dict[str, list[str]] = {}
    for key in parents:
        members.setdefault(root(key), []).append(key)
    near = {root(pair.first) for pair in pairs if not pair.exact}
    return [DuplicateGroup(tuple(keys), key not in near) for key, keys in members.items()]


def _distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns how many bits differ, uint16 `[rows, columns]`, of uint64 `[rows, 4]` and `[columns, 4]`."""
    distances = np.zeros((len(rows), len(columns)), np.uint16)
    for start in range(0, len(columns), _COLUMNS):
        tile = distances[:, start : start + _COLUMNS]
        for word in range(rows.shape[1]):
            tile += np.bitwise_count(rows[:, word, None] ^ columns[start : start + _COLUMNS, word])
    return distances


def _grey_differences(grey: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the mean absolute difference of each pair of thumbnails, float `[pairs]`."""
    found = [np.zeros(0)]
    for start in range(0, len(pairs), _COLUMNS):
        first, second = pairs[start : start + _COLUMNS].T
        found.append(np.abs(grey[first].astype(np.int16) - grey[second]).mean(axis=(1, 2)))
    return np.concatenate(found)
