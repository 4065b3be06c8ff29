"""A detector with fewer channels: an ordinary model whose layers keep their names and are narrower."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge.compress.channels.choose import check_settings, choose_channels, most_important, removal_path, unreachable
from edge.compress.channels.cost import ChannelCost, multiply_add_cost, time_cost
from edge.compress.channels.groups import ChannelGroup, prune_groups
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import calls_of, output_places, rebuild

ImportanceOf = Callable[[keras.Model, list[ChannelGroup]], list[np.ndarray]]
CostOf = Callable[[keras.Model, list[ChannelGroup]], ChannelCost]

MEASURE_TOLERANCE = 0.02  # a measured share this far below its target is good enough


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


def choose_by_measurement(
    model: keras.Model,
    groups: Sequence[ChannelGroup],
    importance: Sequence[np.ndarray],
    price: ChannelCost,
    measure: Callable[[keras.Model], float],
    target: float,
    multiple: int = 8,
    largest_share: float = 1.0,
    measurements: int = 6,
) -> list[np.ndarray]:
    """Returns what `choose_channels` returns, for a target on something that takes long to find out, as latency does.

    The steps are those of `choose_channels` for `price`; how many of them is found by at most `measurements` pairs of
    `measure`, of the candidate and of the whole model right after. Each pair gives a share, so that what slows a
    machine for minutes slows both.

    Raises:
        InputError: as `choose_channels`, with the measured smallest share.
    """
    check_settings(target, multiple, largest_share)
    path = removal_path(groups, importance, price, multiple, largest_share)
    costs = np.array([price.of(counts) for counts in path])

    def share_of(step: int) -> float:
        candidate = keep_channels(model, groups, most_important(importance, path[step]))
        return measure(candidate) / measure(model)

    low, high = 0, len(path) - 1  # low misses the target, high meets it
    low_share, high_share = 1.0, share_of(high)
    if high_share > target:
        raise unreachable(target, high_share)
    for _ in range(measurements - 1):
        if high - low <= 1 or high_share >= target - MEASURE_TOLERANCE:
            break
        # Between two measured steps the share is taken to fall as the cost does.
        ratio = (low_share - target) / (low_share - high_share)
        wanted = costs[low] - ratio * (costs[low] - costs[high])
        step = int(np.clip(np.searchsorted(-costs, -wanted), low + 1, high - 1))
        share = share_of(step)
        if share <= target:
            high, high_share = step, share
        else:
            low, low_share = step, share
    return most_important(importance, path[high])


def prune_to(
    model: keras.Model,
    target: float,
    importance_of: ImportanceOf,
    cost_of: CostOf = multiply_add_cost,
    price_of: CostOf = time_cost,
    measure: Callable[[keras.Model], float] | None = None,
    multiple: int = 8,
    largest_share: float = 1.0,
) -> keras.Model:
    """Returns a copy of the model with so few channels that its cost, or what `measure` says, is `target` of it.

    `importance_of` is a function of `edge.compress.channels.rank`, its data bound by `functools.partial`; `cost_of`, what the
    target is a share of when nothing is measured, and `price_of`, what steps are compared by, are functions of
    `edge.compress.channels.cost`. The other arguments and the errors are those of `choose_channels` and `choose_by_measurement`.
    """
    check_settings(target, multiple, largest_share)
    groups = prune_groups(model)
    importance, price = importance_of(model, groups), price_of(model, groups)
    if measure is None:
        cost = cost_of(model, groups)
        kept = choose_channels(groups, importance, cost, target, multiple, largest_share, price)
    else:
        kept = choose_by_measurement(model, groups, importance, price, measure, target, multiple, largest_share)
    return keep_channels(model, groups, kept)


def _left(layer: keras.layers.Layer, channels: int, cuts: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> np.ndarray:
    """Returns the indices of the channels of a layer that stay."""
    stays = np.ones(channels, bool)
    for places, marks in cuts:
        if layer.name in places:
            stays[places[layer.name][~marks]] = False
    return np.flatnonzero(stays)
