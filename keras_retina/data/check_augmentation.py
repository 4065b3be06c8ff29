"""Refuses an augmentation that leaves nothing to learn, before a training has cost hours."""

from __future__ import annotations

from keras_retina.data.pipeline import training_labels
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Augmentation

SAMPLES = 64


def check_augmentation(dataset: Dataset, spec: DetectorSpec, augmentation: Augmentation, seed: int) -> None:
    """Looks at the labels of the first samples of a training.

    Raises:
        InputError: they have objects in them before augmentation and none after it.
    """
    labelled = kept = 0
    stream = training_labels(dataset, spec, augmentation, seed).take(min(SAMPLES, len(dataset.records)))
    for index, _, _, ignored in stream.as_numpy_iterator():
        record = dataset.records[index]
        labelled += int((~record.crowd).sum())
        kept += int((~ignored).sum())
    if labelled and not kept:
        raise InputError(
            f"augmentation: a view must keep some objects. Received: {labelled} objects in the first "
            f"{min(SAMPLES, len(dataset.records))} images, none of them visible afterwards with "
            f"scale={list(augmentation.scale)}, cutout={augmentation.cutout}, "
            f"cutout_size={augmentation.cutout_size}, minimum_visible={augmentation.minimum_visible}. Soften these."
        )
