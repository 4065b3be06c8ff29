"""Sparsity and weight clusters of a detector, trained in and resumed where they stopped."""

from __future__ import annotations

from edge import clusters, sparsity
from edge.compress_quantize import calibration_inputs
from edge.fine_tune import CompressTask, fit_network, freeze_stages, steps_per_epoch
from edge.quantize_aware import quantizable
from keras_retina.legacy_keras import keras
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.recipe_compress import Clusters, Sparsity

START_FILE = "balanced.keras"


def train_sparse(task: CompressTask) -> keras.Model:
    """Returns the plain model of the parent after a fine-tuning that sets its smallest weights to zero.

    The last epoch is kept, not that of the best AP: earlier ones have fewer zeros.
    """
    wanted = task.settings.sparsity or Sparsity()
    freeze_stages(task.parent, task)
    end = max(1, round(wanted.until * task.settings.fine_tune.epochs * steps_per_epoch(task)))
    model, callbacks = sparsity.sparse_model(task.parent, wanted.amount, 0, end, wanted.pattern)
    fit_network(model, model, task, callbacks, checkpoint="last")
    plain = sparsity.strip(model)
    found = sparsity.sparsity_of(plain)
    task.report(f"zeros: {found.share:.1%} of the weights that may be, {found.total_share:.1%} of all convolutions")
    return plain


def train_clustered(task: CompressTask) -> keras.Model:
    """Returns the plain model of the parent, without BatchNorm, after a fine-tuning with few values in each kernel."""
    start = task.folder / START_FILE
    if not start.exists():
        freeze_stages(task.parent, task)
        inputs = calibration_inputs(task, task.recipe.export.calibration_images)
        save_detector(quantizable(task.parent, inputs), task.spec, start)
    balanced, _ = load_detector(start)
    model = clusters.clustered_model(balanced, (task.settings.clusters or Clusters()).number)
    fit_network(model, model, task, checkpoint="last")
    plain = clusters.strip(model)
    task.report(f"different weights in a kernel: at most {max(clusters.clusters_of(plain).values())}")
    return plain
