"""A detector with fewer channels: an ordinary model whose layers keep their names and are narrower."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edge.compress.channels.cost import ChannelCost, multiply_add_cost, time_cost
from edge.compress.channels.groups import ChannelGroup, prune_groups
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.calls import rebuild
from keras_retina.model.graph import calls_of, output_places


def choose_channels(
    groups: Sequence[ChannelGroup],
    importance: Sequence[np.ndarray],
    *,
    cost: ChannelCost,
    target: float,
    multiple: int = 8,
    largest_share: float = 1.0,
    price: ChannelCost | None = None,
) -> list[np.ndarray]:
    """Returns which channels stay, bool `[channels]` for each group, for a cost of at most `target` of the whole.

    Again and again the step that loses least importance for what it saves is taken: the least important channels of
    one group, down to the next multiple. One step fewer would miss the target.

    Args:
        importance: `[channels]` for each group, comparable between groups (`edge.compress.channels.rank`).
        price: what steps are compared by, when that is not the cost itself: with `time_cost` here and multiply-adds as
            the cost, those multiply-adds go first that take most time.
        target: share of the cost that may be left, between 0 and 1.
        multiple: groups keep a multiple of it, or all; at least one multiple.
        largest_share: the largest share of its channels that a group may lose.

    Raises:
        InputError: a setting out of range, or a target below what is left when every group is at its smallest.
    """
    check_settings(target, multiple, largest_share=largest_share)
    path = removal_path(groups, importance, price=price or cost, multiple=multiple, largest_share=largest_share)
    shares = [cost.of(counts) / cost.of(path[0]) for counts in path]
    if shares[-1] > target:
        raise unreachable(target, shares[-1])
    return most_important(
        importance, next(counts for counts, share in zip(path, shares, strict=True) if share <= target)
    )


def removal_path(
    groups: Sequence[ChannelGroup],
    importance: Sequence[np.ndarray],
    *,
    price: ChannelCost,
    multiple: int,
    largest_share: float,
) -> list[np.ndarray]:
    """Returns the channel counts, int `[groups]`, after 0, 1, 2, ... steps, until every group is at its smallest."""
    counts = np.array([group.channels for group in groups])
    smallest = np.array([max(multiple, math.ceil((1 - largest_share) * count - 1e-9)) for count in counts])
    # lost[g][n]: the importance of all but the n most important channels of group g.
    lost = [np.concatenate([np.cumsum(np.sort(values))[::-1], [0.0]]) for values in importance]
    path = [counts]
    while True:
        lower = (counts - 1) // multiple * multiple
        possible = np.flatnonzero(lower >= smallest)
        if not possible.size:
            return path
        loses = np.array([lost[group][lower[group]] - lost[group][counts[group]] for group in possible])
        group = possible[np.argmin(loses / price.saved(counts, counts - lower)[possible])]
        counts = counts.copy()
        counts[group] = lower[group]
        path.append(counts)


def most_important(importance: Sequence[np.ndarray], counts: np.ndarray) -> list[np.ndarray]:
    """Returns bool `[channels]` for each group: which channels are its `counts` most important, the first of equals."""
    kept = []
    for values, count in zip(importance, counts.tolist(), strict=True):
        marks = np.zeros(len(values), bool)
        marks[np.argsort(-values, kind="stable")[:count]] = True
        kept.append(marks)
    return kept


def check_settings(target: float, multiple: int, *, largest_share: float) -> None:
    """Raises InputError for a setting out of its range."""
    if not 0 < target < 1:
        raise InputError(
            "channel pruning: expected target, the share of the cost that is left, between 0 and 1. "
            f"Received: target={target}. For half the cost: 0.5."
        )
    if multiple < 1:
        raise InputError(
            f"channel pruning: expected multiple of 1 or more. Received: multiple={multiple}. Kernels like 8."
        )
    if not 0 < largest_share <= 1:
        raise InputError(
            "channel pruning: expected largest_share, what a group may lose, above 0 and at most 1. "
            f"Received: largest_share={largest_share}. For no limit: 1."
        )


def unreachable(target: float, smallest: float) -> InputError:
    """Returns the error of a target that no choice of channels meets."""
    return InputError(
        f"channel pruning: expected a target of at least {math.ceil(1000 * smallest) / 1000}, what is left when every "
        f"group is at its smallest. Received: target={target}. Raise target or largest_share, or lower multiple."
    )


ImportanceOf = Callable[[keras.Model, list[ChannelGroup]], list[np.ndarray]]
CostOf = Callable[[keras.Model, list[ChannelGroup]], ChannelCost]

MEASURE_TOLERANCE = 0.02  # a measured share this far below its target is good enough


def keep_channels(model: keras.Model, groups: Sequence[ChannelGroup], *, kept: Sequence[np.ndarray]) -> keras.Model:
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
            outputs = _left(layer, layer.filters, cuts=made)
            config["filters"] = len(outputs)
            kernel = values[0][:, :, _left(layer, values[0].shape[2], cuts=read)]  # [height, width, inputs, outputs]
            values = [kernel[..., outputs], *(bias[outputs] for bias in values[1:])]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            channels = _left(layer, values[0].shape[2], cuts=passed)  # [height, width, channels, 1]
            values = [values[0][:, :, channels], *(bias[channels] for bias in values[1:])]
        elif isinstance(layer, keras.layers.BatchNormalization):
            channels = _left(layer, len(values[0]), cuts=passed)
            values = [value[channels] for value in values]
        elif isinstance(layer, keras.layers.Reshape) and any(layer.name in where for where, _ in passed):
            config["target_shape"] = (*layer.target_shape[:-1], len(_left(layer, layer.output_shape[-1], cuts=passed)))
        layers[layer.name], weights[layer.name] = type(layer).from_config(config), values
    tensors = {(name, 0): tensor for name, tensor in inputs.items()}
    rebuild(calls_of(model), tensors, layer_of=layers.__getitem__)
    heads = {name: tensors[place] for name, place in output_places(model).items()}
    pruned = keras.Model(list(inputs.values()), heads, name=model.name)
    for name, values in weights.items():
        pruned.get_layer(name).set_weights(values)
    return pruned


def choose_by_measurement(
    model: keras.Model,
    groups: Sequence[ChannelGroup],
    *,
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
    check_settings(target, multiple, largest_share=largest_share)
    path = removal_path(groups, importance, price=price, multiple=multiple, largest_share=largest_share)
    costs = np.array([price.of(counts) for counts in path])

    def share_of(step: int) -> float:
        candidate = keep_channels(model, groups, kept=most_important(importance, path[step]))
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
    *,
    importance_of: ImportanceOf,
    cost_of: CostOf = multiply_add_cost,
    price_of: CostOf = time_cost,
    measure: Callable[[keras.Model], float] | None = None,
    multiple: int = 8,
    largest_share: float = 1.0,
) -> keras.Model:
    """Returns a copy of the model with so few channels that its cost, or what `measure` says, is `target` of it.

    `importance_of` is a function of `rank.py`, its data bound by `functools.partial`; `cost_of`, what the
    target is a share of when nothing is measured, and `price_of`, what steps are compared by, are functions of
    `cost.py`. The other arguments and the errors are those of `choose_channels` and `choose_by_measurement`.
    """
    check_settings(target, multiple, largest_share=largest_share)
    groups = prune_groups(model)
    importance, price = importance_of(model, groups), price_of(model, groups)
    if measure is None:
        cost = cost_of(model, groups)
        kept = choose_channels(
            groups, importance, cost=cost, target=target, multiple=multiple, largest_share=largest_share, price=price
        )
    else:
        kept = choose_by_measurement(
            model,
            groups,
            importance=importance,
            price=price,
            measure=measure,
            target=target,
            multiple=multiple,
            largest_share=largest_share,
        )
    return keep_channels(model, groups, kept=kept)


def _left(
    layer: keras.layers.Layer, channels: int, *, cuts: list[tuple[dict[str, np.ndarray], np.ndarray]]
) -> np.ndarray:
    """Returns the indices of the channels of a layer that stay."""
    stays = np.ones(channels, bool)
    for places, marks in cuts:
        if layer.name in places:
            stays[places[layer.name][~marks]] = False
    return np.flatnonzero(stays)
