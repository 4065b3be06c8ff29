"""Gives the channels of linear feature maps similar ranges, so that one int8 scale for all of them wastes less.

A linear bottleneck of MobileNetV2 has channels of range 30 next to channels of range 2; in int8 both get the step of
the first. Dividing a channel by s in the layer that makes it, and multiplying by s the weights that read it, changes
nothing in float. Channels behind a ReLU6 and the two outputs cannot be scaled and are left alone.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.1; for the
balance between activations and weights Xiao et al., SmoothQuant, equation 4 with alpha 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.layers import role_of

BALANCE = 0.5
LARGEST_FACTOR = 64.0
_READING = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclass
class ChannelGroup:
    """Feature maps whose channels must be scaled together, the layers that make them and those that read them."""

    tensors: list[Any] = field(default_factory=list)
    makers: list[keras.layers.Layer] = field(default_factory=list)
    readers: list[keras.layers.Layer] = field(default_factory=list)


def equalized(model: keras.Model, samples: Iterable[list[np.ndarray]]) -> keras.Model:
    """Returns a copy of a flat functional model that computes the same, with channels of balanced ranges.

    `samples` are calibration inputs, each `[float32 [1, H, W, 3]]`; a few are enough, they only give the ranges.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    groups = channel_groups(copy)
    if not groups:
        return copy
    probe = tf.function(keras.Model(copy.input, [group.tensors for group in groups]))
    ranges = [np.zeros(1)] * len(groups)
    for (image,) in samples:
        for index, maps in enumerate(probe(tf.constant(image), training=False)):
            largest = [np.abs(one).max(axis=(0, 1, 2)) for one in maps]
            ranges[index] = np.maximum(ranges[index], np.max(largest, axis=0))
    for group, channel_ranges in zip(groups, ranges, strict=True):
        factors = _factors(channel_ranges, group.readers)
        for layer in group.makers:
            _divide_outputs(layer, factors)
        for layer in group.readers:
            _multiply_inputs(layer, factors)
    return copy


class _Maps:
    """Feature maps by identity: which have the same channels, who makes and reads them, and which must stay as is."""

    def __init__(self, model: keras.Model) -> None:
        self.tensors: dict[int, Any] = {}
        self.readers: dict[int, list[keras.layers.Layer]] = {}
        self.makers: dict[int, list[keras.layers.Layer]] = {}
        self.stuck = {id(tensor) for tensor in tf.nest.flatten(model.outputs)}
        self._parent: dict[int, int] = {}
        # What lies between a convolution and its BatchNorm vanishes when the two are folded.
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        self._inner = {id(layer.get_input_at(0)) for layer in norms}

    def root(self, key: int) -> int:
        while self._parent.setdefault(key, key) != key:
            key = self._parent[key]
        return key

    def join(self, keys: list[int]) -> None:
        for key in keys:
            self._parent[self.root(key)] = self.root(keys[0])

    def keys_of(self, values: Any) -> list[int]:
        flat = [value for value in tf.nest.flatten(values) if id(value) not in self._inner]
        self.tensors.update((id(value), value) for value in flat)
        return [id(value) for value in flat]

    def add(self, layer: keras.layers.Layer) -> None:
        calls = range(len(layer.inbound_nodes))
        inputs = [self.keys_of(layer.get_input_at(call)) for call in calls]
        outputs = [self.keys_of(layer.get_output_at(call)) for call in calls]
        if role_of(layer).keeps_scale:
            for call in calls:
                self.join([*inputs[call], *outputs[call]])
            return
        # A layer that is shared by several levels reads all its inputs, and writes all its outputs, with one kernel.
        all_inputs, all_outputs = sum(inputs, []), sum(outputs, [])
        self.join(all_inputs)
        self.join(all_outputs)
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        # A grouped kernel has not one place for each input channel.
        if isinstance(layer, _READING) and getattr(layer, "groups", 1) == 1:
            for key in all_inputs[:1]:
                self.readers.setdefault(key, []).append(layer)
        elif not is_norm:
            self.stuck.update(all_inputs)
        if is_norm or (isinstance(layer, _READING) and layer.activation is keras.activations.linear):
            for key in all_outputs[:1]:
                self.makers.setdefault(key, []).append(layer)
        else:
            self.stuck.update(all_outputs)

    def groups(self) -> list[ChannelGroup]:
        stuck = {self.root(key) for key in self.stuck if key in self._parent}
        groups: dict[int, ChannelGroup] = {}
        for key in list(self._parent):
            if self.root(key) not in stuck:
                group = groups.setdefault(self.root(key), ChannelGroup())
                group.tensors.append(self.tensors[key])
                group.makers += self.makers.get(key, [])
                group.readers += self.readers.get(key, [])
        return [group for group in groups.values() if group.makers and group.readers]


