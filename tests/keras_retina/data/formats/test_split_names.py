from __future__ import annotations

import pytest

from keras_retina.data.formats.split_names import find_split, in_order, is_split_name, split_in_name, usual_name
from keras_retina.foundation.errors import InputError


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("train", "train"), ("Training", "train"), ("train2017", "train"), ("valid", "val"), ("VALIDATION", "val"),
        ("val_2017", "val"), ("testing", "test"), ("trainval", "trainval"), ("2017", "2017"),
        ("validate", "val"), ("eval", "val"), ("trainset", "train"), ("Test_Set", "test"), ("dataset", "dataset"),
        ("holdout", "holdout"),
    ],
)  # fmt: skip
def test_names_that_mean_a_split(name, usual):
    assert usual_name(name) == usual


def test_the_exact_name_comes_before_one_that_means_the_same():
    assert find_split("val", ["train", "valid", "val"], where="DIR") == "val"
    assert find_split("val", ["train", "valid"], where="DIR") == "valid"
    assert find_split("train", ["instances", "train2017"], where="DIR") == "train2017"


def test_two_that_mean_the_same_are_both_named():
    with pytest.raises(InputError, match=r"Received: 'valid' and 'validation'.*--set data\.validation=valid"):
        find_split("val", ["valid", "validation"], where="DIR")


def test_a_missing_split_says_which_field_names_it():
    with pytest.raises(InputError, match=r"splits train, test was expected.*data\.validation=NAME.*data\.split=auto"):
        find_split("val", ["test", "train"], where="DIR")
    with pytest.raises(
        InputError, match=r"Received: split='test'.*data\.test=NAME, do without one: --set data\.test=null"
    ):
        find_split("test", ["train", "val"], where="DIR")
    with pytest.raises(InputError, match=r"Received: images without any split.*data\.split=auto"):
        find_split("train", ["all"], where="DIR")
    with pytest.raises(InputError, match=r"\(none found\)"):
        find_split("train", [], where="DIR")


def test_usual_splits_come_first_whatever_they_are_called():
    assert in_order(["extra", "test", "valid", "training"]) == ["training", "valid", "test", "extra"]


def test_split_names_are_those_of_the_three_splits():
    assert all(map(is_split_name, ("train", "VALID", "test2017", "validation")))
    assert not any(map(is_split_name, ("all", "cam1", "night_train", "")))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_annotations", "train"), ("oidv6-train-annotations-bbox", "train"), ("Validation", "Validation"),
        ("train_test", None), ("train_training", "train"), ("images", None), ("strain", None),
    ],
)  # fmt: skip
def test_the_one_word_that_means_a_split_is_found_in_a_name(name, split):
    assert split_in_name(name) == split
