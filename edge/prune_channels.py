"""A detector with fewer channels: an ordinary model whose layers keep their names and are narrower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.prune_groups import ChannelGroup
from keras_retina.errors import InputError
from keras_retina.legacy_keras import keras
from keras_retina.model.graph import calls_of, output_places, rebuild


def keep_channels(model: keras.Model, groups: Sequence[ChannelGroup], kept: Sequence[np.ndarray]) -> keras.Model:
    """Returns a copy of the model in which only the channels of the groups that `kept` marks are left.

    Layers keep their names, order, settings and `trainable` flags; the weights are copies.

    Args:
        kept: for each group, bool `[channels]`.

    Raises:
        InputError: a group would lose all of its channels.
    """
    for group, marks in zip(groups, kept, strict=True):
        if not marks.any():
            raise InputError(
                f"channel pruning: expected channels of {group.name!r} to stay. "
                f"Received: 0 of {group.channels}. Keep at least one."
            )
    inputs = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}
    made = [(group.producers, marks) for group, marks in zip(groups, kept, strict=True)]
    read = [(group.consumers, marks) for group, marks in zip(groups, kept, strict=True)]
    passed = [(group.between, marks) for group, marks in zip(groups, kept, strict=True)]
    layers: dict[str, keras.layers.Layer] = {}
    weights: dict[str, list[np.ndarray]] = {}
    for layer in model.layers:
        config, values = layer.get_config(), layer.get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            outputs = _left(layer, layer.filters, made)
            config["filters"] = len(outputs)
            kernel = values[0][:, :, _left(layer, values[0].shape[2], read)]  # [height, width, inputs, outputs]
            values = [kernel[..., outputs], *(bias[outputs] for bias in values[1:])]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            channels = _left(layer, values[0].shape[2], passed)  # [height, width, channels, 1]
            values = [values[0][:, :, channels], *(bias[channels] for bias in values[1:])]
        elif isinstance(layer, keras.layers.BatchNormalization):
            channels = _left(layer, len(values[0]), passed)
            values = [value[channels] for value in values]
        elif isinstance(layer, keras.layers.Reshape) and any(layer.name in where for where, _ in passed):
            config["target_shape"] = (*layer.target_shape[:-1], len(_left(layer, layer.output_shape[-1], passed)))
        layers[layer.name], weights[layer.name] = type(layer).from_config(config), values
    tensors = {(name, 0): tensor for name, tensor in inputs.items()}
    rebuild(calls_of(model), tensors, layers.__getitem__)
    heads = {name: tensors[place] for name, place in output_places(model).items()}
    pruned = keras.Model(list(inputs.values()), heads, name=model.name)
    for name, values in weights.items():
        pruned.get_layer(name).set_weights(values)
    return pruned


def _left(layer: keras.layers.Layer, channels: int, cuts: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> np.ndarray:
    """Returns the indices of the channels of a layer that stay."""
    stays = np.ones(channels, bool)
    for places, marks in cuts:
        if layer.name in places:
            stays[places[layer.name][~marks]] = False
    return np.flatnonzero(stays)
