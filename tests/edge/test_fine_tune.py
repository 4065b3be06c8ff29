"""What a fine-tuning trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge.fine_tune import CompressTask, fit_network, freeze_stages
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import detector_spec
from keras_retina.legacy_keras import keras
from keras_retina.model.batch_norm import MOMENTUM
from keras_retina.model.retinanet import retinanet
from keras_retina.recipe import load_recipe

RECIPE = """
name: tiny
model:
  backbone: {name: mobilenet_v2, alpha: 0.35, weights: imagenet, frozen_stages: 3, batch_norm: trained}
  input: {height: 64, width: 64}
  pyramid: {levels: [3, 5], width: 16}
  head: {width: 16, convolutions: 1}
compress:
  half: {channels: {keep: 0.5}, fine_tune: {frozen_stages: 1}}
"""


@pytest.fixture
def task(tmp_path: Path) -> CompressTask:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    nothing = Dataset("none", "train", ("a",), (1,), ())
    spec, settings = detector_spec(recipe.model, ("a",)), recipe.compress["half"]
    parent = retinanet(recipe.model, 1)
    return CompressTask("compress.half", parent, spec, recipe, settings, nothing, nothing, tmp_path, print)


def norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_statistics_of_every_stage_that_trains_follow_within_tens_of_steps(task):
    """`train` set the momentum of the stages it trained; the fine-tuning trains two more."""
    before = sum(layer.trainable for layer in norms(task.parent))
    freeze_stages(task.parent, task)
    training = [layer for layer in norms(task.parent) if layer.trainable]
    assert before < len(training) < len(norms(task.parent))
    assert {layer.momentum for layer in training} == {MOMENTUM}


def test_batch_norm_stays_frozen_in_all_stages_where_the_recipe_says_so_unless_asked(task):
    backbone = task.recipe.model.backbone.model_copy(update={"batch_norm": "frozen"})
    model = task.recipe.model.model_copy(update={"backbone": backbone})
    frozen = dataclasses.replace(task, recipe=task.recipe.model_copy(update={"model": model}))
    freeze_stages(frozen.parent, frozen)
    assert not any(layer.trainable for layer in norms(frozen.parent))
    freeze_stages(frozen.parent, frozen, batch_norm="trained")
    assert any(layer.trainable for layer in norms(frozen.parent))


@pytest.mark.parametrize(
    ("recipe", "asked", "kept"), [("best", None, "best"), ("last", None, "last"), ("best", "last", "last")]
)
def test_a_recipe_that_keeps_the_last_epoch_keeps_it_of_smaller_models_too(task, monkeypatch, recipe, asked, kept):
    """A recipe without a third split must not choose epochs by the images that it reports."""
    seen = []
    monkeypatch.setattr("edge.fine_tune.fit_detector", lambda *arguments: seen.append(arguments[3].checkpoint))
    training = task.recipe.training.model_copy(update={"checkpoint": recipe})
    changed = dataclasses.replace(task, recipe=task.recipe.model_copy(update={"training": training}))
    fit_network(changed.parent, changed.parent, changed, checkpoint=asked)
    assert seen == [kept]
