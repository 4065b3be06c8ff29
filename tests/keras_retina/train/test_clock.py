"""A training of a given time ends then, however the machine's pace changes, at the end of its schedule."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.recipe import Training
from keras_retina.train.clock import KeepTime, epochs_left
from keras_retina.train.optimizer import build_optimizer, learning_rate_schedule, stretch_of


@pytest.mark.parametrize(
    ("seconds", "plain", "evaluated", "done", "every", "most", "expected"),
    [
        (100, 0, 0, 5, 10, 99, 15),  # ten more epochs of 10 s
        (100, 0, 0, 5, 10, 9, 9),
        (100, 0, 10, 5, 5, 99, 12),  # evaluations after 5, 10 and the last: 30 s; seven epochs
        (100, 10, 10, 5, 99, 99, 9),  # four epochs, and 10 s behind each of the five
        (9, 0, 0, 5, 99, 99, 5),
        (-50, 0, 0, 5, 99, 99, 5),
    ],
)
def test_epochs_that_fit_in_what_is_left(seconds, plain, evaluated, done, every, most, expected):
    chosen = epochs_left(seconds, 10, plain=plain, evaluated=evaluated, done=done, every=every, most=most)
    assert chosen == expected


def simulate(tmp_path, pace, *, ends=1000.0, planned=50, every=10, evaluation=5.0, most=500):
    """Runs epochs of `pace(number)` seconds by a false clock; returns how many, when it ended, and the stretch."""
    now = [0.0]
    stretch = tf.Variable(1.0)
    optimizer = SimpleNamespace(_learning_rate=SimpleNamespace(stretch=stretch))
    path = tmp_path / "duration.json"
    path.write_text(json.dumps({"epochs": planned, "evaluation_seconds": evaluation}))
    keeper = KeepTime(
        ends,
        minutes=ends / 60,
        epochs=planned,
        most=most,
        evaluate_every=every,
        path=path,
        evaluation=evaluation,
        clock=lambda: now[0],
    )
    follower = SimpleNamespace(epochs=planned)
    keeper.followers.append(follower)
    keeper.set_params({"steps": 40})
    keeper.set_model(SimpleNamespace(optimizer=optimizer, stop_training=False))
    epoch = 0
    while not keeper.model.stop_training:
        keeper.on_epoch_begin(epoch)
        now[0] += pace(epoch)
        keeper.on_epoch_end(epoch)
        epoch += 1
        now[0] += evaluation if epoch % every == 0 or epoch == follower.epochs else 0.0
    now[0] += 20 * pace(epoch) / 40 + max(0.0, pace(0) - pace(epoch)) / 3  # 60 batches forward, traced
    assert epoch == keeper.epochs == follower.epochs == json.loads(path.read_text())["epochs"]
    return epoch, now[0], float(stretch.numpy())


@pytest.mark.parametrize(
    "pace",
    [
        lambda epoch: 18.0,  # as was planned
        lambda epoch: 9.0,
        lambda epoch: 30.0,
        lambda epoch: 200.0 if epoch == 0 else 9.0,  # the first one traces
        lambda epoch: 9.0 if epoch < 20 else 18.0,  # other work begins
        lambda epoch: 18.0 if epoch < 20 else 9.0,  # other work ends
    ],
)
def test_it_ends_within_five_percent_of_its_time(tmp_path, pace):
    epochs, ended, stretch = simulate(tmp_path, pace)
    assert 950 <= ended <= 1000
    assert stretch * epochs == pytest.approx(50)  # the schedule is at its end


def test_the_recipe_can_limit_the_epochs(tmp_path):
    epochs, ended, _ = simulate(tmp_path, lambda epoch: 1.0, most=60)
    assert epochs == 60
    assert ended < 200


def test_a_stretched_schedule_is_the_schedule_of_the_other_length():
    settings = Training(epochs=10, warmup_steps=0, minutes=5.0)
    optimizer = build_optimizer(settings, 4)
    stretched, longer = optimizer._learning_rate, learning_rate_schedule(settings.model_copy(update={"epochs": 20}), 4)
    stretch_of(optimizer).assign(0.5)
    for step in (0, 13, 40, 79, 80):
        assert float(stretched(tf.constant(step, tf.int64))) == pytest.approx(float(longer(step)), rel=1e-5)


def test_a_training_without_minutes_has_the_plain_schedule():
    assert not hasattr(build_optimizer(Training(), 4)._learning_rate, "stretch")
