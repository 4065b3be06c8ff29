"""Boxes follow the pixels: a rectangle drawn in the image is found again where the returned box says it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.data.augment.view import random_view
from keras_retina.data.resize import resize_image, resize_transform
from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.data import Augmentation

PLAIN = Augmentation(horizontal_flip=False, scale=(1.0, 1.0), aspect=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
GEOMETRY = PLAIN.model_copy(update={"horizontal_flip": True, "vertical_flip": True, "scale": (0.6, 1.6), "aspect": 1.4})
EVERYTHING = GEOMETRY.model_copy(update={"brightness": 0.3, "contrast": 0.4, "saturation": 0.5, "cutout": 0.7})

# Every augmentation alone, as strong as it gets.
EACH = {
    "flip": {"horizontal_flip": True, "vertical_flip": True},
    "smaller": {"scale": (0.4, 1.0)},
    "crop": {"scale": (1.0, 2.5)},
    "aspect": {"aspect": 2.0},
    "cutout": {"cutout": 1.0, "cutout_size": 0.8},
    "colour": {"brightness": 0.1, "contrast": 0.2, "saturation": 1.0},
}


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """A black image with one white rectangle."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[0] : box[2], box[1] : box[3]] = 255
    return image


def view(image, boxes, augmentation, seed=0, size=(96, 128), resize="stretch"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    pixels, moved, visible = random_view(
        tf.constant(image),
        tf.constant(boxes),
        height=size[0],
        width=size[1],
        resize=resize,
        settings=augmentation,
        seed=tf.constant([7, seed], tf.int64),
    )
    return pixels.numpy(), moved.numpy(), visible.numpy()


def white_box(pixels: np.ndarray) -> np.ndarray:
    """The box of what is brighter than the grey outside of the image, edges at half brightness."""
    bright = pixels[..., 0] > 191
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


# Geometry


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(40, 260),
    width=st.integers(40, 260),
    place=st.tuples(*[st.floats(0, 1)] * 4),
    seed=st.integers(0, 2**40),
    resize=st.sampled_from(["stretch", "letterbox"]),
)
def test_the_returned_box_is_where_the_rectangle_is_seen(height, width, place, seed, resize):
    tall, wide = int(height * (0.3 + 0.6 * place[0])), int(width * (0.3 + 0.6 * place[1]))
    top, left = int((height - tall) * place[2]), int((width - wide) * place[3])
    box = (top, left, top + tall, left + wide)
    pixels, boxes, visible = view(rectangle(height, width, box), [box], GEOMETRY, seed, resize=resize)
    if not visible[0] or min(boxes[0, 2] - boxes[0, 0], boxes[0, 3] - boxes[0, 1]) < 4:
        return
    np.testing.assert_allclose(white_box(pixels), boxes[0], atol=1.5)


@pytest.mark.parametrize("name", EACH)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(40, 260), st.integers(40, 260)),
    place=st.tuples(*[st.floats(0, 1)] * 4),
    seed=st.integers(0, 2**40),
    resize=st.sampled_from(["stretch", "letterbox"]),
)
def test_a_painted_rectangle_stays_inside_its_box(name, shape, place, seed, resize):
    sides = [int(side * (0.2 + 0.6 * share)) for side, share in zip(shape, place[:2], strict=True)]
    top, left = (int((shape[axis] - sides[axis]) * place[2 + axis]) for axis in range(2))
    box = (top, left, top + sides[0], left + sides[1])
    pixels, boxes, _ = view(rectangle(*shape, box), [box], PLAIN.model_copy(update=EACH[name]), seed, resize=resize)
    y1, x1, y2, x2 = np.concatenate([np.floor(boxes[0, :2]) - 1, np.ceil(boxes[0, 2:]) + 1]).astype(int).clip(0)
    bright = pixels[..., 0] > 191
    assert bright.sum() == bright[y1:y2, x1:x2].sum()
    if name not in ("cutout", "crop"):
        assert bright.any()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_flips_mirror_boxes_and_pixels_alike_and_happen_half_of_the_time(resize: str, flip: str):
    augmentation = PLAIN.model_copy(update={flip: True})
    box = (10, 20, 40, 100)  # of 96 x 128
    mirrored = (10, 28, 40, 108) if flip == "horizontal_flip" else (56, 20, 86, 100)
    image = rectangle(96, 128, box)
    outcomes = []
    for seed in range(40):
        pixels, boxes, _ = view(image, [box], augmentation, seed, resize=resize)
        outcomes.append(np.allclose(boxes[0], mirrored))
        assert outcomes[-1] or np.allclose(boxes[0], box)
        np.testing.assert_allclose(pixels, rectangle(96, 128, mirrored if outcomes[-1] else box), atol=1e-3)
    assert 10 <= sum(outcomes) <= 30


