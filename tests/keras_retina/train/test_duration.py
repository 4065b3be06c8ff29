"""The epochs that fit a wall time are counted with their evaluations, decided once, and measuring leaves no trace."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.recipe.recipe import Training
from keras_retina.train.duration import Pace, epochs_within, measure_pace, within_minutes
from keras_retina.train.optimizer import build_optimizer

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
                settings, minutes, steps_per_epoch=2, path=path, measure=lambda: pace, started=time.perf_counter()
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


def test_measuring_leaves_model_and_optimiser_as_they_were(tiny_recipe, tiny_detector, tiny_coco):
    model, spec = tiny_detector
    model = keras.models.clone_model(model)
    model.compile(build_optimizer(Training(warmup_steps=0), 2), {"classes": FocalLoss(), "boxes": BoxLoss()})
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    batches = training_batches(load_dataset(tiny_coco, "train"), spec, batch_size=2)
    pace = measure_pace(model, model, batches=batches, spec=spec, validation_set=load_dataset(tiny_coco, "val"))
    assert min(pace.step, pace.tracing, pace.evaluation) > 0
    assert len(before) > len(model.variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)
