from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.drawing import PALETTE, class_colour, draw_boxes, fitting_font_size, label_colours

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
    assert label_colours(["cat"]) == label_colours(["cat"]) and label_colours(["RBC"])[0] in PALETTE
    assert label_colours([]) == []


def test_names_get_different_colours_in_any_order_and_repeated_ones_the_same():
    names = [f"class {number}" for number in range(len(PALETTE))]
    colours = dict(zip(names, label_colours(names), strict=True))
    assert len(set(colours.values())) == len(PALETTE)
    assert label_colours(names[::-1]) == [colours[name] for name in names[::-1]]
    assert label_colours(["cat", "dog", "cat"])[0] == label_colours(["cat", "dog", "cat"])[2]
    assert set(label_colours([*names, "one more"])) == set(PALETTE)


def lab(colour):
    """CIELAB of sRGB under D65, by its definition."""
    linear = [(c / 255 + 0.055) ** 2.4 / 1.055**2.4 if c > 10 else c / 255 / 12.92 for c in colour]
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(matrix) @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_any_two_colours_are_far_apart_for_the_eye():
    values = [lab(colour) for colour in PALETTE]
    distances = [np.linalg.norm(a - b) for index, a in enumerate(values) for b in values[:index]]
    assert min(distances) > 30  # about 2.3 is the least that people see side by side


def test_the_web_page_has_the_same_colours():
    page = Path(__file__).parents[3] / "edge/detect/web/page/drawing.mjs"
    assert re.findall(r"\"(#[0-9a-f]{6})\"", page.read_text()) == ["#{:02x}{:02x}{:02x}".format(*c) for c in PALETTE]


@pytest.mark.parametrize(
    ("boxes", "size", "expected"),
    [
        ([], (480, 640), 17),  # 640 / 38
        ([], (3000, 4000), 105),
        ([[0, 0, 60, 60]], (3000, 4000), 57),  # smaller boxes, and still 4000 / 70
        ([[0, 0, 30, 45]], (480, 640), 12),  # a third of the median side of 37.5
        ([[0, 0, 5, 5]], (100, 100), 10),
    ],
)
def test_text_grows_with_the_picture_and_shrinks_with_the_boxes(boxes, size, expected):
    assert fitting_font_size(boxes, size[0], width=size[1]) == expected


def test_names_of_boxes_in_one_place_stand_beside_each_other():
    """Each name has a plate of one colour; where they do not cover each other, all of every plate is seen."""
    image = np.full([200, 300, 3], 90, np.uint8)
    box, colours = [100, 100, 140, 260], [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    alone = [draw_boxes(image, [box], labels=["some name"], colours=[colour], line_width=1) for colour in colours]
    drawn = draw_boxes(image, [box] * 3, labels=["some name"] * 3, colours=colours, line_width=1, font_size=10)
    inside = np.zeros([200, 300], bool)
    inside[100:141, 100:261] = True
    counts = [(drawn == colour).all(axis=2)[~inside].sum() for colour in colours]
    whole = (alone[0] == colours[0]).all(axis=2)[~inside].sum()
    assert whole > 100 and min(counts) > 0.8 * whole
