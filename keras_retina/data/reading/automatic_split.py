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

    The groups with the rarest class come first. Each goes to the split that lacks the largest share of the boxes of
    that class and of the images with it; images without objects are a class of their own here. The order of groups is
    drawn by `seed`: with the fullest first, the small splits would be left with single objects.

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
    boxes, images = _boxes_and_images(dataset, groups)
    shares_of = [kind / np.maximum(kind.sum(axis=0), 1) for kind in (boxes, images)]  # [groups, classes + 1]
    lacking = [wanted[:, None] * kind.sum(axis=0) for kind in shares_of]  # [splits, classes + 1]
    side = np.full(len(groups), -1)
    drawn = np.random.default_rng(seed).permutation(len(groups))
    for _ in range(len(groups)):
        left = drawn[side[drawn] < 0]
        here = images[left].sum(axis=0)
        rarest = int(np.where(here > 0, here, np.inf).argmin())
        group = left[(images[left, rarest] > 0).argmax()]
        chosen = side[group] = int(sum(kind[:, rarest] for kind in lacking).argmax())
        for kind, share in zip(lacking, shares_of, strict=True):
            kind[chosen] -= share[group]
    of_image = {image: int(side[number]) for number, group in enumerate(groups) for image in group}
    lists: dict[str, list[str]] = {name: [] for name in names}
    for image, record in enumerate(dataset.records):
        lists[names[of_image[image]]].append(record.file_name)
    for number, name in enumerate(names):
        if not boxes[side == number, :-1].any():
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


def _boxes_and_images(dataset: Dataset, groups: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many boxes of each class a group has, and how many images with it, both float64 `[groups, classes +
    1]`. The last class stands for images without objects, which have one box of it.
    """
    classes = len(dataset.class_names)
    counts = [np.bincount(record.classes, minlength=classes) for record in dataset.records]
    rows = np.array([[*count, not count.any()] for count in counts], np.float64).reshape(-1, classes + 1)
    members = [np.asarray(group, np.int64) for group in groups]
    boxes = [rows[images].sum(axis=0) for images in members]
    with_class = [(rows[images] > 0).sum(axis=0) for images in members]
    shape = (len(groups), classes + 1)
    return np.array(boxes, np.float64).reshape(shape), np.array(with_class, np.float64).reshape(shape)
