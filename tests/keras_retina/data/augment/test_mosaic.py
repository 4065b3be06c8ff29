"""Mosaic: boxes follow pixels through scaling, cropping and joining."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.data.augment.pictures import mosaic

EMPTY = np.zeros((0, 4), np.float32)


def plain(value: int, height: int = 20, width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    return np.full((height, width, 3), value, np.uint8), EMPTY


def boxed(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A black image with one white rectangle."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[0] : box[2], box[1] : box[3]] = 255
    return image, np.array([box], np.float32)


def test_the_four_meet_at_the_centre():
    parts = [plain(value) for value in (10, 20, 30, 40)]
    image, boxes, visible = mosaic(parts, (0.25, 0.75), places=np.zeros(4), height=40, width=80, minimum_visible=0.3)
    assert image.shape == (40, 80, 3)
    for value, rows, columns in (
        (10, slice(0, 10), slice(0, 60)),
        (20, slice(0, 10), slice(60, 80)),
        (30, slice(10, 40), slice(0, 60)),
        (40, slice(10, 40), slice(60, 80)),
    ):
        assert (image[rows, columns] == value).all()
    assert boxes.shape == (0, 4)
    assert visible.shape == (0,)


def test_boxes_by_hand_with_scale_crop_and_quarter():
    """A 10 x 20 image in the bottom right quarter of 20 x 20 pixels: scale 2, columns cut by 20 of 40."""
    part = (np.zeros((10, 20, 3), np.uint8), np.array([[2, 4, 6, 14], [0, 0, 10, 6], [0, 19, 10, 20]], np.float32))
    parts = [plain(1), plain(2), plain(3), part]
    _, boxes, visible = mosaic(
        parts, (0.5, 0.5), places=np.array([0, 0, 0, 0.5]), height=40, width=40, minimum_visible=0.3
    )
    # Of the 20 columns 5 are cut at the left: column c is at 20 + 2 * (c - 5).
    np.testing.assert_allclose(boxes[0], [24, 20, 32, 38])
    np.testing.assert_allclose(boxes[1], [20, 20, 40, 22])
    assert visible.tolist() == [True, False, False]  # 9 of 10, 1 of 6 and 0 of 1 columns are in view


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(30, 120),
    width=st.integers(30, 120),
    centre=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    place=st.floats(0, 1),
    number=st.integers(0, 3),
)
def test_the_returned_box_is_where_the_rectangle_is_seen(height, width, centre, place, number):
    parts = [plain(0) for _ in range(4)]
    parts[number] = boxed(height, width, (height // 4, width // 4, 3 * height // 4, 3 * width // 4))
    image, boxes, _ = mosaic(parts, centre, places=np.full(4, place), height=96, width=128, minimum_visible=0.3)
    bright = image[..., 0] > 127
    if not bright.any():
        assert np.prod(boxes[0, 2:] - boxes[0, :2]) <= 4 * max(image.shape)
        return
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    np.testing.assert_allclose([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], boxes[0], atol=1.5)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (1.0, 1.0)])
def test_a_centre_on_the_border_leaves_every_image_a_pixel(centre):
    image, _, _ = mosaic(
        [plain(value) for value in (10, 20, 30, 40)], centre, places=np.zeros(4), height=8, width=8, minimum_visible=0.3
    )
    assert set(np.unique(image)) == {10, 20, 30, 40}


def test_images_of_a_single_pixel_are_joined_too():
    parts = [(np.full((1, 1, 3), 9, np.uint8), np.array([[0, 0, 1, 1]], np.float32))] * 4
    image, boxes, visible = mosaic(parts, (0.5, 0.5), places=np.ones(4), height=8, width=8, minimum_visible=0.3)
    assert (image == 9).all()
    np.testing.assert_allclose(boxes, [[0, 0, 4, 4], [0, 4, 4, 8], [4, 0, 8, 4], [4, 4, 8, 8]])
    assert visible.all()
