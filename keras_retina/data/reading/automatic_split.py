"""A split of images that have none: seeded, with every class in its share, and look-alikes on the same side.

Source: Sechidis et al., On the Stratification of Multi-Label Data (2011), with groups of images in place of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, printable

TRAIN, VALIDATION, TEST = 0.7, 0.15, 0.15
"""Shares of the images. A split that the folder has is not made, and its share stays in the training split."""

LONGEST_GROUP = 0.05  # of the images: a longer row of frames is cut into blocks of neighbours, or one side gets it all


def split_images(
    dataset: Dataset, groups: Sequence[Sequence[int]], *, shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Divides images into splits, the images of a group always together.

    The groups with the rarest class come first, each goes to the split that lacks most boxes of that class, and among
    equals to the one that lacks most images. The order of equal groups is drawn by `seed`.

    Args:
        groups: indices into `dataset.records`, each in exactly one group.
        shares: name -> share of the images; they sum to 1.

    Returns:
        `{name: file names}`, in the order of the records.

    Raises:
        InputError: a split would get no box.
    """
    names = list(shares)
    wanted = np.array([shares[name] for name in names])
    boxes, images = _boxes_by_class(dataset, groups), np.array([len(group) for group in groups], np.float64)
    lacking, lacking_images = wanted[:, None] * boxes.sum(axis=0), wanted * images.sum()  # [splits, classes], [splits]
    side = np.full(len(groups), -1)
    drawn = np.random.default_rng(seed).permutation(len(groups))
    for _ in range(len(groups)):
        left = drawn[side[drawn] < 0]
        here = boxes[left].sum(axis=0)
        rarest = int(np.where(here > 0, here, np.inf).argmin()) if here.any() else -1
        group = left[boxes[left, rarest].argmax()] if rarest >= 0 else left[images[left].argmax()]
        keys = [lacking[:, rarest] if rarest >= 0 else lacking_images, lacking_images]
        chosen = max(range(len(names)), key=lambda index: (keys[0][index], keys[1][index]))
        side[group] = chosen
        lacking[chosen] -= boxes[group]
        lacking_images[chosen] -= images[group]
    of_image = {image: int(side[number]) for number, group in enumerate(groups) for image in group}
    lists: dict[str, list[str]] = {name: [] for name in names}
    for image, record in enumerate(dataset.records):
        lists[names[of_image[image]]].append(record.file_name)
    for number, name in enumerate(names):
        if not boxes[side == number].any():
            raise InputError(
                f"{printable(dataset.name)}: enough images with boxes for the splits {', '.join(names)} were expected, "
                f"as data.split=auto makes them. Received: {len(groups)} groups of images that do not look alike, "
                f"and none with a box for {name!r}. Label more images, or name the splits yourself."
            )
    return lists


def cut_long_groups(groups: Sequence[Sequence[int]], images: int) -> list[list[int]]:
    """Returns the groups with those of more than `LONGEST_GROUP` of the images cut into equal blocks of neighbours."""
    most = max(1, int(images * LONGEST_GROUP))
    cut: list[list[int]] = []
    for group in groups:
        for block in np.array_split(np.sort(np.asarray(group, np.int64)), max(1, -(-len(group) // most))):
            cut.append(block.tolist())
    return cut


def _boxes_by_class(dataset: Dataset, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns the number of boxes of each class in each group, float64 `[groups, classes]`."""
    counts = [np.bincount(record.classes, minlength=len(dataset.class_names)) for record in dataset.records]
    return np.array([sum(counts[image] for image in group) for group in groups], np.float64).reshape(
        len(groups), len(dataset.class_names)
    )
