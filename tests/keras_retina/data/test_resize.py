from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.data.resize import RESIZE_MODES, resize_image, resize_transform, resized_shape
from keras_retina.foundation.errors import InputError


def test_letterbox_puts_the_picture_at_the_top_left_on_zeros():
    image = np.full((10, 40, 3), 200, np.uint8)
    # scale = min(32 / 10, 32 / 40) = 0.8: 8 rows, 32 columns
    resized = resize_image(image, 32, width=32, mode="letterbox")
    assert resized.shape == (32, 32, 3) and resized.dtype == np.uint8
    assert (resized[:8] == 200).all() and (resized[8:] == 0).all()
    assert resize_transform(10, 40, height=32, width=32, mode="letterbox") == (0.8, 0.8)


def test_stretch_fills_the_input():
    resized = resize_image(np.full((10, 40, 3), 200, np.uint8), 32, width=64, mode="stretch")
    assert resized.shape == (32, 64, 3) and (resized == 200).all()
    assert resize_transform(10, 40, height=32, width=64, mode="stretch") == (3.2, 1.6)


def test_image_of_the_right_size_is_not_changed():
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    for mode in RESIZE_MODES:
        assert (resize_image(picture, 32, width=48, mode=mode) == picture).all()


def test_reduction_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # single columns: without antialiasing the result would be black or white
    reduced = resize_image(stripes, 8, width=8, mode="stretch")
    assert reduced.min() > 110 and reduced.max() < 145


def test_unknown_resize_mode_names_the_closest():
    with pytest.raises(InputError, match="Did you mean 'letterbox'"):
        resized_shape(10, 10, height=32, width=32, mode="leterbox")


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 640), st.integers(1, 640))
def test_letterbox_fits_touches_two_sides_and_keeps_the_aspect(image_height, image_width, height, width):
    inner_height, inner_width = resized_shape(image_height, image_width, height=height, width=width, mode="letterbox")
    assert 1 <= inner_height <= height and 1 <= inner_width <= width
    assert inner_height == height or inner_width == width
    scale = min(height / image_height, width / image_width)
    assert abs(inner_height - image_height * scale) <= 1 and abs(inner_width - image_width * scale) <= 1


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(40, 90), st.integers(40, 90), st.sampled_from(["stretch", "letterbox"]))
def test_a_box_moves_with_the_pixels_under_it(image_height, image_width, mode):
    image = np.zeros((image_height, image_width, 3), np.uint8)
    image[10:30, 15:35] = 255
    resized = resize_image(image, 128, width=96, mode=mode)
    scale_y, scale_x = resize_transform(image_height, image_width, height=128, width=96, mode=mode)
    rows, columns = np.nonzero(resized[..., 0] > 127)
    measured = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    expected = np.array([10, 15, 30, 35]) * [scale_y, scale_x, scale_y, scale_x]
    assert np.abs(measured - expected).max() <= 1.0
