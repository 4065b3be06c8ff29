"""The facts are those of the labels, computed by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.plan.data.facts import data_facts, facts_lines

SQUARE = [10.0, 10.0, 30.0, 30.0]  # 20 x 20


def test_two_images_by_hand(dataset):
    """Sides: 20 of 100 x 100 is 0.2; 40 x 90 of 100 x 400 has an area of 3600 of 40000, so 0.3."""
    made = dataset([(100, 100, [SQUARE], [0]), (100, 400, [[0, 0, 40, 90]], [1]), (100, 200, [], [])], ("a", "b"))
    facts = data_facts(made)
    assert (facts.images, facts.empty_images, facts.boxes) == (3, 1, 2)
    assert facts.sides[2] == pytest.approx(0.25)
    assert facts.aspect == pytest.approx(2.0)
    assert facts.aspect_spread == pytest.approx(3.6 / 1.2)  # quantiles of 1, 2, 4 at 10 and 90 %
    assert facts.image_side == pytest.approx(np.sqrt(20000))
    assert facts.boxes_per_image == pytest.approx(2 / 3)
    assert facts.class_counts == {"a": 1, "b": 1}
    assert facts.class_sides == {"a": None, "b": None}  # one object says nothing about a class
    assert facts.smallest_class == ("all objects", facts.sides[2])


def test_the_class_with_the_smallest_objects_is_found_whatever_its_number(dataset):
    large, small = [0.0, 0.0, 50.0, 50.0], [0.0, 0.0, 10.0, 10.0]
    facts = data_facts(dataset([(100, 100, [large] * 90 + [small] * 5, [0] * 90 + [1] * 5)], ("wide", "tiny")))
    name, side = facts.smallest_class
    assert name == "tiny"
    assert side == pytest.approx(0.1)
    assert facts.class_spread == pytest.approx(1.0)


def test_crowds_and_boxes_without_area_are_left_out(dataset):
    made = dataset([(100, 100, [SQUARE, SQUARE, [5, 5, 5, 50]], [0, 0, 0])], ("a",))
    record = dataclasses.replace(made.records[0], crowd=np.array([False, True, False]))
    assert data_facts(dataclasses.replace(made, records=(record,))).boxes == 1


def test_a_split_without_objects_is_refused_in_one_line(dataset):
    with pytest.raises(InputError, match=r"expected labelled objects.*Received: none in the 2 images") as error:
        data_facts(dataset([(100, 100, [], []), (10, 20, [], [])], ("a",)))
    assert "\n" not in str(error.value)


def test_a_class_name_cannot_break_the_lines(dataset):
    lines = facts_lines(data_facts(dataset([(9, 9, [[0, 0, 3, 3]], [0])], ("a\nmodel: {}",))), "x\ny", split="train")
    assert not [line for line in lines if "\n" in line]
