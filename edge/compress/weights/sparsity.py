"""Magnitude pruning of single weights with tfmot: zeros that stay in the int8 file and make it compress better.

Pruned are the kernels of ordinary convolutions, 1x1 and 3x3, where nearly all weights are. Left alone are depthwise
kernels (a hundredth of the weights, nine to a channel), the stem (all features come through its few hundred weights)
and the two layers that predict classes and boxes, whose errors no later layer makes up for. Kernels of int8 multiply
zeros like other weights: the file gets smaller in a zip, not faster.

Source: Zhu and Gupta, To Prune, or Not to Prune, section 3 (the cubic schedule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import tensorflow_model_optimization as tfmot

from edge.quantize.batch_norm import CONVOLUTIONS, check_is_flat, number_of_kernels, readers_of
from edge.tflite.kernels import Sparsity, counted
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Place
from keras_retina.model.graph import calls_of, output_places

Pattern = Literal["unstructured", "2_of_4"]

FREQUENCY = 10  # steps between two choices of the weights that go


def prunable_layers(model: keras.Model) -> list[str]:
    """Returns the names of the convolutions whose kernels pruning and clustering change."""
    calls = calls_of(model)
    readers = readers_of(calls)
    source = {(call.layer, call.number): call.inputs for call in calls}

    def following(place: Place) -> list[Place]:
        return [(call.layer, call.number) for call in readers.get(place, [])]

    def first_convolutions(waiting: list[Place], after: Callable[[Place], list[Place]]) -> set[str]:
        found: set[str] = set()
        while waiting:
            place = waiting.pop()
            if isinstance(model.get_layer(place[0]), CONVOLUTIONS):
                found.add(place[0])
            else:
                waiting += after(place)
        return found

    stem = first_convolutions([(name, 0) for name in model.input_names], following)
    prediction = first_convolutions(list(output_places(model).values()), source.__getitem__)
    ordinary = [layer.name for layer in model.layers if type(layer) is keras.layers.Conv2D]
    return [name for name in ordinary if name not in stem | prediction]


def wrapped_for_sparsity(
    model: keras.Model,
    amounts: Mapping[str, float],
    *,
    begin_step: int,
    end_step: int,
    pattern: Pattern = "unstructured",
) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """Returns a copy whose `fit` sets the smallest weights to zero, and the callbacks that this `fit` needs.

    From `begin_step` to `end_step` the share of zeros in a kernel grows fast at first and then slowly to its amount;
    after it the choice is final. Pruned layers learn even if they were frozen: they must make up for what they lose.
    Call `strip` afterwards.

    Args:
        amounts: {layer: share of the weights of its kernel, 0 to below 1} (see `amounts_by_loss`); other layers and
            those of amount 0 stay as they are. 0.5 for `2_of_4`.
        pattern: `2_of_4` leaves at most two weights of every four input channels, from `begin_step` on.

    Raises:
        InputError: an amount or step out of range, a pattern that does not fit the amount, a layer that is not pruned,
            a model that is not plain.
    """
    check_is_flat(model)
    if pattern not in get_args(Pattern):
        raise InputError(f"sparsity: pattern expected one of {', '.join(get_args(Pattern))}. Received: {pattern!r}.")
    unknown = sorted(set(amounts) - set(prunable_layers(model)))
    if unknown:
        raise InputError(
            f"sparsity: expected convolutions that pruning may change. Received: {', '.join(unknown)}. "
            "Use names of `prunable_layers`."
        )
    for name, amount in amounts.items():
        if not 0 <= amount < 1 or (pattern == "2_of_4" and amount != 0.5):
            raise InputError(
                f"sparsity: expected an amount of at least 0 and below 1, and 0.5 for the pattern 2_of_4. "
                f"Received: amount={amount} for {name}, pattern={pattern!r}. 0.7 is a good start."
            )
    if not any(amounts.values()):
        raise InputError(f"sparsity: expected an amount above 0. Received: {dict(amounts)}. 0.7 is a good start.")
    if not 0 <= begin_step < end_step:
        raise InputError(
            f"sparsity: expected 0 <= begin_step < end_step. Received: {begin_step} and {end_step}. Train for longer."
        )
    frequency = min(FREQUENCY, end_step - begin_step)
    last_step = end_step - (end_step - begin_step) % frequency  # the last choice is made here, with the full amount
    chosen = {name: amount for name, amount in amounts.items() if amount > 0}
    number_of_calls: dict[str, int] = {}
    for call in calls_of(model):
        number_of_calls[call.layer] = number_of_calls.get(call.layer, 0) + 1

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        if layer.name not in chosen:
            return copy
        copy.trainable = True
        # tfmot counts a step for every call: a head that five levels share would be pruned five times too early.
        times = number_of_calls[layer.name]
        steps = {"begin_step": begin_step * times, "end_step": last_step * times, "frequency": frequency * times}
        if pattern == "2_of_4":
            schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, **steps)
            return tfmot.sparsity.keras.prune_low_magnitude(copy, schedule, sparsity_m_by_n=(2, 4))
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, chosen[layer.name], **steps)
        return tfmot.sparsity.keras.prune_low_magnitude(copy, schedule)

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    for layer in model.layers:
        if layer.weights:
            inner = wrapped.get_layer(_wrapper_name(layer.name)).layer if layer.name in chosen else None
            (inner or wrapped.get_layer(layer.name)).set_weights(layer.get_weights())
    return wrapped, [tfmot.sparsity.keras.UpdatePruningStep()]


def strip(model: keras.Model) -> keras.Model:
    """Returns the plain model of a sparse one: layers under their old names, with the zeros."""

    def unwrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = layer.layer if _is_pruned(layer) else layer
        return type(inner).from_config(inner.get_config())

    plain = keras.models.clone_model(model, clone_function=unwrap)
    for layer in model.layers:
        if _is_pruned(layer):
            kernel, *bias = layer.layer.get_weights()
            ((_, mask, _),) = layer.pruning_vars  # tfmot applies it before each step, so not after the last one
            plain.get_layer(layer.layer.name).set_weights([kernel * mask.numpy(), *bias])
        elif layer.weights:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def sparsity_of(model: keras.Model) -> Sparsity:
    """Counts the zeros of a plain model, each kernel as often as a file has it (`number_of_kernels`)."""
    prunable = set(prunable_layers(model))
    kernels = [
        (model.get_layer(name).get_weights()[0], name in prunable)
        for name, copies in number_of_kernels(model).items()
        for _ in range(copies)
    ]
    return counted(kernels)


def _is_pruned(layer: keras.layers.Layer) -> bool:
    return type(layer).__name__ == "PruneLowMagnitude"


def _wrapper_name(name: str) -> str:
    return f"prune_low_magnitude_{name}"


Batches = Iterable[tuple[tf.Tensor, Mapping[str, tf.Tensor]]]
Losses = Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]

LARGEST = 0.97  # of one kernel: a convolution stays one, also where the loss of a few images says otherwise


def even_amounts(model: keras.Model, amount: float) -> dict[str, float]:
    """Returns {layer: the same share} for all prunable layers."""
    return dict.fromkeys(prunable_layers(model), amount)


def amounts_by_loss(model: keras.Model, amount: float, *, curvatures: Mapping[str, float]) -> dict[str, float]:
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


def loss_curvatures(model: keras.Model, names: Sequence[str], *, batches: Batches, losses: Losses) -> dict[str, float]:
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
