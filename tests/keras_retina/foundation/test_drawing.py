from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.drawing import PALETTE, class_colour, draw_boxes, label_colour

GREY = np.full([60, 80, 3], 90, np.uint8)
RED = (255, 0, 0)


def test_a_box_without_name_colours_exactly_its_outline():
    drawn = draw_boxes(GREY, [[10, 20, 30, 50]], labels=[""], colours=[RED], line_width=1)
    expected = GREY.copy()
    expected[[10, 30], 20:51] = RED
    expected[10:31, [20, 50]] = RED
    np.testing.assert_array_equal(drawn, expected)


def test_the_input_image_is_not_changed():
    before = GREY.copy()
    draw_boxes(GREY, [[1, 1, 40, 40]], labels=["cat"], scores=[0.5])
    np.testing.assert_array_equal(GREY, before)


@pytest.mark.parametrize("boxes", [[], np.zeros([0, 4], np.float32), np.zeros([0])])
def test_no_boxes_gives_an_equal_copy(boxes):
    drawn = draw_boxes(GREY, boxes, labels=[])
    np.testing.assert_array_equal(drawn, GREY)
    assert drawn is not GREY and drawn.flags.writeable


def test_the_name_is_written_above_the_box_and_the_score_makes_it_longer():
    box = [[30, 5, 55, 75]]
    plain = draw_boxes(GREY, box, labels=[""], colours=[RED])
    named = draw_boxes(GREY, box, labels=["cat"], colours=[RED])
    scored = draw_boxes(GREY, box, labels=["cat"], scores=[0.97], colours=[RED])
    changed = [np.flatnonzero((other != plain).any(axis=(0, 2))) for other in (named, scored)]
    assert (named != plain).any(axis=(1, 2))[:30].any() and not (named != plain).any(axis=(1, 2))[32:].any()
    assert changed[1].max() > changed[0].max()


def test_the_highest_score_is_drawn_last_whatever_the_order():
    boxes, green = [[10, 10, 40, 40], [10, 10, 40, 40]], (0, 255, 0)
    drawn = draw_boxes(GREY, boxes, labels=["", ""], scores=[0.9, 0.2], colours=[RED, green], line_width=1)
    assert tuple(drawn[40, 25]) == RED


@pytest.mark.parametrize(
    "box",
    [[np.nan, 0, 5, 5], [0, 0, np.inf, 5], [-np.inf, -np.inf, np.inf, np.inf]],
)
def test_a_box_that_is_not_finite_is_not_drawn(box):
    np.testing.assert_array_equal(draw_boxes(GREY, [box], labels=["cat"], scores=[0.5]), GREY)


@pytest.mark.parametrize(
    "box",
    [[-1e9, -1e9, 1e9, 1e9], [30, 50, 10, 20], [5, 5, 5, 5], [59.9, 79.9, 60, 80], [500, 500, 600, 600]],
)
def test_boxes_outside_reversed_or_empty_are_drawn_inside_the_image(box):
    drawn = draw_boxes(GREY, [box], labels=["a very long class name, longer than the image"], scores=[0.5])
    assert drawn.shape == GREY.shape and (drawn != GREY).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (1500, 20)])
def test_any_image_size_can_be_drawn_on(size):
    assert draw_boxes(np.zeros([*size, 3], np.uint8), [[0, 0, 1, 1]], labels=["x"]).shape == (*size, 3)


@pytest.mark.parametrize("label", ["line\nbreak\ttab\x00nul", "赤血球 ❤️", "\ud800", "<script>alert(1)</script>"])
def test_any_label_text_can_be_drawn(label):
    assert (draw_boxes(GREY, [[20, 5, 50, 70]], labels=[label], scores=[float("nan")]) != GREY).any()


def test_read_only_and_strided_images_are_accepted():
    image = np.broadcast_to(np.uint8(7), [40, 40, 3])
    assert draw_boxes(image, [[1, 1, 9, 9]], labels=["a"]).shape == (40, 40, 3)
    assert draw_boxes(GREY[::2, ::-2], [[1, 1, 9, 9]], labels=["a"]).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GREY.astype(np.float32), [[0, 0, 1, 1]], ["a"]), "uint8 image"),
        ((GREY[..., 0], [[0, 0, 1, 1]], ["a"]), "uint8 image"),
        ((GREY, [[0, 0, 1]], ["a"]), r"boxes \[n, 4\]"),
        ((GREY, [[0, 0, 1, 1]], []), "0 labels for 1 boxes"),
        ((GREY, [[0, 0, 1, 1]], ["a"], [0.1, 0.2]), "2 scores for 1 boxes"),
        ((GREY, [[0, 0, 1, 1]], ["a"], [0.1], []), "0 colours for 1 boxes"),
    ],
)
def test_wrong_shapes_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        image, boxes, *named = arguments
        draw_boxes(image, boxes, **dict(zip(("labels", "scores", "colours"), named, strict=False)))


def test_colours_are_stable_and_repeat():
    assert class_colour(0) == class_colour(len(PALETTE)) == PALETTE[0]
    assert label_colour("cat") == label_colour("cat") and label_colour("RBC") in PALETTE
