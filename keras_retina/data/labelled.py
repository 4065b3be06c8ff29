"""Labelled images for evaluation, whatever they come from: a folder, a split that was read, or a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from keras_retina.data.formats.split_names import usual_name
from keras_retina.data.own import BoxFormat, check_dataset, yxyx_pixels
from keras_retina.data.reading.folder import DataFolder, load_split, open_folder, read_split
from keras_retina.data.reading.record_image import read_record_image
from keras_retina.data.records import Dataset, Record, check_classes, listed
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.data import Data

Labelled: TypeAlias = Dataset | str | Path | tf.data.Dataset
"""What evaluation takes: a split of `load_dataset`, a labelled folder, or a `tf.data.Dataset` like that of training."""


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split, with the classes of a detector.

    Attributes:
        split: the images without their pixels. The records of a `tf.data.Dataset` are known when it was read, so it
            has none here.
        read: goes through the split once: the record of each image, and the image as uint8 RGB `[height, width, 3]`.
    """

    split: Dataset
    read: Callable[[], Iterator[tuple[Record, np.ndarray]]]


def labelled_images(
    dataset: Labelled, class_names: tuple[str, ...], *, split: str | None = None, box_format: BoxFormat = "yxyx"
) -> LabelledImages:
    """Opens what a user measures on.

    Args:
        class_names: of the detector, in its order.
        split: of a folder; by default its validation split, or its test split.
        box_format: of the boxes of a `tf.data.Dataset`.

    Raises:
        InputError: nothing that can be measured on, other classes than the detector's, no image, or an endless dataset.
    """
    if isinstance(dataset, str | Path):
        dataset = _load_folder(Path(dataset), split, class_names=class_names)
    elif split is not None:
        raise InputError(
            f"split: expected together with a folder. Received: split={split!r} and a {type(dataset).__name__}. "
            "Leave split out."
        )
    if isinstance(dataset, Dataset):
        chosen = dataset
        check_classes(class_names, chosen, source="detector")
        return LabelledImages(chosen, lambda: ((record, read_record_image(record)) for record in chosen.records))
    _refuse_batches(dataset)
    check_dataset(dataset, class_names, box_format=box_format)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            "dataset: expected one that ends. Received: one that repeats for ever. Use it before repeat()."
        )
    empty = Dataset("tf.data", "validation", tuple(class_names), tuple(range(1, len(class_names) + 1)), ())
    return LabelledImages(empty, lambda: _read(dataset, box_format))


def validation_split(folder: DataFolder) -> str:
    """Returns the split of a folder that evaluation uses: validation, or test if there is none.

    Raises:
        InputError: the folder has neither.
    """
    meant = {usual_name(name): name for name in reversed(folder.splits)}  # the first of those that mean the same
    if "val" not in meant and "test" not in meant:
        raise InputError(
            f"{folder.shown}: expected a split named val, valid, validation or test. "
            f"Received: {', '.join(folder.splits)}. Pass split."
        )
    return meant.get("val") or meant["test"]


def _load_folder(path: Path, split: str | None, *, class_names: tuple[str, ...]) -> Dataset:
    folder = open_folder(path, Data(classes=class_names))
    split = split or validation_split(folder)
    try:
        return load_split(folder, split)
    except InputError as error:
        labelled = read_split(replace(folder, settings=Data()), split).class_names
        if set(class_names) <= set(labelled):
            raise
        raise InputError(
            f"{folder.shown}: expected labels of the detector's classes, {listed(class_names)}. "
            f"Received: labels of {listed(labelled)}. Is this the right data?"
        ) from error


def _refuse_batches(dataset: tf.data.Dataset) -> None:
    first = dataset.element_spec if isinstance(dataset, tf.data.Dataset) else None
    image = first[0] if isinstance(first, tuple) and first else None
    if isinstance(image, tf.TensorSpec) and image.shape.rank == 4:
        raise InputError(
            "dataset: expected a labelled folder or single images, not training batches. Received: images of shape "
            f"{image.shape}. Pass the data as it is before kr.detector_batches."
        )


def _read(dataset: tf.data.Dataset, box_format: BoxFormat) -> Iterator[tuple[Record, np.ndarray]]:
    for number, (image, labels) in enumerate(dataset):
        boxes = yxyx_pixels(labels["boxes"], image, box_format=box_format).numpy()
        classes = labels["classes"].numpy().astype(np.int32)
        name, (height, width) = f"image {number}", image.shape[:2]
        crowd = np.zeros(len(classes), bool)
        yield Record(number + 1, Path(name), name, height, width, boxes, classes, crowd), image.numpy()
