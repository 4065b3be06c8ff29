"""Which channels of a detector must be removed together, read off its graph.

A channel of an addition is one channel of each summand; a depthwise convolution and a BatchNorm pass channels on; a
head that is shared by the levels reads one set of channels from all of them. What depends on each other in this way is
found channel by channel, so that concatenations and branches that meet again need no rule of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.calls import Place
from keras_retina.model.graph import calls_of, output_places, shapes_of
from keras_retina.model.layers import LAYERS, role_of


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels of which any can be removed, each from all the layers here at once.

    The dictionaries tell, for each layer, where the channels of the group are among those of the layer: int
    `[channels, places]`, one place but in odd networks. `producers` are the Conv2D whose outputs they are, `consumers`
    the Conv2D whose inputs; `between` are the BatchNormalization, DepthwiseConv2D and Reshape layers that they pass.
    """

    channels: int
    producers: dict[str, np.ndarray]
    consumers: dict[str, np.ndarray]
    between: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """The first layer that makes these channels."""
        return next(iter(self.producers))


def prune_groups(model: keras.Model) -> list[ChannelGroup]:
    """Returns the groups of a flat functional detector in graph order. One that is left out of the list stays whole.

    The channels of the image and those that reach an output are in no group.

    Raises:
        InputError: a layer that cannot be pruned, named with its kind, or a model that is not flat and functional.
    """
    _check_layers(model)
    links = _linked_channels(model)
    fixed = {links.root(channel) for channels in links.fixed for channel in channels.tolist()}
    places: dict[int, dict[tuple[str, str], list[int]]] = {}  # of each channel that can go: (role, layer) -> places
    for role, layers in (("producers", links.made), ("consumers", links.read), ("between", links.passed)):
        for layer, channels in layers.items():
            for place, channel in enumerate(map(links.root, channels.tolist())):
                if channel not in fixed:
                    places.setdefault(channel, {}).setdefault((role, layer), []).append(place)
    alike: dict[tuple, list[dict[tuple[str, str], list[int]]]] = {}  # channels that are in the same layers
    for found in places.values():
        alike.setdefault(tuple((key, len(where)) for key, where in found.items()), []).append(found)
    return [_group(members) for members in alike.values()]


def _group(members: list[dict[tuple[str, str], list[int]]]) -> ChannelGroup:
    roles: dict[str, dict[str, np.ndarray]] = {"producers": {}, "consumers": {}, "between": {}}
    for role, layer in members[0]:
        roles[role][layer] = np.array([member[role, layer] for member in members])
    return ChannelGroup(len(members), **roles)


@dataclass
class _Links:
    """Channels as numbers, joined where one cannot go without the other, and those of each layer's weights."""

    parents: list[int] = field(default_factory=list)
    made: dict[str, np.ndarray] = field(default_factory=dict)
    read: dict[str, np.ndarray] = field(default_factory=dict)
    passed: dict[str, np.ndarray] = field(default_factory=dict)
    fixed: list[np.ndarray] = field(default_factory=list)

    def new(self, count: int) -> np.ndarray:
        first = len(self.parents)
        self.parents += range(first, first + count)
        return np.arange(first, first + count)

    def root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = channel = self.parents[self.parents[channel]]
        return channel

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        for first, second in zip(one.tolist(), other.tolist(), strict=True):
            self.parents[self.root(second)] = self.root(first)

    def share(self, layers: dict[str, np.ndarray], layer: str, *, channels: np.ndarray) -> None:
        """Notes the channels of a layer's weights; a second call of the layer has the same weights."""
        self.join(layers.setdefault(layer, channels), channels)


def _linked_channels(model: keras.Model) -> _Links:
    links, shapes = _Links(), shapes_of(model)
    channels: dict[Place, np.ndarray] = {}
    for name, number, inputs in calls_of(model):
        layer, read = model.get_layer(name), [channels[place] for place in inputs]
        count = cast(int, shapes[name, number][-1])  # a convolution has no unknown number of channels
        if not read:
            output = links.new(count)
            links.fixed.append(output)
        elif role_of(layer).prune == "producer":
            links.share(links.read, name, channels=read[0])
            output = links.made[name] if name in links.made else links.new(count)
            links.made[name] = output
        elif isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(shapes[name, number]) - 1):
            output = np.concatenate(read)
        elif isinstance(layer, keras.layers.Reshape) and count != shapes[inputs[0]][-1]:
            links.fixed.append(read[0])
            output = links.new(count)
            links.fixed.append(output)
        else:
            output = read[0]
            for other in read[1:]:
                links.join(output, other)
        if role_of(layer).prune == "between" and output is read[0]:
            links.share(links.passed, name, channels=output)
        if getattr(layer, "activation", None) is keras.activations.softmax:
            links.fixed.append(output)  # each of its outputs depends on all of its inputs
        channels[name, number] = output
    links.fixed += [channels[place] for place in output_places(model).values()]
    return links


def _check_layers(model: keras.Model) -> None:
    if not isinstance(model, keras.Model) or not model._is_graph_network or not isinstance(model.output, dict):
        raise InputError(
            "channel pruning: expected a functional Keras model with a dictionary of outputs. "
            f"Received: {type(model).__name__}. Build the model with keras_retina.model.retinanet."
        )
    for layer, problem, advice in _problems(model):
        kinds = ", ".join(kind.__name__ for kind, role in LAYERS.items() if role.prune is not None)
        raise InputError(
            f"channel pruning: expected layers of the kinds {kinds}. "
            f"Received: layer {layer.name!r} of kind {type(layer).__name__}{problem}. {advice}"
        )


def _problems(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, str, str]]:
    """Yields each layer that cannot be pruned, what about it beside its kind, and what to do."""
    for layer in model.layers:
        if role_of(layer).prune is None:
            if isinstance(layer, keras.layers.Wrapper) or "quantiz" in type(layer).__name__.lower():
                advice = "Prune channels before layers are wrapped for quantization or sparsity."
            else:
                advice = "Build the layer from these kinds."
            yield layer, "", advice
        elif getattr(layer, "data_format", "channels_last") != "channels_last":
            yield layer, f" with data_format={layer.data_format!r}", "Use data_format='channels_last'."
        elif getattr(layer, "groups", 1) != 1:
            yield layer, f" with groups={layer.groups}", "Use groups=1, or a DepthwiseConv2D."
        elif getattr(layer, "depth_multiplier", 1) != 1:
            yield layer, f" with depth_multiplier={layer.depth_multiplier}", "Use depth_multiplier=1."
        elif isinstance(layer, keras.layers.BatchNormalization) and list(layer.axis) != [layer.input_spec.ndim - 1]:
            yield layer, f" over axis {list(layer.axis)}", "Normalise the last axis."
        elif isinstance(layer, keras.layers.Add) and len({s[-1] for s in _input_shapes(layer)}) != 1:
            yield layer, f" of shapes {_input_shapes(layer)}", "Add maps with the same number of channels."


def _input_shapes(layer: keras.layers.Layer) -> list[tuple[int | None, ...]]:
    return [tuple(shape) for node in range(len(layer.inbound_nodes)) for shape in layer.get_input_shape_at(node)]
