"""Held variables do not move before their share of the training, and move then as if they had never been held."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import stage_layers
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import load_detector
from keras_retina.model.weights.pretrained import load_pretrained
from keras_retina.recipe.recipe import Recipe, Training
from keras_retina.train.optimizer import build_optimizer, hold_frozen, set_epochs
from keras_retina.train.train import train
from keras_retina.train.unfreezing import always_frozen, starts_of_variables

GRADIENTS = np.random.default_rng(5).normal(size=(20, 3)).astype(np.float32)


def settings(**changes) -> Training:
    fields = {"epochs": 10, "learning_rate": 0.1, "warmup_steps": 0, "weight_average": None, "unfreeze_at": (0.5,)}
    return Training(**(fields | changes))


def path_of(held: Training, *, until: float, minutes_epochs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of a free and of a held kernel after each of 20 updates: 2 steps an epoch."""
    optimizer = build_optimizer(held, 2)
    free, late = tf.Variable(tf.ones(3), name="a/kernel"), tf.Variable(tf.ones(3), name="b/kernel")
    optimizer.build([free, late])
    hold_frozen(optimizer, [(late, until)], settings=held, steps_per_epoch=2)
    if minutes_epochs is not None:
        set_epochs(optimizer, minutes_epochs)
    update = tf.function(lambda gradient: optimizer.apply_gradients([(gradient, free), (gradient, late)]))
    values = []
    for gradient in GRADIENTS:
        update(tf.constant(gradient))
        values.append((free.numpy(), late.numpy()))
    return tuple(np.array(one) for one in zip(*values, strict=True))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_held_variable_stays_until_its_share_of_the_updates_and_moves_at_the_next(name, decay):
    free, late = path_of(settings(optimizer=name, weight_decay=decay), until=0.5)
    assert (late[:10] == 1.0).all()
    assert (late[10] != 1.0).all()
    assert (free[0] != 1.0).all()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_steps_of_an_unfrozen_variable_are_those_of_one_that_was_never_held(decay):
    free, late = path_of(settings(weight_decay=decay, clip_norm=None), until=0.5)
    steps, late_steps = np.diff(free, axis=0)[9:], np.diff(late, axis=0)[9:]
    if decay:  # a share of the value, which differs
        rates = steps_of_cosine()
        steps, late_steps = steps + 0.1 * rates * free[9:-1], late_steps + 0.1 * rates * late[9:-1]
    np.testing.assert_allclose(late_steps, steps, atol=2e-6)


def steps_of_cosine() -> np.ndarray:
    """The learning rates of updates 10 to 19, `[10, 1]`."""
    schedule = build_optimizer(settings(), 2)._learning_rate
    return np.array([[float(schedule(step))] for step in range(10, 20)])


def test_gathered_batches_count_updates_and_not_batches():
    held = settings(accumulate_steps=2)
    _, late = path_of(held, until=0.5)  # 20 batches are 10 updates
    assert (late[:11] == 1.0).all()
    assert (late[11] != 1.0).all()


def test_a_training_of_minutes_counts_the_epochs_that_fit():
    _, late = path_of(settings(minutes=1.0), until=0.5, minutes_epochs=4)  # 8 updates
    assert (late[:4] == 1.0).all()
    assert (late[4] != 1.0).all()


def test_the_average_of_a_held_variable_is_its_value():
    optimizer = build_optimizer(settings(weight_average=0.5), 2)
    late = tf.Variable(tf.ones(3), name="b/kernel")
    optimizer.build([late])
    hold_frozen(optimizer, [(late, 0.5)], settings=settings(weight_average=0.5), steps_per_epoch=2)
    for gradient in GRADIENTS[:5]:
        optimizer.apply_gradients([(tf.constant(gradient), late)])
    optimizer.finalize_variable_values([late])
    np.testing.assert_array_equal(late.numpy(), 1.0)


