"""The loss with a share of the weights at zero, before any fine-tuning: the same share of each kernel, or by the loss.

    python benchmarks/runs/sparsity_spread.py RUN [--amounts 0.5 0.7]

RUN is a trained run folder. Curvatures come from the first training batches of its recipe, as in `keras-retina
compress`; the loss is that of the next ones.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.compress.fine_tune import CompressTask, fine_tune_batches, freeze_stages
from edge.compress.weights.sparsity import amounts_by_loss, even_amounts, loss_curvatures, prunable_layers, sparsity_of
from edge.compress.weights.train import CURVATURE_BATCHES
from edge.quantize.batch_norm import set_effective_kernels
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.run_paths import CompressedPaths
from keras_retina.losses import importance_losses
from keras_retina.model.saving import load_detector
from keras_retina.recipe.compress import Sparsity
from keras_retina.recipe.recipe import CompressedModel
from keras_retina.run.folder import load_split, open_run

LOSS_BATCHES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--amounts", type=float, nargs="+", default=[0.5, 0.7])
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    train_set = load_split(run, run.recipe.data.train)
    model, spec = load_detector(run.model)
    settings = CompressedModel(sparsity=Sparsity())
    folder = CompressedPaths(run.path)
    task = CompressTask("", model, spec, run.recipe, settings, train_set, train_set, folder, lambda line: None)
    freeze_stages(model, task, batch_norm="trained")
    set_effective_kernels(model)
    losses = importance_losses(run.recipe.training.loss, spec)
    batches = list(fine_tune_batches(task).take(CURVATURE_BATCHES + LOSS_BATCHES))
    curvatures = loss_curvatures(model, prunable_layers(model), batches=batches[:CURVATURE_BATCHES], losses=losses)

    def loss_of(pruned: keras.Model) -> float:
        graph = tf.function(lambda images: pruned(images, training=False))
        found = [
            sum(float(losses[name](targets[name], output)) for name, output in graph(images).items())
            for images, targets in batches[CURVATURE_BATCHES:]
        ]
        return float(np.mean(found))

    print(f"dense: loss {loss_of(model):.3f}")
    for amount, spread in itertools.product(arguments.amounts, ("even", "by_loss")):
        is_even = spread == "even"
        amounts = even_amounts(model, amount) if is_even else amounts_by_loss(model, amount, curvatures=curvatures)
        pruned = without_smallest(model, amounts)
        print(f"{spread:<8} {sparsity_of(pruned).share:.3f} zeros: loss {loss_of(pruned):.3f}")


def without_smallest(model: keras.Model, amounts: Mapping[str, float]) -> keras.Model:
    """Returns a copy whose kernels have lost their smallest weights."""
    pruned = keras.models.clone_model(model)
    pruned.set_weights(model.get_weights())
    for name, amount in amounts.items():
        layer = pruned.get_layer(name)
        kernel, *bias = layer.get_weights()
        kernel.ravel()[np.argsort(np.abs(kernel), axis=None)[: round(amount * kernel.size)]] = 0
        layer.set_weights([kernel, *bias])
    return pruned


if __name__ == "__main__":
    main()
