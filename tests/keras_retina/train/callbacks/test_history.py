"""Rows of `history.csv`, lines of progress inside and after epochs, and warnings about time that is lost."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.callbacks import history as module
from keras_retina.train.callbacks.history import (
    HISTORY_COLUMNS,
    History,
    InputWait,
    Progress,
    enough_epochs,
    evaluation_share,
    evaluations_between,
)


def settings_of(epochs: int, every: int = 5) -> dict[str, Any]:
    """What `History` is told of a training of 8 images an epoch."""
    return {"epochs": epochs, "images_per_epoch": 8, "evaluate_every": every, "wait": InputWait()}


class Clock:
    """A clock that somebody else sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


class Evaluated(keras.callbacks.Callback):
    """Epoch -> how many seconds its evaluation took by the clock."""

    def __init__(self, seconds: dict[int, float], score: float = 5.0, clock: Clock | None = None) -> None:
        super().__init__()
        self.seconds, self.score, self.clock = seconds, score, clock

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.seconds:
            logs.update(AP=self.score, AP50=self.score, evaluation_seconds=self.seconds[epoch + 1])
            if self.clock:
                self.clock.now += self.seconds[epoch + 1]


class Steps(keras.callbacks.Callback):
    """Every step takes `seconds` by the clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def on_train_batch_end(self, batch, logs=None):
        self.clock.now += self.seconds


@pytest.fixture
def told(monkeypatch, tmp_path, logged, linear_model, fit, writer):
    """`told(epochs, step_seconds, {epoch: evaluation_seconds}, every)` -> the lines of a training by such a clock."""

    def run(epochs: int, step_seconds: float, evaluations: dict[int, float], every: int) -> list[str]:
        clock = Clock()
        monkeypatch.setattr(module, "time", clock)
        hook = History(tmp_path / "history.csv", writer, **settings_of(epochs, every))
        with logged() as lines:
            fit(linear_model(), epochs, Steps(clock, step_seconds), Evaluated(evaluations, clock=clock), hook)
        return lines

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_history_has_a_row_for_each_epoch_and_goes_on_after_a_resume(tmp_path, logged, linear_model, fit, writer):
    path, model = tmp_path / "history.csv", linear_model()
    with logged() as lines:
        for done, score in ((0, 3), (2, 5)):
            history = History(path, writer, **settings_of(4, 2))
            fit(model, done + 2, Evaluated({done + 2: 0.25}, score), history, initial_epoch=done)
    rows = rows_of(path)
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["AP"] for row in rows] == ["", "3", "", "5"]
    assert [row["evaluation_seconds"] for row in rows] == ["", "0.25", "", "0.25"]
    assert all(math.isfinite(float(row["loss"])) and float(row["seconds"]) > 0 for row in rows)
    assert float(rows[0]["loss"]) == pytest.approx(
        float(rows[0]["classes_loss"]) + float(rows[0]["boxes_loss"]), rel=1e-4
    )
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.1] * 4)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/4", "epoch 2/4", "epoch 3/4", "epoch 4/4"]
    assert "AP 3.0" in lines[1]
    assert "AP" not in lines[0]


class Waited(InputWait):
    """An input that was waited for as long as it says, in each epoch."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def take(self) -> float:
        return self.seconds


@pytest.mark.parametrize(("seconds", "warnings"), [(0.0, 0), (1e6, 1)])
def test_a_training_that_starves_is_warned_about_once_and_not_for_its_first_epoch(
    tmp_path, seconds, warnings, logged, linear_model, fit, writer
):
    model = linear_model()
    with logged() as lines:
        fit(model, 4, History(tmp_path / "history.csv", writer, **settings_of(4) | {"wait": Waited(seconds)}))
    told = [number for number, line in enumerate(lines) if line.startswith("warning: training waited")]
    assert told == [2][:warnings]  # behind the lines of epochs 1 and 2
    assert all((float(row["input_wait"]) > 0) == bool(seconds) for row in rows_of(tmp_path / "history.csv"))


