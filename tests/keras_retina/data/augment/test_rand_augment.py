"""Colour operations: the strength 0 changes nothing, sizes stay, the generator decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_retina.data.augment import pictures as module
from keras_retina.data.augment.pictures import OPERATIONS, rand_augment

IMAGE = np.random.default_rng(0).integers(20, 200, (30, 40, 3), np.uint8)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_amount_of_zero_changes_nothing_and_of_one_something(operation):
    picture = Image.fromarray(IMAGE)
    np.testing.assert_array_equal(np.asarray(operation(picture, 0.0)), IMAGE)
    for amount in (-1.0, 1.0):
        changed = np.asarray(operation(picture, amount))
        assert changed.shape == IMAGE.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, IMAGE)


def test_posterize_keeps_four_bits_and_solarize_inverts_the_bright_half_at_most():
    assert set(np.unique(np.asarray(module.posterize(Image.fromarray(IMAGE), 1.0)) % 16)) == {0}
    expected = np.where(IMAGE < 128, IMAGE, 255 - IMAGE)
    np.testing.assert_array_equal(np.asarray(module.solarize(Image.fromarray(IMAGE), -1.0)), expected)


def test_brightness_multiplies_by_hand_computed_factors():
    grey = Image.fromarray(np.full((2, 2, 3), 100, np.uint8))
    assert np.asarray(module.change_brightness(grey, 0.5)).max() == 145
    assert np.asarray(module.change_brightness(grey, -1.0)).max() == 10


def test_the_generator_decides_and_no_operation_or_no_strength_is_the_image_itself():
    first, again, other = (rand_augment(IMAGE, 3, strength=0.8, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(rand_augment(IMAGE, 0, strength=1.0, rng=np.random.default_rng(1)), IMAGE)
    np.testing.assert_array_equal(
        rand_augment(IMAGE, len(OPERATIONS), strength=0.0, rng=np.random.default_rng(1)), IMAGE
    )


def test_operations_are_all_used_and_none_twice(monkeypatch):
    used: list[int] = []
    spies = tuple(lambda picture, _, index=index: used.append(index) or picture for index in range(len(OPERATIONS)))
    monkeypatch.setattr(module, "OPERATIONS", spies)
    rand_augment(IMAGE, len(OPERATIONS), strength=1.0, rng=np.random.default_rng(0))
    assert sorted(used) == list(range(len(OPERATIONS)))


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    amount=st.floats(-1, 1),
    corners=st.tuples(*[st.integers(4, 12)] * 2),
    sides=st.tuples(*[st.integers(6, 14)] * 2),
)
def test_a_painted_rectangle_stays_where_it_was(operation, amount, corners, sides):
    image = np.full((30, 40, 3), 60, np.uint8)
    inside = np.zeros((30, 40), bool)
    inside[corners[0] : corners[0] + sides[0], corners[1] : corners[1] + sides[1]] = True
    image[inside] = (170, 165, 175)
    changed = np.asarray(operation(Image.fromarray(image), amount)).astype(int)
    differs = np.abs(changed - changed[0, 0]).sum(axis=-1) > 0
    edge = np.zeros_like(inside)  # a pixel on both sides, where sharpening reaches
    edge[corners[0] - 1 : corners[0] + sides[0] + 1, corners[1] - 1 : corners[1] + sides[1] + 1] = True
    edge[corners[0] + 1 : corners[0] + sides[0] - 1, corners[1] + 1 : corners[1] + sides[1] - 1] = False
    np.testing.assert_array_equal(differs[~edge], inside[~edge])
