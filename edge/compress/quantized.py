"""Quantization-aware training of a detector, resuming where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.compress.fine_tune import CompressTask, fit_network, freeze_stages
from edge.quantize.aware.model import quantize_aware_model
from edge.quantize.aware.quantizers import Preserve
from edge.quantize.aware.saving import load_quantize_aware, save_quantize_aware
from edge.quantize.calibration import calibration_samples, choose_calibration_images, images_used
from keras_retina.data.records import ImageFile
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.compress import Quantize, ancestry

logger = logging.getLogger(__name__)

START_FILE = "quantized.keras"


@dataclass(frozen=True)
class CalibrationInputs:
    """Network inputs float32 `[1, H, W, 3]`, read from the images each time they are gone through."""

    images: Sequence[ImageFile]
    spec: DetectorSpec

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for (image,) in calibration_samples(self.images, self.spec))


def calibration_inputs(task: CompressTask, count: int) -> CalibrationInputs:
    """Returns up to `count` images of the training split, without augmentation."""
    return CalibrationInputs(choose_calibration_images(task.train_set, count, seed=task.recipe.seed), task.spec)


def train_quantized(task: CompressTask) -> keras.Model:
    """Returns the quantization-aware model of the parent after its fine-tuning.

    What is kept of the parents: the zeros of a sparse one, and the equal weights of a clustered one.

    Raises:
        InputError: a layer that has no int8 form, images that cannot be read, or a loss that is not a number.
    """
    start = task.folder.path / START_FILE
    if not start.exists():
        asked = (task.settings.quantize or Quantize()).calibration_images
        inputs = calibration_inputs(task, asked)
        logger.info(f"ranges: {images_used(len(inputs.images), asked)}")
        freeze_stages(task.parent, task)
        save_quantize_aware(quantize_aware_model(task.parent, inputs, preserve=kept(task)), task.spec, path=start)
    with task.strategy.scope():
        model, _ = load_quantize_aware(start)
    fit_network(model, model, task=task)
    return model


def kept(task: CompressTask) -> Preserve:
    """Returns what the training must keep of the parents of a model."""
    parent = task.settings.parent
    parents = ancestry(task.recipe.compress, parent) if parent else []
    if any(model.clusters for model in parents):
        return "clusters"
    return "sparsity" if any(model.sparsity for model in parents) else "nothing"
