"""What a detector costs as a function of how many channels of each group it has, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.compress.channels.groups import ChannelGroup
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import convolution_work

# How many multiply-adds take as long as reading or writing one number. Least squares over nine prunings of the BCCD
# detector as float32 files with 2 threads on an AMD EPYC gave 16 (shortest runs) to 26 (median), 5 to 6 % off.
MOVED_NUMBER = 20.0

Term = tuple[float, np.ndarray, np.ndarray]
"""Factor, inputs and outputs: both as numbers `[1 + groups]`, those that are fixed and those for each group channel."""


@dataclass(frozen=True, eq=False)
class ChannelCost:
    """A sum of `factor x inputs x outputs`, where inputs and outputs of a term grow with the channels of the groups."""

    factors: np.ndarray  # [terms]
    inputs: np.ndarray  # [terms, 1 + groups]
    outputs: np.ndarray  # [terms, 1 + groups]

    def of(self, counts: np.ndarray) -> float:
        """Returns the cost with `counts` channels, `[groups]`."""
        every = np.concatenate([[1], counts])
        return float(self.factors @ ((self.inputs @ every) * (self.outputs @ every)))

    def saved(self, counts: np.ndarray, fewer: np.ndarray) -> np.ndarray:
        """Returns `[groups]`: what is saved by removing `fewer` channels, `[groups]`, from each group alone."""
        every = np.concatenate([[1], counts])
        inputs = (self.inputs @ every)[:, None] - self.inputs[:, 1:] * fewer
        outputs = (self.outputs @ every)[:, None] - self.outputs[:, 1:] * fewer
        return self.of(counts) - self.factors @ (inputs * outputs)


def multiply_add_cost(model: keras.Model, groups: Sequence[ChannelGroup]) -> ChannelCost:
    """Returns the cost that is `keras_retina.model.graph.multiply_adds` of the pruned model."""
    return _cost(_multiply_add_terms(model, groups))


def parameter_cost(model: keras.Model, groups: Sequence[ChannelGroup]) -> ChannelCost:
    """Returns the cost that is `count_params()` of the pruned model."""
    terms: list[Term] = []
    for layer in model.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if isinstance(layer, keras.layers.Conv2D):
            height, width, inputs, filters = shapes[0]
            outputs = _channels(layer.name, filters, groups=groups, role="producers")
            terms.append((height * width, _channels(layer.name, inputs, groups=groups, role="consumers"), outputs))
            terms += [(1, _one(groups), outputs) for _ in shapes[1:]]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            height, width, inputs, _ = shapes[0]
            channels = _channels(layer.name, inputs, groups=groups, role="between")
            terms.append((height * width + len(shapes) - 1, channels, _one(groups)))
        elif shapes:  # BatchNormalization: all its weights are [channels]
            channels = _channels(layer.name, shapes[0][0], groups=groups, role="between")
            terms.append((len(shapes), channels, _one(groups)))
    return _cost(terms)


def time_cost(model: keras.Model, groups: Sequence[ChannelGroup]) -> ChannelCost:
    """Returns an estimate of the time that a processor takes, in multiply-adds: theirs, and those for moving numbers.

    A depthwise convolution makes 9 multiply-adds for each number that it reads and writes, a 1x1 convolution hundreds:
    the first waits for memory. `MOVED_NUMBER` for each number that a convolution reads or writes makes up for it.
    """
    terms = _multiply_add_terms(model, groups)
    for work in convolution_work(model):
        _, _, inputs, outputs = work.kernel_shape
        if work.is_depthwise:
            channels = _channels(work.layer, inputs, groups=groups, role="between")
            terms.append((MOVED_NUMBER * (work.input_cells + work.output_cells), channels, _one(groups)))
        else:
            read = _channels(work.layer, inputs, groups=groups, role="consumers")
            made = _channels(work.layer, outputs, groups=groups, role="producers")
            terms.append((MOVED_NUMBER * work.input_cells, read, _one(groups)))
            terms.append((MOVED_NUMBER * work.output_cells, _one(groups), made))
    return _cost(terms)


def _multiply_add_terms(model: keras.Model, groups: Sequence[ChannelGroup]) -> list[Term]:
    terms: list[Term] = []
    for work in convolution_work(model):
        _, _, inputs, outputs = work.kernel_shape
        if work.is_depthwise:
            terms.append((work.taps, _channels(work.layer, inputs, groups=groups, role="between"), _one(groups)))
        else:
            read = _channels(work.layer, inputs, groups=groups, role="consumers")
            terms.append((work.taps, read, _channels(work.layer, outputs, groups=groups, role="producers")))
    return terms


def _cost(terms: list[Term]) -> ChannelCost:
    factors, inputs, outputs = zip(*terms, strict=True)
    return ChannelCost(np.array(factors, float), np.array(inputs), np.array(outputs))


def _channels(layer: str, channels: int, *, groups: Sequence[ChannelGroup], role: str) -> np.ndarray:
    """Returns how many channels of a layer are fixed and how many stand for each channel of a group."""
    places = [getattr(group, role).get(layer, np.zeros((0, 0))).shape[1] for group in groups]
    fixed = channels - sum(group.channels * count for group, count in zip(groups, places, strict=True))
    return np.array([fixed, *places])


def _one(groups: Sequence[ChannelGroup]) -> np.ndarray:
    return np.array([1, *[0] * len(groups)])