def test_zoom_stays_in_its_range_and_uses_all_of_it():
    augmentation = PLAIN.model_copy(update={"scale": (0.5, 2.0)})
    sides = []
    for seed in range(60):
        _, boxes, _ = view(np.zeros((96, 128, 3), np.uint8), [[47, 63, 49, 65]], augmentation, seed)
        if (boxes[0] > 0).all() and (boxes[0] < [96, 128, 96, 128]).all():
            sides.append((boxes[0, 2] - boxes[0, 0]) / 2)
            assert boxes[0, 2] - boxes[0, 0] == pytest.approx(boxes[0, 3] - boxes[0, 1], abs=1e-3)
    assert min(sides) >= 0.5 - 1e-3
    assert max(sides) <= 2 + 1e-3
    assert min(sides) < 0.65
    assert max(sides) > 1.5


def test_aspect_changes_the_shape_by_at_most_its_value_and_keeps_the_area():
    augmentation = PLAIN.model_copy(update={"aspect": 1.5, "scale": (0.5, 0.5)})
    ratios = []
    for seed in range(40):
        _, boxes, _ = view(np.zeros((96, 128, 3), np.uint8), [[20, 20, 60, 60]], augmentation, seed)
        tall, wide = boxes[0, 2] - boxes[0, 0], boxes[0, 3] - boxes[0, 1]
        ratios.append(tall / wide)
        assert tall * wide == pytest.approx(400, rel=1e-3)
    assert 1 / 1.5 - 1e-3 <= min(ratios) < 0.85
    assert 1.2 < max(ratios) <= 1.5 + 1e-3


def test_a_small_image_is_placed_all_over_the_window_and_a_large_one_moves_under_it():
    for scale in (0.5, 2.0):
        augmentation = PLAIN.model_copy(update={"scale": (scale, scale)})
        tops = []
        for seed in range(40):
            _, boxes, _ = view(np.zeros((96, 128, 3), np.uint8), [[0, 0, 96, 128]], augmentation, seed)
            tops.append(boxes[0, 0])
            if scale < 1:  # all of the image stays in view
                assert boxes[0, 2] - boxes[0, 0] == pytest.approx(48, abs=1e-3)
            else:  # no outside is in view
                np.testing.assert_allclose(boxes[0], [0, 0, 96, 128], atol=1e-3)
        if scale < 1:
            assert min(tops) < 8
            assert max(tops) > 40


def test_a_letterboxed_view_keeps_the_aspect_ratio():
    for seed in range(10):
        _, boxes, _ = view(
            np.zeros((100, 50, 3), np.uint8), [[0, 0, 100, 50]], PLAIN, seed, size=(128, 128), resize="letterbox"
        )
        assert boxes[0, 2] - boxes[0, 0] == pytest.approx(128, abs=1e-3)
        assert boxes[0, 3] - boxes[0, 1] == pytest.approx(64, abs=1e-3)


# Identity


@pytest.mark.parametrize("shape", [(96, 128), (48, 64), (200, 300), (131, 77), (400, 90)])
def test_without_augmentation_a_stretched_view_is_the_resized_image_of_evaluation(shape: tuple[int, int]):
    generator = np.random.default_rng(0)
    image = resize_image(generator.integers(0, 256, (12, 16, 3), np.uint8), shape[0], width=shape[1], mode="stretch")
    pixels, boxes, visible = view(image, [[10, 20, 30, 40]], PLAIN)
    expected = resize_image(image, 96, width=128, mode="stretch").astype(np.float32)
    difference = np.abs(pixels - expected)
    inside = difference[2:-2, 2:-2]
    assert inside.max() <= 1.5  # Pillow rounds to bytes
    assert inside.mean() <= 0.5
    scale = np.tile(resize_transform(*shape, height=96, width=128, mode="stretch"), 2)
    np.testing.assert_allclose(boxes[0], np.array([10, 20, 30, 40]) * scale, rtol=1e-5)
    assert visible.all()


