"""Sparsity and weight clusters of a detector, trained in and resumed where they stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge import clusters, sparsity
from edge.compress_quantize import CalibrationInputs, calibration_inputs
from edge.fine_tune import fit_network, freeze_stages, steps_per_epoch
from edge.quantize_aware import quantizable
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import DetectorSpec
from keras_retina.legacy_keras import keras
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.recipe import CompressedModel, Recipe
from keras_retina.recipe_compress import Clusters, Sparsity

START_FILE = "balanced.keras"


def train_sparse(
    parent: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: CompressedModel,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Callable[[str], None],
) -> keras.Model:
    """Returns the plain model of `parent` after a fine-tuning that sets its smallest weights to zero.

    The last epoch is kept, not that of the best AP: earlier ones have fewer zeros.
    """
    wanted = settings.sparsity or Sparsity()
    freeze_stages(parent, recipe, settings.fine_tune)
    steps = settings.fine_tune.epochs * steps_per_epoch(recipe, train_set)
    end = max(1, round(wanted.until * steps))
    model, callbacks = sparsity.sparse_model(parent, wanted.amount, 0, end, wanted.pattern)
    fit_network(
        model, model, spec, recipe, settings.fine_tune, train_set, validation_set, folder / "train", report, callbacks,
        checkpoint="last",
    )  # fmt: skip
    plain = sparsity.strip(model)
    found = sparsity.sparsity_of(plain)
    report(f"zeros: {found.share:.1%} of the weights that may be, {found.total_share:.1%} of all convolutions")
    return plain


def train_clustered(
    parent: keras.Model,
    spec: DetectorSpec,
    recipe: Recipe,
    settings: CompressedModel,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    report: Callable[[str], None],
) -> keras.Model:
    """Returns the plain model of `parent`, without BatchNorm, after a fine-tuning with few values in each kernel."""
    start = folder / START_FILE
    if not start.exists():
        freeze_stages(parent, recipe, settings.fine_tune)
        inputs: CalibrationInputs = calibration_inputs(recipe, spec, train_set, recipe.export.calibration_images)
        save_detector(quantizable(parent, inputs), spec, start)
    balanced, _ = load_detector(start)
    model = clusters.clustered_model(balanced, (settings.clusters or Clusters()).number)
    fit_network(
        model, model, spec, recipe, settings.fine_tune, train_set, validation_set, folder / "train", report,
        checkpoint="last",
    )  # fmt: skip
    plain = clusters.strip(model)
    report(f"different weights in a kernel: at most {max(clusters.clusters_of(plain).values())}")
    return plain
