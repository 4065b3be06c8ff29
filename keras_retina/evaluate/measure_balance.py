"""Counts how unequal objects and background are for a trained detector: the numbers of `ClassBalance`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_retina.data.pipeline import training_batches
from keras_retina.data.records import Dataset
from keras_retina.evaluate.class_balance import BINS, ClassBalance, count_errors
from keras_retina.foundation.legacy_keras import keras
from keras_retina.geometry.matching import IGNORED
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.training import Matching

MOST_IMAGES = 64
"""Drawn from the split, always the same ones. Each takes a forward pass."""

_AS_THEY_ARE = Augmentation(
    horizontal_flip=False, scale=(1.0, 1.0), aspect=1.0, brightness=0.0, contrast=0.0, saturation=0.0
)


def measure_class_balance(
    model: keras.Model, spec: DetectorSpec, *, dataset: Dataset, matching: Matching, images: int = MOST_IMAGES
) -> ClassBalance:
    """Runs the detector over images of a split, not augmented, and counts the errors of its class logits.

    Args:
        model: outputs logits `[batch, A, K]` as `classes`.
        matching: which anchors must find an object: the section `training.matching` of a recipe.
        images: the most that are looked at.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset.records))[:images])
    part = replace(dataset, records=tuple(dataset.records[index] for index in chosen))
    names = spec.class_names
    positives, ignored = np.zeros(len(names), np.int64), 0
    of_objects, of_background = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    batches = training_batches(part, spec, augmentation=_AS_THEY_ARE, matching=matching, batch_size=1)
    for inputs, wanted in batches.take(len(part.records)):
        logits = model(inputs, training=False)["classes"].numpy()[0].astype(np.float32)  # [A, K]
        codes = wanted["classes"].numpy()[0]
        matched = np.flatnonzero(codes >= 0)
        positives += np.bincount(codes[matched], minlength=len(names))
        ignored += int((codes == IGNORED).sum())
        of_objects += count_errors(-logits[matched, codes[matched]])
        is_background = np.repeat((codes != IGNORED)[:, None], len(names), axis=1)
        is_background[matched, codes[matched]] = False
        of_background += count_errors(logits[is_background])
    objects = sum((np.bincount(one.classes[~one.crowd], minlength=len(names)) for one in part.records), 0 * positives)
    return ClassBalance(
        split=dataset.split,
        images=len(part.records),
        objects=dict(zip(names, objects.tolist(), strict=True)),
        positives=dict(zip(names, positives.tolist(), strict=True)),
        ignored=ignored,
        object_errors=tuple(of_objects.tolist()),
        background_errors=tuple(of_background.tolist()),
    )
