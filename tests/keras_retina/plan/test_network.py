"""Input, levels and frozen stages follow from the sizes of images and objects, and stay within every bound."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.plan.network import (
    LEAST_INPUT,
    MOST_DEVICE_INPUT,
    MOST_ENLARGED,
    SMALL_SIDE,
    Candidate,
    Size,
    frozen_stages,
    input_and_levels,
    levels_for,
    levels_for_size,
    nearest_size,
    network,
    wanted_aspect,
    wanted_side,
)
from keras_retina.plan.wishes import Wishes


def test_the_smallest_tenth_of_the_objects_gets_its_pixels(facts):
    """At 0.06 of the image, 20 px need a side of 333; the other objects need less."""
    small = facts(sides=(0.03, 0.06, 0.3, 0.5, 0.6), class_sides={"cup": 0.3})
    side, why = wanted_side(small, Wishes())
    assert side == pytest.approx(SMALL_SIDE / 0.06)
    assert "smallest tenth" in why


def test_the_class_with_the_smallest_objects_can_decide(facts):
    side, why = wanted_side(facts(class_sides={"cup": 0.3, "nail": 0.08}), Wishes())
    assert side == pytest.approx(32 / 0.08)
    assert "'nail'" in why


def test_large_objects_get_the_least_input_and_small_images_are_not_blown_up(facts):
    large = {"sides": (0.5, 0.6, 0.7, 0.8, 0.9), "class_sides": {"cup": 0.7}}
    for objective, least in LEAST_INPUT.items():
        assert wanted_side(facts(**large), Wishes(objective=objective))[0] == least
    side, why = wanted_side(facts(**large, image_side=100.0), Wishes())
    assert side == MOST_ENLARGED * 100
    assert "enlarge" in why


@pytest.mark.parametrize("target", ["phone", "pi", "coral", "browser"])
def test_a_device_bounds_the_input_unless_the_best_is_wished(facts, target):
    tiny = facts(sides=(0.01, 0.02, 0.05, 0.1, 0.2))
    assert wanted_side(tiny, Wishes(target=target))[0] == MOST_DEVICE_INPUT
    assert wanted_side(tiny, Wishes(target=target, objective="best"))[0] > MOST_DEVICE_INPUT


@pytest.mark.parametrize(
    ("aspect", "spread", "expected"), [(1.33, 1.0, 1.33), (1.33, 1.5, 1.0), (5.0, 1.1, 2.0), (0.2, 1.1, 0.5)]
)
def test_images_that_agree_give_the_aspect(facts, aspect, spread, expected):
    assert wanted_aspect(facts(aspect=aspect, aspect_spread=spread))[0] == expected


@settings(deadline=None)
@given(
    side=st.floats(64, 1000),
    aspect=st.floats(0.5, 2),
    step=st.sampled_from([32, 64, 128]),
)
def test_sizes_are_multiples_and_within_a_step_of_what_is_wanted(side, aspect, step):
    size = nearest_size(side, aspect, step=step)
    assert size.height % step == size.width % step == 0
    assert abs(size.height - side / math.sqrt(aspect)) < max(step, 1e-6) or size.height == step
    assert abs(size.width - side * math.sqrt(aspect)) < max(step, 1e-6) or size.width == step


def test_a_bound_is_kept_where_a_multiple_allows_it():
    assert nearest_size(410.0, 4 / 3, step=32, most=416.0).side <= 416
    assert nearest_size(10.0, 1.0, step=64, most=10.0) == Size(64, 64)  # nothing smaller exists


@pytest.mark.parametrize(
    ("smallest", "largest", "side", "expected"),
    [
        (0.05, 0.5, 320, (3, 5)),  # 16 to 160 px
        (0.2, 0.5, 320, (4, 5)),  # 64 px are beyond level 3
        (0.05, 0.9, 320, (3, 6)),  # 288 px are more than 6 x 32
        (0.05, 0.9, 640, (3, 7)),  # 576 px are more than 6 x 64
    ],
)
def test_levels_cover_the_objects(facts, smallest, largest, side, expected):
    assert levels_for(facts(sides=(smallest, 0.2, 0.3, 0.4, largest)), side) == expected


def test_the_last_level_divides_the_input(facts):
    large = facts(sides=(0.05, 0.2, 0.3, 0.8, 0.95))
    assert levels_for_size(large, Size(320, 320)) == (3, 6)
    assert levels_for_size(large, Size(352, 320)) == (3, 5)


@pytest.mark.parametrize("objective", [None, "smallest", "fastest", "best"])
@pytest.mark.parametrize("aspect", [0.3, 1.0, 3.0])
def test_frigate_gets_the_input_of_its_own_models(facts, objective, aspect):
    wishes = Wishes(target="frigate", objective=objective)
    for sides in ((0.01, 0.02, 0.05, 0.1, 0.2), (0.5, 0.6, 0.7, 0.8, 0.9)):
        size, levels, _ = input_and_levels(facts(sides=sides, aspect=aspect, aspect_spread=1.0), wishes)
        assert (size, levels[1]) in ((Size(320, 320), 5), (Size(320, 320), 6))  # level 7 does not divide 320


@settings(deadline=None)
@given(
    sides=st.lists(st.floats(0.005, 1), min_size=5, max_size=5).map(sorted),
    image_side=st.floats(50, 5000),
    aspect=st.floats(0.2, 5),
    spread=st.floats(1, 4),
    target=st.sampled_from([None, "phone", "pi", "coral", "browser", "frigate"]),
    objective=st.sampled_from([None, "smallest", "fastest", "best"]),
)
def test_any_data_give_a_network_that_the_recipe_accepts(facts, sides, image_side, aspect, spread, target, objective):
    changed = facts(
        sides=tuple(sides), image_side=image_side, aspect=aspect, aspect_spread=spread, class_sides={"a": None}
    )
    size, levels, _ = input_and_levels(changed, Wishes(target=target, objective=objective))
    made = network(Candidate(size, levels, "mobilenet_v2", 96, 3), frozen=2)
    assert made.input.height % 2 ** levels[1] == 0


@pytest.mark.parametrize(("images", "frozen"), [(30, 3), (299, 3), (300, 2), (2999, 2), (3000, 0)])
def test_few_images_freeze_more_stages(facts, images, frozen):
    assert frozen_stages(facts(images=images), Wishes())[0] == frozen


def test_a_short_time_keeps_early_stages_frozen(facts):
    assert frozen_stages(facts(images=10_000), Wishes(minutes=20))[0] == 2
