"""Classes of somebody's file against those of a data set: by map, by name, by nothing."""

from __future__ import annotations

import pytest

from edge.detectors.class_map import counterparts, parse_class_map
from keras_retina.foundation.errors import InputError


def test_pairs_come_from_the_command_line_or_from_a_file(tmp_path):
    assert parse_class_map("a=x, big cat = y") == {"a": "x", "big cat": "y"}
    (tmp_path / "map.txt").write_text("a=x\n\nbig cat=y\n")
    assert parse_class_map(str(tmp_path / "map.txt")) == {"a": "x", "big cat": "y"}
    assert parse_class_map("") == {}


@pytest.mark.parametrize("text", ["a", "a=", "=x", "a=x,b"])
def test_a_part_that_is_no_pair_is_named(text):
    with pytest.raises(InputError, match="expected class of the file=class of the data. Received: '"):
        parse_class_map(text)


def test_a_class_has_one_counterpart():
    with pytest.raises(InputError, match="each class of the file once. Received: 'a' twice"):
        parse_class_map("a=x,a=y")


def test_the_map_goes_before_names_and_two_classes_may_become_one():
    found = counterparts(
        ("Cat", "dog", "kitten", "car"), ("dog", "cat", "tree"), class_map={"kitten": "cat"}, source="m"
    )
    assert found.columns == (1, 0, 1, -1)
    assert found.missing == ("tree",)
    assert found.unused == ("car",)


def test_a_name_in_the_map_that_is_not_there_names_the_closest():
    with pytest.raises(InputError, match=r"expected a class of m.tflite. Received: 'kiten'. Did you mean 'kitten'\?"):
        counterparts(("kitten",), ("cat",), class_map={"kiten": "cat"}, source="m.tflite")
    with pytest.raises(InputError, match=r"expected a class of the data. Received: 'cats'. Did you mean 'cat'\?"):
        counterparts(("kitten",), ("cat",), class_map={"kitten": "cats"}, source="m.tflite")


def test_classes_that_have_nothing_in_common_are_refused_with_both_lists():
    names = tuple(f"class {number}" for number in range(90))
    with pytest.raises(
        InputError, match=r"expected classes of the data, cat, dog. Received: class 0, .*class 7, \.\.\."
    ):
        counterparts(names, ("cat", "dog"), class_map={}, source="m.tflite")