@pytest.fixture(scope="module")
def gradual(tiny_recipe, tmp_path_factory) -> Recipe:
    """Stages 1 to 3 frozen; the third learns after a half of the training, the second after three quarters."""
    weights = tmp_path_factory.mktemp("weights") / "start.weights.h5"
    application = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None, input_shape=(128, 128, 3))
    application.save_weights(weights)
    fields = tiny_recipe.model_dump()
    fields["model"]["backbone"] |= {"weights": str(weights), "frozen_stages": 3, "batch_norm": "trained"}
    fields["training"] |= {"unfreeze_at": (0.5, 0.75)}
    return Recipe.model_validate(fields)


@pytest.fixture(scope="module")
def network(gradual) -> keras.Model:
    return detector_network(always_frozen(gradual.model, gradual.training.unfreeze_at), 2)


def test_the_deepest_stage_begins_first_and_the_first_stays_frozen(network, gradual):
    backbone = gradual.model.backbone
    stages = stage_layers(network, backbone)
    starts = starts_of_variables(network, backbone, gradual.training.unfreeze_at)
    wanted = [(variable.name, 0.5) for layer in stages[2] for variable in layer.trainable_variables]
    wanted += [(variable.name, 0.75) for layer in stages[1] for variable in layer.trainable_variables]
    assert wanted
    assert [(variable.name, start) for variable, start in starts] == wanted
    assert not [variable for layer in stages[0] for variable in layer.trainable_variables]


def test_without_unfreezing_nothing_is_held(network, gradual):
    assert starts_of_variables(network, gradual.model.backbone, ()) == []
    assert always_frozen(gradual.model, ()) == gradual.model


def test_stages_are_all_layers_of_the_backbone_once(network, gradual):
    layers = [layer.name for stage in stage_layers(network, gradual.model.backbone) for layer in stage]
    assert len(layers) == len(set(layers))
    assert not [name for name in layers if name.startswith(("pyramid_", "classes", "boxes"))]


def test_stages_move_in_a_training_by_the_length_that_they_are_unfrozen(gradual, tiny_coco, tmp_path):
    fields = gradual.model_dump()
    fields["training"] |= {"epochs": 2, "steps_per_epoch": 2, "evaluate_every": 2, "unfreeze_at": (0.5, 0.9)}
    fields["training"] |= {"weight_average": None, "checkpoint": "last", "weight_decay": 0.0}
    recipe = Recipe.model_validate(fields)
    start = detector_network(recipe.model, 2)
    load_pretrained(start, recipe.model.backbone, source=recipe.model.backbone.weights)
    sets = load_dataset(tiny_coco, "train"), load_dataset(tiny_coco, "val")
    train(recipe, sets[0], validation_set=sets[1], run_dir=tmp_path / "run", data_dir=tiny_coco)
    trained, _ = load_detector(tmp_path / "run" / "model.keras")
    moved = [
        max(np.abs(new - old).max() for old, new in zip(kernels(before), kernels(after), strict=True))
        for before, after in zip(
            *(stage_layers(model, recipe.model.backbone) for model in (start, trained)), strict=True
        )
    ]
    assert moved[0] == moved[1] == 0.0  # of four updates the last is number 3, and the second stage waits for 3.6
    assert 0.0 < moved[2] < moved[3]


def kernels(layers: list[keras.layers.Layer]) -> list[np.ndarray]:
    """Every weight but the statistics of BatchNorm."""
    return [weight.numpy() for layer in layers for weight in layer.weights if "moving" not in weight.name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unfreeze_at": (0.5, 0.5)}, r"unfreeze_at must rise.*Use \[0.5\]"),
        ({"unfreeze_at": (0.0,)}, "unfreeze_at"),
        ({"unfreeze_at": (0.2, 0.4, 0.6, 0.8)}, "as many frozen stages.*frozen_stages=3"),
        ({"unfreeze_at": (0.5,), "feature_views": 2}, "they must stay frozen"),
    ],
)
def test_schedules_that_cannot_be_are_refused(gradual, changes, message):
    fields = gradual.model_dump()
    fields["training"] |= changes
    with pytest.raises((InputError, ValueError), match=message):
        Recipe.model_validate(fields)
