from __future__ import annotations

from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.plan.data.splits import choose_splits, data_choice
from keras_retina.recipe.data import Data

HERE = Path("pets")


def chosen(found, **given):
    data = choose_splits(HERE, found, given=Data(**given))
    return data.train, data.validation, data.test, data.split


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["train", "val"], ("train", "val", None, "folder")),
        (["training", "valid", "test", "extra"], ("training", "valid", "test", "folder")),
        (["train2017", "val2017"], ("train2017", "val2017", None, "folder")),
        (["train"], ("train", "val", None, "auto")),
        (["train", "test"], ("train", "val", "test", "auto")),
        (["all"], ("train", "val", "test", "auto")),
    ],
)
def test_splits_are_those_of_the_folder_and_made_where_it_has_none(found, expected):
    assert chosen(found) == expected


def test_what_is_set_stays():
    assert chosen(["a", "b"], train="a", validation="b") == ("a", "b", None, "folder")
    assert chosen(["train", "val", "test"], test=None) == ("train", "val", None, "folder")
    assert chosen(["all"], test=None) == ("train", "val", None, "auto")


def test_no_training_split_and_two_that_may_be_meant_are_refused():
    with pytest.raises(
        InputError, match=r"pets: expected a split to train on\. Received: the splits a, b.*data\.train"
    ):
        choose_splits(HERE, ["a", "b"], given=Data())
    with pytest.raises(InputError, match=r"Received: 'valid' and 'validation'.*data\.validation=valid"):
        choose_splits(HERE, ["train", "valid", "validation"], given=Data())


def test_the_recipe_names_what_was_chosen_and_what_was_set():
    data = choose_splits(HERE, ["all"], given=Data(classes=("cat",)))
    choice = data_choice(data)
    assert choice.value == {
        "train": "train", "validation": "val", "test": "test", "classes": ["cat"], "split": "auto"
    }  # fmt: skip
    assert "kept in splits.json" in choice.why and "measured on test" in choice.why
    assert "no test split" in data_choice(choose_splits(HERE, ["train", "val"], given=Data())).why


def test_training_and_validation_together_are_the_training_images():
    assert chosen(["trainval", "test"]) == ("trainval", "val", "test", "auto")
    assert chosen(["train", "trainval", "val"]) == ("train", "val", None, "folder")


def test_a_split_is_not_trained_on_and_measured_on():
    assert chosen(["test"], train="test") == ("test", "val", None, "auto")
    assert chosen(["val", "test"], train="val") == ("val", "val", "test", "auto")


def test_the_only_split_is_named_in_the_advice():
    with pytest.raises(InputError, match="--set data.train=test$"):
        chosen(["test"])
