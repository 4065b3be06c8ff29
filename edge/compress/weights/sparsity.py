"""Magnitude pruning of single weights with tfmot: zeros that stay in the int8 file and make it compress better.

Pruned are the kernels of ordinary convolutions, 1x1 and 3x3, where nearly all weights are. Left alone are depthwise
kernels (a hundredth of the weights, nine to a channel), the stem (all features come through its few hundred weights)
and the two layers that predict classes and boxes, whose errors no later layer makes up for. Kernels of int8 multiply
zeros like other weights: the file gets smaller in a zip, not faster.

Source: Zhu and Gupta, To Prune, or Not to Prune, section 3 (the cubic schedule).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import tensorflow_model_optimization as tfmot

from edge.quantize.batch_norm import CONVOLUTIONS, check_is_flat, number_of_kernels, readers_of
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import Place, calls_of, output_places

Pattern = Literal["unstructured", "2_of_4"]

FREQUENCY = 10  # steps between two choices of the weights that go


@dataclass(frozen=True)
class Sparsity:
    """How many weights are zero: of those that pruning may take, and of the kernels of all convolutions."""

    prunable_zeros: int
    prunable: int
    zeros: int
    weights: int

    @property
    def share(self) -> float:
        """Zeros among the prunable weights, 0 to 1."""
        return self.prunable_zeros / max(1, self.prunable)

    @property
    def total_share(self) -> float:
        """Zeros among the weights of all convolutions, 0 to 1."""
        return self.zeros / max(1, self.weights)


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


def sparse_model(
    model: keras.Model, amounts: Mapping[str, float], begin_step: int, end_step: int, pattern: Pattern = "unstructured"
) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """Returns a copy whose `fit` sets the smallest weights to zero, and the callbacks that this `fit` needs.

    From `begin_step` to `end_step` the share of zeros in a kernel grows fast at first and then slowly to its amount;
    after it the choice is final. Pruned layers learn even if they were frozen: they must make up for what they lose.
    Call `strip` afterwards.

    Args:
        amounts: {layer: share of the weights of its kernel, 0 to below 1} (`edge.compress.weights.sparsity_amounts`); other layers and
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


def counted(kernels: list[tuple[np.ndarray, bool]]) -> Sparsity:
    """Counts the zeros of kernels, each with whether it is prunable."""
    zeros = [int(kernel.size - np.count_nonzero(kernel)) for kernel, _ in kernels]
    return Sparsity(
        prunable_zeros=sum(number for number, (_, prunable) in zip(zeros, kernels, strict=True) if prunable),
        prunable=sum(kernel.size for kernel, prunable in kernels if prunable),
        zeros=sum(zeros),
        weights=sum(kernel.size for kernel, _ in kernels),
    )


def _is_pruned(layer: keras.layers.Layer) -> bool:
    return type(layer).__name__ == "PruneLowMagnitude"


def _wrapper_name(name: str) -> str:
    return f"prune_low_magnitude_{name}"
