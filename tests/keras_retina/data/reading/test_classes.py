from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.reading.classes import choose_classes
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError

BOXES = np.array([[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]], np.float32)
RECORD = Record(1, Path("a.png"), "a.png", 9, 9, BOXES, np.array([0, 1, 2], np.int32), np.array([False, True, False]))
DATASET = Dataset("zoo", "train", ("car", "dog", "truck"), (3, 5, 8), (RECORD,))


def choose(classes, **rename):
    return choose_classes(DATASET, classes, rename=rename, where=Path("DIR"))


def test_without_a_wish_nothing_changes():
    assert choose(None) is DATASET
    assert choose(["car", "dog", "truck"]) is DATASET


def test_a_subset_in_another_order_counts_what_it_leaves_out():
    chosen = choose(["truck", "car"])
    assert (chosen.class_names, chosen.category_ids) == (("truck", "car"), (8, 3))
    (record,) = chosen.records
    assert record.classes.tolist() == [1, 0] and record.crowd.tolist() == [False, False]
    np.testing.assert_array_equal(record.boxes, BOXES[[0, 2]])
    (found,) = chosen.problems
    assert (found.kind, found.where, found.fixed) == ("class_left_out", "class 'dog'", True)
    assert found.detail.startswith("1 boxes left out")


def test_two_names_become_one_class():
    merged = choose(None, car="vehicle", truck="vehicle")
    assert (merged.class_names, merged.category_ids) == (("vehicle", "dog"), (3, 5))
    assert merged.records[0].classes.tolist() == [0, 1, 0]
    assert choose(["vehicle"], car="vehicle", truck="vehicle").records[0].classes.tolist() == [0, 0]


def test_an_image_may_lose_all_of_its_boxes():
    record = Record(2, Path("b.png"), "b.png", 9, 9, BOXES[:0], np.zeros(0, np.int32), np.zeros(0, bool))
    chosen = choose_classes(
        Dataset("zoo", "train", ("car", "dog"), (1, 2), (record,)), ["dog"], rename={}, where=Path()
    )
    assert chosen.records[0].boxes.shape == (0, 4) and not chosen.problems


def test_names_that_the_labels_do_not_have_are_refused():
    with pytest.raises(InputError, match=r"data\.classes: .*Received: 'cars'.*Did you mean 'car'"):
        choose(["cars"])
    with pytest.raises(InputError, match=r"data\.rename: .*Received: 'dogs'"):
        choose(None, dogs="dog")
    with pytest.raises(InputError, match=r"data\.classes: .*Received: 'car'"):
        choose(["car"], car="vehicle")


def test_a_class_name_with_half_of_a_letter_is_refused():
    halved = replace(DATASET, class_names=("car", "dog", "\ud800"))
    with pytest.raises(InputError, match=r"class names in UTF-8 were expected. Received: '.ud800'"):
        choose_classes(halved, None, rename={}, where=Path("DIR"))
