"""Pixels or shares of the image: by the numbers, unless the user says."""

from __future__ import annotations

import pytest

from keras_retina.data.formats.box_values import with_box_values
from keras_retina.data.formats.repair import LabelledBox, LabelledImage


def images(*boxes: tuple[float, float, float, float]) -> list[LabelledImage]:
    return [LabelledImage("a", 1, "a.png", None, tuple(LabelledBox("a: 0", box, 0) for box in boxes))]


@pytest.mark.parametrize("second", [(0.1, 0.7, 0.6, 1.06), (-0.06, 0.1, 0.5, 0.5), (-0.9, -0.8, 0.4, 0.6)])
def test_shares_that_stand_over_the_border_are_no_pixels(second):
    kept, (found,) = with_box_values(images((0.1, 0.2, 0.4, 0.6), second), "auto", normalized=False, kind="x", file="x")
    assert (kept, found.kind, found.fixed) == ((), "normalized_boxes", False)


@pytest.mark.parametrize("boxes", [[(0, 0, 1.6, 1)], [(0, 0, 0, 0)], [(-5, -5, 1, 1)], [], [(0.1, 0.1, 0.5, 9)]])
def test_pixels_are_pixels(boxes):
    own = images(*boxes)
    assert with_box_values(own, "auto", normalized=False, kind="x", file="x") == (own, [])


def test_pixels_in_a_format_of_shares_are_refused_and_what_the_user_says_counts():
    own = images((0, 0, 50, 60))
    _, (found,) = with_box_values(own, "auto", normalized=True, kind="x", file="x")
    assert (found.kind, found.fixed) == ("pixel_boxes", False)
    assert with_box_values(own, "pixels", normalized=True, kind="x", file="x") == (own, [])
    (marked,), problems = with_box_values(own, "normalized", normalized=False, kind="x", file="x")
    assert marked.normalized and problems == []
