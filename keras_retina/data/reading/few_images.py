"""A few images drawn from a split, as somebody has who begins to label: every class is in one of them, if it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError


def draw_images(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """Returns the split with `count` of its images, in their order; the same seed draws the same ones.

    First, for each class that no drawn image has, the rarest first, one image with it; then any images. Images that
    differ in nothing but the number drawn are nested: those of 10 are among those of 30.

    Raises:
        InputError: the split has fewer images.
    """
    if count > len(dataset.records):
        raise InputError(
            f"data.train_images: expected at most the {len(dataset.records)} images of {dataset.split}. "
            f"Received: train_images={count}. Set a smaller number, or leave it out for all."
        )
    order = np.random.default_rng(seed).permutation(len(dataset.records))
    found = [set(record.classes[~record.crowd].tolist()) for record in dataset.records]
    frequency = np.bincount([one for classes in found for one in classes], minlength=len(dataset.class_names))
    first: list[int] = []
    for index in np.argsort(frequency, kind="stable"):
        if frequency[index] and not any(index in found[image] for image in first):
            first.append(next(int(image) for image in order if index in found[image]))
    drawn = [*first, *(int(image) for image in order if image not in first)][:count]
    return replace(dataset, records=tuple(dataset.records[image] for image in sorted(drawn)))
