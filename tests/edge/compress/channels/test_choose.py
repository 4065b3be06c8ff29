"""The cost as a function of channel counts, and the choice of what to remove."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.channels.cost import MOVED_NUMBER, ChannelCost, multiply_add_cost, parameter_cost, time_cost
from edge.compress.channels.groups import ChannelGroup, prune_groups
from edge.compress.channels.prune import choose_channels, keep_channels, most_important, removal_path
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import convolution_work, multiply_adds
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model


@pytest.fixture(scope="module")
def detector() -> keras.Model:
    untrained = {"weights": "none", "frozen_stages": 0, "batch_norm": "trained"}
    settings = {
        "backbone": {"name": "mobilenet_v2", "alpha": 0.35, **untrained},
        "input": {"height": 64, "width": 64},
        "pyramid": {"levels": [4, 6], "width": 24},
        "head": {"width": 16, "convolutions": 1, "convolution": "full"},
    }
    return detector_network(Model.model_validate(settings), 2)


@pytest.fixture(scope="module")
def groups(detector) -> list[ChannelGroup]:
    return prune_groups(detector)


def group_of(channels: int) -> ChannelGroup:
    return ChannelGroup(channels, {f"layer_{channels}": np.arange(channels)[:, None]}, {}, {})


def linear_cost(*prices: float) -> ChannelCost:
    """Each channel of group i costs `prices[i]`, and 10 are fixed."""
    count = len(prices)
    return ChannelCost(np.ones(1), np.array([[10.0, *prices]]), np.array([[1.0, *[0.0] * count]]))


def test_costs_are_those_of_the_model_that_is_built(detector, groups):
    random = np.random.default_rng(0)
    kept = [random.permutation(group.channels) < random.integers(1, group.channels + 1) for group in groups]
    counts = np.array([marks.sum() for marks in kept])
    pruned = keep_channels(detector, groups, kept=kept)
    for cost, measure in ((multiply_add_cost, multiply_adds), (parameter_cost, keras.Model.count_params)):
        function = cost(detector, groups)
        assert function.of(np.array([group.channels for group in groups])) == measure(detector)
        assert function.of(counts) == measure(pruned)


def test_the_time_cost_adds_the_numbers_that_are_moved():
    image = keras.Input((8, 8, 3))
    one = keras.layers.DepthwiseConv2D(3, 2, padding="same")(keras.layers.Conv2D(16, 1)(image))
    model = keras.Model(image, {"out": keras.layers.Conv2D(2, 1)(one)})
    cost = time_cost(model, prune_groups(model))
    for channels in (16, 5):
        moved = 64 * (3 + channels) + (64 + 16) * channels + 16 * (channels + 2)
        computed = 64 * 3 * channels + 16 * 9 * channels + 16 * channels * 2
        assert cost.of(np.array([channels])) == computed + MOVED_NUMBER * moved


def test_savings_are_differences_of_costs(detector, groups):
    counts = np.array([group.channels for group in groups])
    fewer = np.arange(len(groups)) % 5 + 1
    for cost in (multiply_add_cost(detector, groups), parameter_cost(detector, groups)):
        expected = [cost.of(counts) - cost.of(counts - one * fewer) for one in np.eye(len(groups), dtype=int)]
        np.testing.assert_allclose(cost.saved(counts, fewer), expected)
        assert min(expected) > 0


def test_the_least_important_channels_for_what_they_cost_go_first():
    importance = [np.array([4.0, 1.0, 4.0, 1.0]), np.array([3.0, 3.0, 0.1, 3.0])]
    # Steps of 2: two ones for 2 a channel (0.5), or 3.1 for 10 a channel (0.155), then 6 for 10 a channel.
    path = removal_path(
        [group_of(4), group_of(4)], importance, price=linear_cost(2.0, 10.0), multiple=2, largest_share=1.0
    )
    assert [counts.tolist() for counts in path] == [[4, 4], [4, 2], [2, 2]]
    kept = choose_channels([group_of(4), group_of(4)], importance, cost=linear_cost(2.0, 10.0), target=0.7, multiple=2)
    assert [marks.tolist() for marks in kept] == [[True] * 4, [True, True, False, False]]


def test_steps_are_compared_by_their_price_and_end_at_the_cost():
    pair, importance = [group_of(4), group_of(4)], [np.ones(4), np.ones(4)]
    cost, price = linear_cost(1.0, 3.0), linear_cost(3.0, 1.0)
    # By cost the second group goes first: 26 - 2 x 3 = 20. By price the first does, 26 - 2 x 1 = 24, and then both.
    assert [marks.sum() for marks in choose_channels(pair, importance, cost=cost, target=0.8, multiple=2)] == [4, 2]
    assert [
        marks.sum() for marks in choose_channels(pair, importance, cost=cost, target=0.8, multiple=2, price=price)
    ] == [2, 2]


def test_one_step_fewer_would_miss_the_target(detector, groups):
    random = np.random.default_rng(1)
    importance = [random.uniform(0.5, 1.5, group.channels) for group in groups]
    for cost in (multiply_add_cost(detector, groups), parameter_cost(detector, groups)):
        path = removal_path(groups, importance, price=cost, multiple=8, largest_share=1.0)
        counts = np.array([marks.sum() for marks in choose_channels(groups, importance, cost=cost, target=0.5)])
        step = next(index for index, other in enumerate(path) if (other == counts).all())
        assert cost.of(path[step]) <= 0.5 * cost.of(path[0]) < cost.of(path[step - 1])


def test_groups_keep_a_multiple_of_8_and_never_nothing(detector, groups):
    importance = [np.ones(group.channels) for group in groups]
    cost = multiply_add_cost(detector, groups)
    smallest = cost.of(np.full(len(groups), 8)) / multiply_adds(detector)
    for target in (0.5, smallest):
        counts = [int(marks.sum()) for marks in choose_channels(groups, importance, cost=cost, target=target)]
        assert all(count % 8 == 0 and count >= 8 for count in counts)
    assert set(counts) == {8}


def test_a_group_that_is_no_multiple_stays_whole_or_becomes_one():
    importance = [np.arange(12.0), np.arange(5.0)]
    path = removal_path(
        [group_of(12), group_of(5)], importance, price=linear_cost(1.0, 1.0), multiple=8, largest_share=1.0
    )
    assert [counts.tolist() for counts in path] == [[12, 5], [8, 5]]


def test_no_group_loses_more_than_the_largest_share(detector, groups):
    importance = [np.ones(group.channels) for group in groups]
    worthless = next(index for index, group in enumerate(groups) if group.channels == 48)
    importance[worthless] *= 1e-3
    cost = multiply_add_cost(detector, groups)
    kept = choose_channels(groups, importance, cost=cost, target=0.6, largest_share=0.5)
    assert all(marks.mean() >= 0.5 for marks in kept)
    assert kept[worthless].sum() == 24
    assert choose_channels(groups, importance, cost=cost, target=0.6)[worthless].sum() == 8


def test_the_first_of_equally_important_channels_stay():
    assert most_important([np.array([1.0, 2.0, 1.0, 1.0])], np.array([3]))[0].tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 0.0}, "between 0 and 1. Received: target=0.0. For half the cost: 0.5"),
        ({"target": 1.0}, "between 0 and 1. Received: target=1.0"),
        ({"target": float("nan")}, "between 0 and 1. Received: target=nan"),
        ({"target": 0.5, "multiple": 0}, "Received: multiple=0"),
        ({"target": 0.5, "largest_share": 0.0}, "Received: largest_share=0.0"),
        # 2 of 4 and 2 of 4 channels at least: (10 + 2 x 1 + 2 x 3) / (10 + 4 x 1 + 4 x 3) = 18 / 26
        ({"target": 0.5, "multiple": 2}, "at least 0.693, .* smallest. Received: target=0.5. Raise target or"),
    ],
)
def test_impossible_settings_are_refused_with_what_is_possible(arguments, message):
    groups, importance = [group_of(4), group_of(4)], [np.ones(4), np.ones(4)]
    with pytest.raises(InputError, match=message):
        choose_channels(groups, importance, cost=linear_cost(1.0, 3.0), **arguments)


def test_the_smallest_share_of_the_message_can_be_reached():
    groups, importance = [group_of(4), group_of(4)], [np.ones(4), np.ones(4)]
    assert [
        marks.sum()
        for marks in choose_channels(groups, importance, cost=linear_cost(1.0, 3.0), target=0.693, multiple=2)
    ] == [2, 2]


def test_no_groups_cannot_be_pruned():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, {"out": keras.layers.Conv2D(2, 1)(image)})
    assert convolution_work(model)[0].multiply_adds == 96
    with pytest.raises(InputError, match="at least 1.0"):
        choose_channels([], [], cost=multiply_add_cost(model, []), target=0.5)