def test_a_row_that_does_not_fit_on_the_disk_is_one_line(tmp_path, linear_model, fit, writer):
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(InputError, match=r"history\.csv: the history could not be written\. .*the checkpoint before"):
        fit(linear_model(), 1, History(tmp_path / "history.csv", writer, **settings_of(1)))


def test_an_epoch_that_was_interrupted_has_the_time_of_both_parts(
    tmp_path, monkeypatch, logged, linear_model, fit, writer
):
    """100 s and 40 s of waiting before; two steps of 10 s after; the next epoch begins at zero again."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    history = History(tmp_path / "history.csv", writer, **settings_of(2), before=(100.0, 40.0))
    with logged():
        fit(linear_model(), 2, Steps(clock, 10.0), history)
    rows = rows_of(tmp_path / "history.csv")
    assert [float(row["seconds"]) for row in rows] == [120.0, 20.0]
    assert [float(row["input_wait"]) for row in rows] == pytest.approx([40 / 120, 0.0], rel=1e-4)


def test_the_time_left_does_not_count_the_tracing_of_the_first_step_again(
    tmp_path, monkeypatch, logged, linear_model, fit, writer
):
    """The first step takes 600 s, each other one 30 s, two an epoch: 3 epochs of a minute are left."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)

    class Traced(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_begin(self, batch: int, logs=None) -> None:
            clock.now += 30.0 if Traced.steps else 600.0
            Traced.steps += 1

    with logged() as lines:
        fit(linear_model(), 4, Traced(), History(tmp_path / "history.csv", writer, **settings_of(4)))
    left = [line.partition("about ")[2] for line in lines if line.startswith("epoch")]
    assert left == ["3.0 min left", "2.0 min left", "1.0 min left", "0.0 min left"]
    assert [float(row["seconds"]) for row in rows_of(tmp_path / "history.csv")] == [630.0, 60.0, 60.0, 60.0]


# Time that evaluation takes


def test_speed_is_that_of_the_steps_and_the_time_left_counts_the_evaluations(told):
    """Two steps of 2 s for 8 images; evaluations of 6 s after epochs 2 and 4 of 4."""
    lines = [line.split("  ") for line in told(4, 2.0, {2: 6.0, 4: 6.0}, 2)]
    assert [line[2] for line in lines if line[0].startswith("epoch")] == ["2.0 images/s"] * 4
    left = [next(part for part in line if part.endswith("left")) for line in lines if line[0].startswith("epoch")]
    assert left == ["about 0.2 min left", "about 0.2 min left", "about 0.2 min left", "about 0.0 min left"]


def test_the_share_of_evaluation_is_in_the_line_once_there_was_one(told):
    lines = told(4, 5.0, {2: 1.0, 4: 1.0}, 2)
    assert len(lines) == 4
    assert "evaluation" not in lines[0]
    assert "  evaluation 5%  " in lines[1]
    assert "  evaluation 5%  " in lines[3]


def test_evaluation_over_a_tenth_of_the_time_is_warned_about_once_with_what_to_set(told):
    """Epochs of 4 s and evaluations of 6 s: 54 s of training, 14 epochs, to a tenth."""
    lines = told(8, 2.0, {2: 6.0, 4: 6.0, 6: 6.0, 8: 6.0}, 2)
    warnings = [number for number, line in enumerate(lines) if line.startswith("warning")]
    assert warnings == [4]  # behind epoch 4: the first evaluation also traces and reads
    assert lines[4].startswith("warning: evaluation took 43% of the time so far. Set training.evaluate_every to 14 or ")
    assert "(it is 2)" in lines[4]


def test_one_slow_evaluation_and_fast_ones_bring_no_warning(told):
    assert not [line for line in told(4, 20.0, {2: 60.0}, 2) if "warning" in line]
    assert not [line for line in told(4, 20.0, {2: 8.0, 4: 8.0}, 2) if "warning" in line]


@pytest.mark.parametrize(
    ("done", "epochs", "every", "expected"),
    [(0, 4, 2, 2), (2, 4, 2, 1), (4, 4, 2, 0), (0, 5, 2, 3), (0, 3, 10, 1), (0, 0, 1, 0), (3, 9, 1, 6)],
)
def test_evaluations_come_every_so_many_epochs_and_after_the_last(done, epochs, every, expected):
    assert evaluations_between(done, epochs, every=every) == expected


def test_the_share_is_that_of_all_seconds():
    assert evaluation_share([], []) == 0.0
    assert evaluation_share([9.0, 9.0], []) == 0.0
    assert evaluation_share([4.0, 5.0], [1.0]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("training", "evaluation", "expected"),
    [(9.0, 1.0, 1), (1.0, 1.0, 9), (1.0, 1.01, 10), (4.0, 6.0, 14), (5.0, 0.0, 1)],
)
def test_so_many_epochs_between_evaluations_keep_them_at_a_tenth(training, evaluation, expected):
    assert enough_epochs(training, evaluation) == expected


# Inside an epoch


@pytest.fixture
def progress(logged):
    """`progress(step_seconds, steps, epochs)` -> the lines inside epochs of such steps."""

    def run(step_seconds: float, steps: int, epochs: int = 1) -> list[str]:
        clock = Clock()
        hook = Progress(4, clock.perf_counter)
        hook.set_params({"epochs": epochs, "steps": steps})
        with logged() as lines:
            for epoch in range(epochs):
                hook.on_epoch_begin(epoch)
                for batch in range(steps):
                    clock.now += step_seconds
                    hook.on_train_batch_end(batch, {"loss": 1.25})
        return lines

    return run


def test_a_long_epoch_tells_every_30_seconds_where_it_is(progress):
    """Steps of 12 s and 4 images: every third brings a line, but not the last, which the epoch's own line follows.

    The very first step traces the graph: counting starts behind it.
    """
    lines = progress(12.0, 9, epochs=2)
    assert [line.split("  ")[1] for line in lines] == [
        "epoch 1/2 step 4/9", "epoch 1/2 step 7/9", "epoch 2/2 step 3/9", "epoch 2/2 step 6/9"
    ]  # fmt: skip
    assert lines[0] == "  epoch 1/2 step 4/9  loss 1.2500  0.3 images/s  about 1.0 min left of this epoch"


def test_short_epochs_bring_no_line_of_their_own(progress):
    assert progress(2.0, 14, epochs=20) == []


def test_a_step_longer_than_that_brings_a_line_each(progress):
    assert len(progress(100.0, 4)) == 2


def test_progress_works_inside_fit(logged, linear_model, fit):
    clock = Clock()
    with logged() as lines:
        fit(linear_model(), 2, Steps(clock, 40.0), Progress(4, clock.perf_counter))
    assert [line.split("  ")[1] for line in lines] == ["epoch 2/2 step 1/2"]


# Waiting for a slow dataset is counted; a fast dataset, and the time between two reads, are not.


def slow(seconds: float) -> tf.data.Dataset:
    def delay(number):
        time.sleep(seconds)
        return number

    return tf.data.Dataset.range(6).map(lambda number: tf.numpy_function(delay, [number], tf.int64))


def test_the_elements_are_those_of_the_dataset_in_its_order():
    assert [int(number) for number in InputWait().watch(slow(0))] == [0, 1, 2, 3, 4, 5]


def test_the_time_of_a_slow_dataset_is_waiting():
    wait, start = InputWait(), time.perf_counter()
    list(wait.watch(slow(0.05)))
    assert 6 * 0.05 <= wait.take() <= time.perf_counter() - start
    assert wait.take() == 0.0


def test_time_between_reads_is_not_waiting_and_prefetching_hides_a_slow_dataset():
    wait, start = InputWait(), time.perf_counter()
    for _ in wait.watch(slow(0.05).prefetch(6)):
        time.sleep(0.1)
    assert wait.take() < 0.5 * (time.perf_counter() - start)  # the first element alone is waited for
