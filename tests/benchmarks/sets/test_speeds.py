"""Which trainings have the same speed, and how many steps some minutes give."""

from __future__ import annotations

import json
from pathlib import Path

import peers
import pytest
import speeds

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Recipe, load_recipe

RECIPE = Path(__file__).parents[3] / "recipes" / "raccoon.yaml"


def with_set(*overrides: str) -> Recipe:
    return load_recipe(RECIPE, list(overrides))


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=0.1",
        "training.loss.gamma=1.5",
        "augmentation.mosaic=0.5",
        "model.input.resize=letterbox",
        "model.anchors={size: 4.0, scales: [1.0, 1.3, 1.6], ratios: [0.5, 1.0, 2.0]}",
        "model.backbone.weights=some.h5",
        "data.validation=few",
    ],
)
def test_what_leaves_the_time_of_a_step_alone_has_the_same_speed(override):
    assert speeds.step_of(with_set(override)) == speeds.step_of(with_set())


@pytest.mark.parametrize(
    "override",
    [
        "model.input={height: 512, width: 256}",
        "model.anchors={scales: [1.0], ratios: [1.0]}",
        "model.backbone.frozen_stages=0",
        "model.pyramid.width=64",
        "training.batch_size=4",
        "training.optimizer=sgd",
        "training.precision=bfloat16",
        "training.weight_average=null",
    ],
)
def test_what_changes_the_time_of_a_step_has_another_speed(override):
    assert speeds.step_of(with_set(override)) != speeds.step_of(with_set())


def test_steps_for_minutes_are_images_over_the_batch():
    assert speeds.steps_for(4.0, 20.0, batch_size=8) == 600
    assert speeds.steps_for(0.001, 1.0, batch_size=8) == 1


def test_a_kept_speed_is_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def measured(recipes):
        asked.append(list(recipes))
        return {name: [5.0, 1.0, 10.0 * (place + 1)] for place, name in enumerate(recipes)}

    monkeypatch.setattr(speeds, "measured", measured)
    path = tmp_path / "speeds.json"
    first = {"a": with_set(), "b": with_set("training.learning_rate=0.1"), "c": with_set("training.batch_size=4")}
    assert speeds.kept_speeds(first, path) == {"a": 10.0, "b": 10.0, "c": 20.0}
    later = {"c": first["c"], "d": with_set("model.pyramid.width=64")}
    assert speeds.kept_speeds(later, path) == {"c": 20.0, "d": 10.0}
    assert asked == [["a", "c"], ["d"]]
    assert [entry["of"] for entry in json.loads(path.read_text(encoding="utf-8"))] == [["a", "b"], ["c"], ["d"]]


def test_a_training_on_kept_features_is_not_timed(tmp_path):
    with pytest.raises(InputError, match="feature_views"):
        speeds.kept_speeds({"a": with_set("training.feature_views=8")}, tmp_path / "speeds.json")


@pytest.mark.parametrize(("height", "width", "side"), [(256, 256, 256), (384, 512, 448), (64, 1024, 256), (32, 32, 32)])
def test_the_peers_get_the_square_with_the_area_of_our_input(height, width, side):
    assert peers.square_side(height, width) == side
