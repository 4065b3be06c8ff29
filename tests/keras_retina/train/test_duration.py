"""A training of a given time ends then: the epochs that fit are counted with their evaluations, before and while it
trains, and measuring leaves no trace.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.recipe import Training
from keras_retina.train.clock import KeepTime, epochs_left, time_keeper
from keras_retina.train.duration import AFTER_TRACING, Pace, epochs_within, measure_pace, seconds_spent, within_minutes
from keras_retina.train.fit import compile_detector
from keras_retina.train.optimizer import build_optimizer, learning_rate_schedule, set_epochs

LONG = Pace(step=1e4, tracing=100.0, evaluation=3e3)  # so slow that the seconds of a test do not matter


@pytest.mark.parametrize(
    ("seconds", "epoch", "evaluation", "every", "most", "expected"),
    [
        (100, 10, 0, 5, 40, 10),
        (100, 10, 0, 5, 8, 8),
        (100, 10, 10, 1, 40, 5),
        (100, 10, 10, 5, 40, 8),  # evaluations after 5 and 8; nine epochs would take 110
        (100, 10, 50, 100, 40, 5),
        (9, 10, 0, 5, 40, 0),
        (15, 10, 10, 5, 40, 0),
        (20, 10, 10, 5, 40, 1),
        (-5, 10, 10, 5, 40, 0),
    ],
)
def test_epochs_fit_with_their_evaluations(seconds, epoch, evaluation, every, most, expected):
    assert epochs_within(seconds, epoch, evaluation=evaluation, evaluate_every=every, most=most) == expected


@pytest.fixture
def decided(logged):
    """`decided(settings, minutes, path, pace)` -> the settings with their epochs, and what was told."""

    def decide(settings: Training, minutes: float, path: Path, pace: Pace = LONG) -> tuple[Training, list[str]]:
        with logged() as lines:
            chosen = within_minutes(
                settings,
                minutes,
                steps_per_epoch=2,
                path=path,
                measure=lambda: pace,
                started=time.perf_counter() - seconds_spent(path),
            )
        return chosen, lines

    return decide


def test_the_decision_is_written_and_not_measured_again(tmp_path, decided):
    """Epochs of 20,000 s with evaluations of 3,000 s after every second: two in 950 of 1000 minutes."""
    settings, lines = decided(Training(epochs=9, evaluate_every=2), 1000, tmp_path / "duration.json")
    assert settings.epochs == 2
    assert lines == [
        "2 epochs in 1000 min at 10000.00 s a step and 3000.0 s an evaluation; the limit is training.minutes"
    ]
    assert json.loads((tmp_path / "duration.json").read_text(encoding="utf-8"))["epochs"] == 2
    fast = Pace(1e-9, 0.0, 0.0)
    again, lines = decided(Training(epochs=9, evaluate_every=2), 1000, tmp_path / "duration.json", fast)
    assert again == settings
    assert lines == []


def test_the_epochs_of_the_recipe_stay_the_most(tmp_path, decided):
    settings, lines = decided(Training(epochs=1), 1000, tmp_path / "duration.json")
    assert settings.epochs == 1
    assert lines[0].endswith("the limit is training.epochs")


def test_a_time_too_short_for_one_epoch_is_refused_in_one_line_and_nothing_is_decided(tmp_path, decided):
    with pytest.raises(InputError, match=r"training\.minutes: .* 20000 s .* 3000 s\. Received: 10\.0, .*steps_per"):
        decided(Training(), 10.0, tmp_path / "duration.json")
    assert not list(tmp_path.iterdir())


def test_measuring_leaves_model_and_optimiser_as_they_were(plain_detector, tiny_coco):
    model, spec = plain_detector
    model = keras.models.clone_model(model)
    compile_detector(model, spec, settings=Training(warmup_steps=0), steps_per_epoch=2, precision="float32")
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    batches = training_batches(load_dataset(tiny_coco, "train"), spec, batch_size=2)
    detect = detect_function(model, spec)
    pace = measure_pace(model, detect, batches=batches, spec=spec, validation_set=load_dataset(tiny_coco, "val"))
    assert min(pace.step, pace.tracing, pace.evaluation) > 0
    assert len(before) > len(model.variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)


# The clock, while it trains


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


def simulate(tmp_path, pace, *, seconds=1000.0, spent=0.0, planned=50, every=10, evaluation=5.0, most=500, tracing=0.0):
    """Runs epochs of `pace(number)` seconds by a false clock; returns how many, when it ended, and the schedule's."""
    now = [spent]
    schedule = SimpleNamespace(epochs=tf.Variable(planned))
    path = tmp_path / "duration.json"
    path.write_text(json.dumps({"epochs": planned, "step_seconds": 1.0, "evaluation_seconds": evaluation}))
    keeper = KeepTime(
        0.0,
        seconds=seconds,
        epochs=planned,
        most=most,
        evaluate_every=every,
        path=path,
        evaluation=evaluation,
        tracing=tracing,
        clock=lambda: now[0],
    )
    follower = SimpleNamespace(epochs=planned)
    keeper.followers.append(follower)
    keeper.set_params({"steps": 40})
    keeper.set_model(SimpleNamespace(optimizer=SimpleNamespace(_learning_rate=schedule), stop_training=False))
    epoch = 0
    while not keeper.model.stop_training:
        keeper.on_epoch_begin(epoch)
        now[0] += pace(epoch)
        keeper.on_epoch_end(epoch)
        epoch += 1
        written = json.loads(path.read_text())
        assert (written["done"], written["spent_seconds"]) == (epoch, pytest.approx(now[0]))
        now[0] += evaluation if epoch % every == 0 or epoch == follower.epochs else 0.0
    now[0] += 20 * pace(epoch) / 40 + AFTER_TRACING * tracing  # 60 batches forward, traced
    assert epoch == keeper.epochs == follower.epochs == json.loads(path.read_text())["epochs"]
    return epoch, now[0], int(schedule.epochs.numpy())


