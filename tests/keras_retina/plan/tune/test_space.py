"""Ranges lie round the recipe's own settings, and a change of a trial is that of the recipe's field."""

from __future__ import annotations

import pytest

from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.plan.tune.space import (
    SEARCHED,
    Choice,
    Range,
    apply_values,
    default_search,
    search_space,
    start_values,
)
from keras_retina.recipe.recipe import Recipe, recipe_from_fields


@pytest.fixture(scope="module")
def train_set(tiny_coco):
    return load_dataset(tiny_coco, "train")


def recipe_with(tiny_recipe: Recipe, **sections) -> Recipe:
    fields = tiny_recipe.model_dump()
    for name, values in sections.items():
        fields[name] |= values
    return recipe_from_fields(fields, "test")


def test_start_values_leave_the_recipe_as_it_is(tiny_recipe, train_set):
    space = search_space(tiny_recipe, SEARCHED, train_set=train_set)
    assert [one.name for one in space] == ["input", "anchors", "learning_rate", "gamma", "alpha", "box_weight"]
    assert apply_values(tiny_recipe, space, start_values(space)) == tiny_recipe


def test_ranges_by_hand(tiny_recipe, train_set):
    recipe = recipe_with(tiny_recipe, training={"learning_rate": 1e-3, "loss": {"box_weight": 0.3, "gamma": 5.0}})
    found = {one.name: one for one in search_space(recipe, SEARCHED, train_set=train_set) if isinstance(one, Range)}
    assert (found["learning_rate"].low, found["learning_rate"].high) == (2.5e-4, 4e-3)
    assert (found["box_weight"].low, found["box_weight"].high) == (pytest.approx(0.1), pytest.approx(0.9))
    assert (found["gamma"].low, found["gamma"].high) == (0.5, 5.0)  # the recipe's own is inside
    assert found["learning_rate"].log
    assert not found["alpha"].log


def test_each_value_changes_its_own_field(tiny_recipe, train_set):
    space = search_space(tiny_recipe, ["gamma", "alpha", "learning_rate", "box_weight"], train_set=train_set)
    values = {"gamma": 1.5, "alpha": 0.4, "learning_rate": 2e-3, "box_weight": 0.5}
    changed = apply_values(tiny_recipe, space, values).training
    assert (changed.loss.gamma, changed.loss.alpha, changed.learning_rate, changed.loss.box_weight) == (
        1.5,
        0.4,
        2e-3,
        0.5,
    )


def test_inputs_are_multiples_of_the_last_stride_and_hold_the_recipes_own(tiny_recipe, train_set):
    (sizes,) = search_space(tiny_recipe, ["input"], train_set=train_set)
    assert isinstance(sizes, Choice)
    assert sizes.start == "128 x 128"
    stride = 2 ** tiny_recipe.model.pyramid.levels[1]
    for name in sizes.changes:
        changed = sizes.changed(tiny_recipe, name).model.input
        assert name == f"{changed.height} x {changed.width}"
        assert changed.height % stride == changed.width % stride == 0


def test_anchors_are_fitted_to_the_input_of_the_trial(tiny_recipe, train_set):
    recipe = recipe_with(tiny_recipe, model={"pyramid": {"levels": (3, 5), "width": 16}})
    space = search_space(recipe, ["anchors", "input"], train_set=train_set)
    small, large = (
        apply_values(recipe, space, {"input": size, "anchors": "fitted"}).model
        for size in (sorted(space[0].changes)[-1], "128 x 128")
    )
    assert small.anchors != recipe.model.anchors
    assert large.anchors != recipe.model.anchors
    usual = apply_values(recipe, space, {"input": "128 x 128", "anchors": "usual"}).model.anchors
    assert (usual.size, usual.ratios) == (4.0, (0.5, 1.0, 2.0))


def test_numbers_are_kept_with_four_digits_but_the_recipes_own_is_kept_whole():
    rate = Range("rate", ("training", "learning_rate"), 1e-4, 1e-2, 1.23456789e-3)
    assert rate.read(2.3456789e-3) == 2.346e-3
    assert rate.read(1.23456789e-3) == 1.23456789e-3


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ({"classes": "focal"}, {"anchors", "learning_rate", "gamma", "alpha", "box_weight"}),
        ({"classes": "cross_entropy"}, {"anchors", "learning_rate", "alpha", "box_weight"}),
        ({"classes": "ohem"}, {"anchors", "learning_rate", "box_weight"}),
        ({"classes": "quality_focal"}, {"anchors", "learning_rate", "gamma", "box_weight"}),
    ],
)
def test_by_default_all_is_searched_that_the_loss_has_and_a_device_does_not_feel(tiny_recipe, train_set, loss, names):
    recipe = recipe_with(tiny_recipe, training={"loss": loss})
    assert set(default_search(recipe)) == names
    space = search_space(recipe, default_search(recipe), train_set=train_set)
    assert apply_values(recipe, space, start_values(space)).training.loss.classes == loss["classes"]


def test_no_alpha_starts_at_a_half(tiny_recipe, train_set):
    recipe = recipe_with(tiny_recipe, training={"loss": {"classes": "cross_entropy", "alpha": None}})
    (alpha,) = search_space(recipe, ["alpha"], train_set=train_set)
    assert alpha.start == 0.5


@pytest.mark.parametrize(
    ("loss", "name", "message"),
    [
        ({}, "gama", "Received: 'gama'.*gamma"),
        ({"classes": "ohem"}, "gamma", "ohem has no gamma"),
        ({"classes": "quality_focal"}, "alpha", "quality_focal has no alpha"),
    ],
)
def test_what_cannot_be_searched_is_refused(tiny_recipe, train_set, loss, name, message):
    recipe = recipe_with(tiny_recipe, training={"loss": loss})
    with pytest.raises(InputError, match=message):
        search_space(recipe, [name], train_set=train_set)