def channel_groups(model: keras.Model) -> list[ChannelGroup]:
    """Returns the groups whose channels can be scaled: linear on the side that makes them, convolutions that read them.

    The model must be a fresh copy: calls of its layers that belong to other models would be counted as well.
    """
    maps = _Maps(model)
    for layer in model.layers:
        maps.add(layer)
    return maps.groups()


def _factors(ranges: np.ndarray, readers: list[keras.layers.Layer]) -> np.ndarray:
    ranges = np.maximum(ranges, 1e-6 * max(float(ranges.max()), 1e-6))
    factors = ranges  # depthwise weights have a scale per channel: nothing speaks against equal ranges
    dense = [layer for layer in readers if not isinstance(layer, keras.layers.DepthwiseConv2D)]
    if dense:
        weights = np.max([_largest_weights(layer) for layer in dense], axis=0)
        weights = np.maximum(weights, 1e-6 * weights.max())
        factors = ranges**BALANCE / weights ** (1 - BALANCE)
    factors = factors / np.exp(np.mean(np.log(factors)))
    return np.clip(factors, 1 / LARGEST_FACTOR, LARGEST_FACTOR)


def _largest_weights(layer: keras.layers.Layer) -> np.ndarray:
    """Returns the largest weight of each input channel, where each output channel is scaled to a largest of 1."""
    kernel = np.abs(layer.get_weights()[0])  # [height, width, inputs, outputs]
    return (kernel / np.maximum(kernel.max(axis=(0, 1, 2)), 1e-12)).max(axis=(0, 1, 3))


def _divide_outputs(layer: keras.layers.Layer, factors: np.ndarray) -> None:
    weights = layer.get_weights()
    if isinstance(layer, keras.layers.BatchNormalization):
        weights[0], weights[1] = weights[0] / factors, weights[1] / factors  # gamma, beta
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        weights = [weights[0] / factors[:, None], *(bias / factors for bias in weights[1:])]
    else:
        weights = [value / factors for value in weights]
    layer.set_weights(weights)


def _multiply_inputs(layer: keras.layers.Layer, factors: np.ndarray) -> None:
    weights = layer.get_weights()
    layer.set_weights([weights[0] * factors[:, None], *weights[1:]])


def cluster_indices(kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns int32 indices, the same for equal weights and 0 for zeros, and how many different ones there can be."""
    values, inverse = np.unique(kernel[kernel != 0], return_inverse=True)
    indices = np.zeros(kernel.shape, np.int32)
    indices[kernel != 0] = inverse + 1
    return indices, len(values) + 1


def is_clustered(kernel: np.ndarray) -> bool:
    """Tells whether each value of a kernel stands for several weights; kernels that were not clustered have few such.

    The zeros of a sparse kernel do not count.
    """
    _, number = cluster_indices(kernel)
    return number <= int(np.count_nonzero(kernel)) // 2


def has_clusters(model: keras.Model) -> bool:
    """Tells whether a plain model has a clustered kernel."""
    kernels = [layer.get_weights()[0] for layer in model.layers if type(layer) is keras.layers.Conv2D]
    return any(is_clustered(kernel) for kernel in kernels)
