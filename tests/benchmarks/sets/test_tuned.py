"""What a study changed in a plan is carried into the trainings that judge it."""

from __future__ import annotations

import pytest
from tuned import flow, tuned_settings

from keras_retina.recipe.recipe import load_recipe


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("name: plan\ndata: {train: train, validation: val, test: test}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["training.learning_rate=0.00037"],
        ["training.loss.gamma=1.3", "training.loss.alpha=0.41", "training.loss.box_weight=0.77"],
        ["model.anchors={size: 3.3, scales: [1.0, 1.2], ratios: [0.7]}", "training.learning_rate=1.0e-05"],
    ],
)
def test_the_changes_of_a_study_give_its_recipe_again(plan, changes):
    tuned = load_recipe(plan, changes)
    assert load_recipe(plan, tuned_settings(load_recipe(plan), tuned)) == tuned


def test_a_study_that_changed_nothing_gives_no_setting(plan):
    assert tuned_settings(load_recipe(plan), load_recipe(plan)) == []


def test_a_number_is_written_on_one_line():
    assert flow(1e-05) == "1.0e-05"
