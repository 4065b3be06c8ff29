"""How many weights each kernel loses: few where the loss would rise, most where it does not, in all what was asked for.

A detector has most of its weights in the last stages of the backbone, which matter least to it; the same share of
each kernel would ruin the early and the narrow ones. The second order of the loss tells them apart: at its minimum,
setting a weight w to zero raises it by w^2 / 2 times its curvature, for which the squared gradient of an image stands.
It is averaged over each kernel: that of a single weight from a few images is mostly noise, and with one factor a kernel
the weights that cost least are its smallest ones, those that magnitude pruning takes.

Source: LeCun et al., Optimal Brain Damage, equation 5; Theis et al., Faster Gaze Prediction with Dense Networks and
Fisher Pruning, section 2.2 (the curvature from gradients).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from edge.compress.weights.sparsity import prunable_layers
from edge.quantize.batch_norm import number_of_kernels
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf

Batches = Iterable[tuple[tf.Tensor, Mapping[str, tf.Tensor]]]
Losses = Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]

LARGEST = 0.97  # of one kernel: a convolution stays one, also where the loss of a few images says otherwise


def even_amounts(model: keras.Model, amount: float) -> dict[str, float]:
    """Returns {layer: the same share} for all prunable layers."""
    return dict.fromkeys(prunable_layers(model), amount)


def amounts_by_loss(model: keras.Model, amount: float, curvatures: Mapping[str, float]) -> dict[str, float]:
    """Returns {layer: share of its kernel that goes}, so that `amount` of all prunable weights do at the least cost.

    A weight costs its square times the curvature of its layer. No kernel loses more than `LARGEST`. One that a file has
    several of (`number_of_kernels`) counts as often, and a weight of it costs that part of it in each.

    Args:
        curvatures: of the layers that may lose weights (`loss_curvatures`); the other prunable ones keep theirs.

    Raises:
        InputError: these layers have not enough weights for `amount`.
    """
    kernels = {name: model.get_layer(name).get_weights()[0] for name in prunable_layers(model)}
    copies = number_of_kernels(model)
    total = sum(kernel.size * copies[name] for name, kernel in kernels.items())
    costs = {}
    for name, curvature in curvatures.items():
        cheapest = np.sort(np.abs(kernels[name]), axis=None)[: int(LARGEST * kernels[name].size)]
        costs[name] = curvature * np.square(cheapest, dtype=np.float64) / copies[name]
    wanted = round(amount * total)
    available = sum(cost.size * copies[name] for name, cost in costs.items())
    if not 0 < wanted <= available:
        raise InputError(
            f"sparsity: expected an amount above 0 and at most {int(1000 * available / total) / 1000}, the weights of "
            f"layers that train, {LARGEST:.0%} of each. Received: amount={amount}. Lower it, or train more stages "
            "(fine_tune.frozen_stages)."
        )
    every = np.concatenate([np.repeat(cost, copies[name]) for name, cost in costs.items()])
    limit = np.partition(every, wanted - 1)[wanted - 1]
    return {name: float(np.searchsorted(cost, limit, "right") / kernels[name].size) for name, cost in costs.items()}


def loss_curvatures(model: keras.Model, names: Sequence[str], batches: Batches, losses: Losses) -> dict[str, float]:
    """Returns {layer: mean over images and weights of the squared gradient of the loss in its kernel}.

    The model runs as in inference, image by image: gradients of a batch would cancel.

    Args:
        batches: (images, {output: targets}), as many as shall be looked at.
        losses: {output: loss(targets, values)}, added up.

    Raises:
        InputError: no image in `batches`.
    """
    kernels = [model.get_layer(name).kernel for name in names]

    @tf.function(reduce_retracing=True)
    def squares(image: tf.Tensor, targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            outputs = model(image, training=False)
            loss = tf.add_n([losses[name](targets[name], outputs[name]) for name in losses])
        return tf.stack([tf.reduce_mean(tf.square(slope)) for slope in tape.gradient(loss, kernels)])

    sums, images = np.zeros(len(kernels)), 0
    for batch, targets in batches:
        for index in range(len(batch)):
            one = slice(index, index + 1)
            sums += squares(batch[one], {name: targets[name][one] for name in losses}).numpy()
            images += 1
    if not images:
        raise InputError(
            "sparsity: expected images to measure the loss on. Received: batches=[]. Pass training batches."
        )
    return dict(zip(names, (sums / images).tolist(), strict=True))