@pytest.mark.parametrize("shape", [(200, 100), (60, 300)])
def test_without_augmentation_a_letterboxed_view_has_the_size_of_evaluation_and_its_padding(shape: tuple[int, int]):
    image = np.full((*shape, 3), 200, np.uint8)
    pixels, boxes, _ = view(image, [[0, 0, *shape]], PLAIN, resize="letterbox")
    reference = resize_image(image, 96, width=128, mode="letterbox")
    assert (pixels > 190).mean() == pytest.approx((reference > 190).mean(), abs=0.02)
    outside = pixels[..., 0] < 100
    assert outside.mean() > 0.3
    np.testing.assert_allclose(pixels[outside], 0, atol=1)
    assert set(np.unique(reference)) == {0, 200}


# Colour


def test_colour_leaves_geometry_alone_and_stays_in_range():
    box = (10, 20, 40, 100)
    colour = PLAIN.model_copy(update={"brightness": 0.3, "contrast": 0.4, "saturation": 0.5})
    image = rectangle(96, 128, box)
    image[..., 1] //= 2
    results = [view(image, [box], colour, seed) for seed in range(10)]
    for pixels, boxes, visible in results:
        np.testing.assert_allclose(boxes[0], box, atol=1e-4)
        assert visible.all()
        assert 0 <= pixels.min() <= pixels.max() <= 255
    assert np.std([pixels.mean() for pixels, _, _ in results]) > 5


def test_saturation_moves_colours_to_and_from_their_grey_and_leaves_grey_alone():
    saturated = PLAIN.model_copy(update={"saturation": 0.5})
    grey = np.full((96, 128, 3), 80, np.uint8)
    for seed in range(5):
        np.testing.assert_allclose(view(grey, [], saturated, seed)[0], 80, atol=1e-3)
    coloured = np.broadcast_to(np.array([100, 120, 140], np.uint8), (96, 128, 3)).copy()
    for seed in range(5):
        pixel = view(coloured, [], saturated, seed)[0][50, 60]
        assert pixel[1] == pytest.approx(120, abs=0.01)
        factor = (pixel[2] - 120) / 20
        assert 0.5 <= factor <= 1.5
        assert pixel[0] == pytest.approx(120 - 20 * factor, abs=0.01)


# Visibility


def test_a_box_is_visible_when_enough_of_its_area_is_in_view():
    """At zoom 2 the window shows a quarter of the image: boxes tell by their visible share, computed here."""
    augmentation = PLAIN.model_copy(update={"scale": (2.0, 2.0), "minimum_visible": 0.4})
    grid = np.array([[y, x, y + 24, x + 32] for y in range(0, 96, 12) for x in range(0, 128, 16)], np.float32)
    seen = []
    for seed in range(10):
        _, boxes, visible = view(np.zeros((96, 128, 3), np.uint8), grid, augmentation, seed)
        shares = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / (48 * 64)
        clear = np.abs(shares - 0.4) > 1e-3
        np.testing.assert_array_equal(visible[clear], shares[clear] > 0.4)
        assert (boxes >= 0).all()
        assert (boxes <= [96, 128, 96, 128]).all()
        seen.append(visible.mean())
    assert 0.1 < np.mean(seen) < 0.5


def test_less_than_a_pixel_in_view_is_not_visible():
    augmentation = PLAIN.model_copy(update={"minimum_visible": 0.0})
    boxes = [[5, 5, 5.5, 6], [5, 5, 7, 7], [9, 9, 9, 9]]
    _, boxes, visible = view(np.zeros((96, 128, 3), np.uint8), boxes, augmentation)
    assert visible.tolist() == [False, True, False]
    assert boxes.shape == (3, 4)


def test_an_image_without_boxes_gives_none():
    pixels, boxes, visible = view(np.zeros((50, 60, 3), np.uint8), [], EVERYTHING)
    assert pixels.shape == (96, 128, 3)
    assert boxes.shape == (0, 4)
    assert visible.shape == (0,)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (300, 1)])