@pytest.mark.parametrize(
    ("pace", "tracing"),
    [
        (lambda epoch: 18.0, 0.0),  # as was planned
        (lambda epoch: 9.0, 0.0),
        (lambda epoch: 30.0, 0.0),
        (lambda epoch: 200.0 if epoch == 0 else 9.0, 0.0),  # the first one reads the images
        (lambda epoch: 9.0, 160.0),
        (lambda epoch: 9.0 if epoch < 20 else 18.0, 0.0),  # other work begins
        (lambda epoch: 18.0 if epoch < 20 else 9.0, 0.0),  # other work ends
    ],
)
@pytest.mark.parametrize("spent", [0.0, 400.0])
def test_it_ends_within_five_percent_of_its_time(tmp_path, pace, tracing, spent):
    epochs, ended, scheduled = simulate(tmp_path, pace, tracing=tracing, spent=spent)
    assert 950 <= ended <= 1000
    assert scheduled == epochs  # the schedule is at its end


def test_the_recipe_can_limit_the_epochs(tmp_path):
    epochs, ended, _ = simulate(tmp_path, lambda epoch: 1.0, most=60)
    assert epochs == 60
    assert ended < 200


@pytest.mark.parametrize(
    "changes",
    [{"warmup_steps": 0}, {"warmup_steps": 6}, {"warmup_steps": 30}, {"schedule": "step", "decay_at": (0.4,)}],
)
def test_a_schedule_whose_epochs_change_is_then_that_of_the_other_length(changes):
    settings = Training(epochs=1000, minutes=5.0, accumulate_steps=2, **changes)
    optimizer = build_optimizer(settings, 4)
    set_epochs(optimizer, 21)
    expected = learning_rate_schedule(settings.model_copy(update={"epochs": 21}), 4)
    changing = tf.function(optimizer._learning_rate.__call__)
    for step in (0, 1, 5, 13, 16, 17, 25, 41, 42, 50):
        step = tf.constant(step, tf.int64)
        assert float(changing(step)) == pytest.approx(float(expected(step)), rel=1e-4, abs=1e-9)


def test_a_training_without_minutes_has_the_plain_schedule():
    assert isinstance(build_optimizer(Training(), 4)._learning_rate, keras.optimizers.schedules.CosineDecay)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, 9),  # nothing is done: as was decided
        ({"done": 4, "spent_seconds": 580.0}, 8),  # 950 s less 580, less 25 for graphs: four epochs of 80 s, evaluated
        ({"done": 4, "spent_seconds": 830.0}, 5),
        ({"done": 4, "spent_seconds": 900.0}, 4),
        ({"done": 4, "spent_seconds": 5000.0}, 4),
    ],
)
def test_what_was_spent_before_an_interruption_counts(tmp_path, decided, facts, expected):
    path = tmp_path / "duration.json"
    path.write_text(
        json.dumps({"epochs": 9, "step_seconds": 40.0, "evaluation_seconds": 5.0, "tracing_seconds": 20.0, **facts})
    )
    settings, lines = decided(Training(epochs=99, evaluate_every=2), 1000 / 60, path)
    assert settings.epochs == expected
    assert lines == ([f"{facts['spent_seconds'] / 60:.1f} of 16.6667 min were spent before"] if facts else [])


def test_the_clock_leaves_time_for_the_end_and_for_what_is_still_traced(tmp_path):
    path = tmp_path / "duration.json"
    pace = {"epochs": 9, "step_seconds": 1.0, "evaluation_seconds": 5.0, "tracing_seconds": 8.0}
    path.write_text(json.dumps(pace))
    keeper = time_keeper(Training(minutes=3.0), started=500.0, most=9, path=path)
    assert keeper.ends == pytest.approx(500 + 180 * 0.99 - AFTER_TRACING * 8)
    assert seconds_spent(path) == seconds_spent(tmp_path / "missing.json") == 0


@pytest.mark.parametrize("text", ["", '{"epochs": 9, "step', "[1]", '{"epochs": "9"}', '{"epochs": 9}', "[" * 100_000])
def test_a_damaged_file_of_the_time_is_refused_by_name(tmp_path, text):
    path = tmp_path / "duration.json"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"duration\.json: expected the pace of the training as JSON\. .*measured anew"
    ):
        seconds_spent(path)


def test_the_steps_of_an_epoch_that_goes_on_are_time_that_is_not_needed_again(tmp_path, decided):
    """370 s are left for epochs of 80 s and an evaluation of 5 s: four. Half of the running one is done: five."""
    path = tmp_path / "duration.json"
    pace = {"epochs": 9, "step_seconds": 40.0, "evaluation_seconds": 5.0, "tracing_seconds": 0.0}
    for steps, expected in ((0, 8), (1, 9)):
        path.write_text(json.dumps({**pace, "done": 4, "steps": steps, "spent_seconds": 580.0}))
        settings, _ = decided(Training(epochs=99, evaluate_every=99), 1000 / 60, path)
        assert settings.epochs == expected
