"""What a fine-tuning trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge.compress.fine_tune import CompressTask, fine_tune, fit_network, freeze_stages
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.run_paths import CompressedPaths
from keras_retina.model.batch_norm import MOMENTUM
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.compress import CompressedModel, FineTune, Sparsity
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.duration import Pace

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
    parent = detector_network(recipe.model, 1)
    folder = CompressedPaths(tmp_path)
    return CompressTask("compress.half", parent, spec, recipe, settings, nothing, nothing, folder)


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


def with_head_norms(task: CompressTask) -> CompressTask:
    """Returns the task of a recipe with frozen BatchNorm in the backbone and a norm for each level in the heads."""
    backbone = task.recipe.model.backbone.model_copy(update={"batch_norm": "frozen"})
    head = task.recipe.model.head.model_copy(update={"batch_norm": "per_level"})
    model = task.recipe.model.model_copy(update={"backbone": backbone, "head": head})
    recipe = task.recipe.model_copy(update={"model": model})
    return dataclasses.replace(task, parent=detector_network(model, 1), recipe=recipe)


def test_norms_of_the_heads_train_whatever_the_backbone_does(task):
    changed = with_head_norms(task)
    freeze_stages(changed.parent, changed)
    training = [layer for layer in norms(changed.parent) if layer.trainable]
    assert {layer.name for layer in training} == {
        f"{head}_0_norm_{level}" for head in ("classes", "boxes") for level in range(3)
    }
    assert {layer.momentum for layer in training} == {MOMENTUM}


@pytest.mark.parametrize("has_norms", [True, False])
def test_statistics_are_measured_anew_wherever_a_norm_trained_and_nowhere_else(task, monkeypatch, has_norms):
    changed = with_head_norms(task)
    if not has_norms:
        head = changed.recipe.model.head.model_copy(update={"batch_norm": "none"})
        changed = dataclasses.replace(
            changed, parent=detector_network(changed.recipe.model.model_copy(update={"head": head}), 1)
        )
    random = np.random.default_rng(0)
    images = tf.constant(random.uniform(-1, 1, (4, 64, 64, 3)), tf.float32)
    asked = []

    def batches(_: CompressTask) -> tf.data.Dataset:
        asked.append(1)
        return tf.data.Dataset.from_tensors((images, 0)).repeat()

    monkeypatch.setattr("edge.compress.fine_tune.fit_network", lambda *_, **__: None)
    monkeypatch.setattr("edge.compress.fine_tune.fine_tune_batches", batches)
    before = {layer.name: layer.moving_mean.numpy() for layer in norms(changed.parent)}
    fine_tune(changed.parent, changed)
    moved = {layer.name for layer in norms(changed.parent) if (layer.moving_mean.numpy() != before[layer.name]).any()}
    assert moved == {layer.name for layer in norms(changed.parent) if layer.trainable}
    assert bool(moved) == has_norms
    if has_norms:
        norm = changed.parent.get_layer("classes_0_norm_0")
        values = keras.Model(changed.parent.input, norm.input)(images, training=False).numpy()
        np.testing.assert_allclose(norm.moving_mean, values.mean(axis=(0, 1, 2)), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "asked", "kept"), [("best", None, "best"), ("last", None, "last"), ("best", "last", "last")]
)
def test_a_recipe_that_keeps_the_last_epoch_keeps_it_of_smaller_models_too(task, monkeypatch, recipe, asked, kept):
    """A recipe without a third split must not choose epochs by the images that it reports."""
    seen = []
    monkeypatch.setattr(
        "edge.compress.fine_tune.fit_detector", lambda *_, settings, **__: seen.append(settings.checkpoint)
    )
    training = task.recipe.training.model_copy(update={"checkpoint": recipe})
    changed = dataclasses.replace(task, recipe=task.recipe.model_copy(update={"training": training}))
    fit_network(changed.parent, changed.parent, task=changed, checkpoint=asked)
    assert seen == [kept]


def test_minutes_are_for_one_fine_tuning_from_its_first_work_on_and_a_resumed_one_keeps_to_them(task, monkeypatch):
    """Epochs of one step of 60 s: eighteen in 20 minutes less 5 %, of which nothing is spent."""
    calls = []
    monkeypatch.setattr("edge.compress.fine_tune.measure_pace", lambda *_, **__: Pace(60.0, 0.0, 0.0))
    monkeypatch.setattr("edge.compress.fine_tune.fine_tune_batches", lambda *_: None)
    monkeypatch.setattr("edge.compress.fine_tune.fit_detector", lambda *_, **more: calls.append(more))
    changes = {"epochs": 99, "minutes": 20.0, "evaluate_every": 50}
    settings = task.settings.model_copy(update={"fine_tune": task.settings.fine_tune.model_copy(update=changes)})
    timed = dataclasses.replace(task, settings=settings)
    for _ in range(2):
        fit_network(timed.parent, timed.parent, task=timed)
    assert [call["settings"].epochs for call in calls] == [18, 18]
    assert calls[0]["keep_time"].most == 99
    assert calls[0]["keep_time"].ends == pytest.approx(timed.started + 1200 * 0.99)
    assert calls[1]["keep_time"].ends == calls[0]["keep_time"].ends  # nothing was spent in between


def test_minutes_and_zeros_that_rise_over_epochs_are_refused_together():
    with pytest.raises(InputError, match=r"fine_tune\.minutes cannot be with sparsity"):
        CompressedModel(sparsity=Sparsity(), fine_tune=FineTune(minutes=5.0))