def test_images_of_a_single_row_or_column_give_finite_views(shape: tuple[int, int]):
    pixels, boxes, _ = view(np.full((*shape, 3), 255, np.uint8), [[0, 0, *shape]], GEOMETRY)
    assert np.isfinite(pixels).all()
    assert np.isfinite(boxes).all()


# Cutout


def test_cutout_removes_a_rectangle_of_its_size_from_its_share_of_the_views():
    augmentation = PLAIN.model_copy(update={"cutout": 0.5, "cutout_size": 0.5})
    cut = []
    for seed in range(60):
        pixels, _, _ = view(np.full((96, 128, 3), 255, np.uint8), [], augmentation, seed)
        grey = np.abs(pixels[..., 0] - 127.5) < 0.5
        cut.append(grey.any())
        if cut[-1]:
            rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
            assert grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert len(rows) <= 48
            assert len(columns) <= 64
        assert (np.abs(pixels[~grey] - 255) < 0.01).all()
    assert 18 <= sum(cut) <= 42


def test_a_box_whose_visible_share_is_cut_out_is_not_visible():
    """Boxes of 8 x 8: which pixels of them are grey decides, counted here."""
    augmentation = PLAIN.model_copy(update={"cutout": 1.0, "cutout_size": 0.6, "minimum_visible": 0.4})
    grid = np.array([[y, x, y + 8, x + 8] for y in range(0, 96, 8) for x in range(0, 128, 8)], np.float32)
    hidden = 0
    for seed in range(10):
        pixels, boxes, visible = view(np.full((96, 128, 3), 255, np.uint8), grid, augmentation, seed)
        grey = np.abs(pixels[..., 0] - 127.5) < 0.5
        shares = [1 - grey[int(y1) : int(y2), int(x1) : int(x2)].mean() for y1, x1, y2, x2 in boxes.round()]
        np.testing.assert_array_equal(visible, np.array(shares) >= 0.4)
        hidden += (~visible).sum()
    assert hidden > 0


def test_without_cutout_in_the_recipe_a_view_is_the_one_of_a_cutout_that_was_not_drawn():
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    boxes = [[10, 10, 50, 60]]
    never, unlucky = (EVERYTHING.model_copy(update={"cutout": share}) for share in (0.0, 1e-9))
    for one, other in zip(view(image, boxes, never), view(image, boxes, unlucky), strict=True):
        np.testing.assert_array_equal(one, other)


# Determinism


def test_the_same_seed_gives_the_same_view_and_another_seed_another():
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    boxes = [[10, 10, 50, 60], [20, 30, 70, 90]]
    first, again, other = (view(image, boxes, EVERYTHING, seed) for seed in (3, 3, 4))
    for one, same, different in zip(first[:2], again[:2], other[:2], strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


@pytest.mark.parametrize("name", [*EACH, "all"])
def test_eager_and_inside_tf_data_are_identical(name: str):
    augmentation = EVERYTHING if name == "all" else PLAIN.model_copy(update=EACH[name])
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    boxes = np.array([[10, 10, 50, 60], [20, 30, 70, 90]], np.float32)

    def one(number):
        return random_view(
            tf.constant(image),
            tf.constant(boxes),
            height=96,
            width=128,
            resize="stretch",
            settings=augmentation,
            seed=tf.stack([np.int64(7), number]),
        )

    for number, graph in enumerate(tf.data.Dataset.range(4).map(one, num_parallel_calls=2)):
        for inside, eager in zip(graph, view(image, boxes, augmentation, number), strict=True):
            np.testing.assert_allclose(inside, eager, atol=1e-3)


def test_values_are_normalised_as_the_network_wants_them():
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    plain, _, _ = view(image, [], EVERYTHING, 5)
    normalised, _, _ = random_view(
        tf.constant(image),
        tf.zeros([0, 4]),
        height=96,
        width=128,
        resize="stretch",
        settings=EVERYTHING,
        seed=tf.constant([7, 5], tf.int64),
        pixel_mean=100.0,
        pixel_scale=50.0,
    )
    np.testing.assert_allclose(normalised, (plain - 100.0) / 50.0, atol=1e-4)
