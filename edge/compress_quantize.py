"""Quantization-aware training of a detector, resuming where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.calibration import calibration_samples, choose_calibration_images
from edge.fine_tune import fit_network, freeze_stages
from edge.quantize_aware import quantize_aware
from edge.quantize_aware_file import load_quantize_aware, save_quantize_aware
from edge.quantizers import Preserve
from keras_retina.data.packed_image import ImageFile
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import DetectorSpec
from keras_retina.legacy_keras import keras
from keras_retina.recipe import CompressedModel, Recipe
from keras_retina.recipe_compress import Quantize, ancestry

START_FILE = "quantized.keras"


@dataclass(frozen=True)
class CalibrationInputs:
    """Network inputs float32 `[1, H, W, 3]`, read from the images each time they are gone through."""

    images: Sequence[ImageFile]
    spec: DetectorSpec

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for (image,) in calibration_samples(self.images, self.spec))


def calibration_inputs(recipe: Recipe, spec: DetectorSpec, train_set: Dataset, count: int) -> CalibrationInputs:
    """Returns up to `count` images of the training split, without augmentation."""
    return CalibrationInputs(choose_calibration_images(train_set, count, recipe.seed), spec)


def train_quantized(
    parent: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: CompressedModel,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Callable[[str], None],
) -> keras.Model:
    """Returns the quantization-aware model of `parent` after its fine-tuning.

    What is kept of the parents: the zeros of a sparse one, and the equal weights of a clustered one.

    Raises:
        InputError: a layer that has no int8 form, images that cannot be read, or a loss that is not a number.
    """
    start = folder / START_FILE
    if not start.exists():
        count = (settings.quantize or Quantize()).calibration_images
        inputs = calibration_inputs(recipe, spec, train_set, count)
        fewer = f", all there are ({count} asked for)" if len(inputs.images) < count else ""
        report(f"ranges from {len(inputs.images)} images of the training split{fewer}")
        freeze_stages(parent, recipe, settings.fine_tune)
        model = quantize_aware(parent, inputs, kept(recipe, settings))
        save_quantize_aware(model, spec, start)
    model, _ = load_quantize_aware(start)
    train_dir = folder / "train"
    fit_network(model, model, spec, recipe, settings.fine_tune, train_set, validation_set, train_dir, report)
    return model


def kept(recipe: Recipe, settings: CompressedModel) -> Preserve:
    """Returns what the training must keep of the parents of a model."""
    parents = ancestry(recipe.compress, settings.parent) if settings.parent else []
    if any(model.clusters for model in parents):
        return "clusters"
    return "sparsity" if any(model.sparsity for model in parents) else "nothing"
