"""Sparsity and weight clusters of a detector, trained in and resumed where they stopped."""

from __future__ import annotations

import logging

from edge.compress.fine_tune import CompressTask, fine_tune_batches, fit_network, freeze_stages, steps_per_epoch
from edge.compress.quantized import calibration_inputs
from edge.compress.weights import clusters, sparsity
from edge.compress.weights.sparsity import amounts_by_loss, even_amounts, loss_curvatures
from edge.quantize.aware.model import quantizable
from edge.quantize.batch_norm import set_effective_kernels
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import read_mapping
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import importance_losses
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.recipe.compress import Clusters, Sparsity
from keras_retina.train.batch_norm import estimate_batch_norm

logger = logging.getLogger(__name__)

START_FILE = "balanced.keras"
AMOUNTS_FILE = "amounts.json"
CURVATURE_BATCHES = 4


def train_sparse(task: CompressTask) -> keras.Model:
    """Returns the plain model of the parent after a fine-tuning that sets weights to zero.

    BatchNorm of the stages that train trains as well, whatever the recipe says: what follows a kernel that lost most of
    its weights must learn another scale. The last epoch is kept, not that of the best AP: earlier ones have fewer
    zeros.
    """
    wanted = task.settings.sparsity or Sparsity()
    freeze_stages(task.parent, task, batch_norm="trained")
    set_effective_kernels(task.parent)
    amounts = _amounts(task, task.parent, wanted=wanted)
    end = max(1, round(wanted.until * task.settings.fine_tune.epochs * steps_per_epoch(task)))
    with task.strategy.scope():
        model, callbacks = sparsity.wrapped_for_sparsity(
            task.parent, amounts, begin_step=0, end_step=end, pattern=wanted.pattern
        )
    fit_network(model, model, task=task, callbacks=callbacks, checkpoint="last")
    plain = sparsity.strip(model)
    estimate_batch_norm(plain, fine_tune_batches(task))
    found = sparsity.sparsity_of(plain)
    logger.info(f"zeros: {found.share:.1%} of the weights that may be, {found.total_share:.1%} of all convolutions")
    return plain


def train_clustered(task: CompressTask) -> keras.Model:
    """Returns the plain model of the parent, without BatchNorm, after a fine-tuning with few values in each kernel."""
    balanced = _balanced(task)
    with task.strategy.scope():
        model = clusters.clustered_model(balanced, (task.settings.clusters or Clusters()).number)
    fit_network(model, model, task=task, checkpoint="last")
    plain = clusters.strip(model)
    logger.info(f"different weights in a kernel: at most {max(clusters.clusters_of(plain).values())}")
    return plain


def _balanced(task: CompressTask) -> keras.Model:
    """Returns what is changed: the parent without BatchNorm, channels balanced; the same again in a repeated call."""
    start = task.folder.path / START_FILE
    if not start.exists():
        freeze_stages(task.parent, task)
        inputs = calibration_inputs(task, task.recipe.export.calibration_images)
        save_detector(quantizable(task.parent, inputs), task.spec, start)
    return load_detector(start)[0]


def _amounts(task: CompressTask, model: keras.Model, *, wanted: Sparsity) -> dict[str, float]:
    """Returns the share of zeros of each kernel, and writes it beside the model; a repeated call reads it."""
    if wanted.spread == "even" or wanted.pattern == "2_of_4":
        return even_amounts(model, wanted.amount)
    path = task.folder.path / AMOUNTS_FILE
    if not path.exists():
        learning = [name for name in sparsity.prunable_layers(model) if model.get_layer(name).trainable]
        losses = importance_losses(task.recipe.training.loss, task.spec)
        batches = fine_tune_batches(task).take(CURVATURE_BATCHES)
        curvatures = loss_curvatures(model, learning, batches=batches, losses=losses)
        amounts = amounts_by_loss(model, wanted.amount, curvatures=curvatures)
        write_json(path, amounts)
    return read_mapping(path) or {}
