"""The minutes are divided without a rest, and what fits in them is computed from the measured pace."""

from __future__ import annotations

import pytest

from keras_retina.plan.budget import (
    LEAST_SHRINK,
    LEAST_STEPS,
    LEAST_UPDATES,
    divide,
    measured_pace,
    shortened_epoch,
    shrink_for,
    updates_within,
    wants_small,
)
from keras_retina.plan.wishes import Wishes
from keras_retina.train.duration import MARGIN, Pace

HALF_A_SECOND = Pace(step=0.5, tracing=0.0, evaluation=1.0)


@pytest.mark.parametrize(("small", "quantized"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("minutes", [0.5, 7.77, 20.0])
def test_the_parts_are_the_whole(minutes, small, quantized):
    budget = divide(minutes, small=small, quantized=quantized)
    assert budget.of_float + budget.of_small + budget.of_quantized == pytest.approx(minutes, abs=0.011)
    assert (budget.of_small > 0, budget.of_quantized > 0) == (small, quantized)


def test_updates_by_hand():
    assert updates_within(10, HALF_A_SECOND) == int(600 * (1 - MARGIN) / 0.5)
    assert updates_within(0.1, Pace(0.5, 30.0, 1.0)) == 0  # tracing alone takes longer


def test_an_input_shrinks_only_when_the_updates_are_too_few_and_never_below_the_least():
    enough = LEAST_UPDATES * 0.5 / 60 / (1 - MARGIN)
    assert shrink_for(enough * 1.01, HALF_A_SECOND) == 1.0
    assert shrink_for(enough * 0.64, HALF_A_SECOND) == pytest.approx(0.8, abs=0.01)
    assert shrink_for(0.01, HALF_A_SECOND) == LEAST_SHRINK


def test_long_epochs_are_shortened_so_that_whole_ones_fill_the_time():
    assert shortened_epoch(10, HALF_A_SECOND, steps=20) is None  # 1140 updates are 57 epochs of 20
    assert shortened_epoch(10, HALF_A_SECOND, steps=100) == int(600 * (1 - MARGIN) / 0.5) // 40
    assert shortened_epoch(0.1, HALF_A_SECOND, steps=100) == LEAST_STEPS


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(), (True, False)),
        (Wishes(objective="smallest"), (True, True)),
        (Wishes(objective="fastest"), (True, False)),
        (Wishes(objective="best"), (False, False)),
        (Wishes(latency=5.0), (False, False)),
        (Wishes(latency=5.0, objective="smallest"), (True, True)),
    ],
)
def test_which_smaller_models_take_a_share(wishes, expected):
    assert wants_small(wishes) == expected


def test_the_pace_of_a_recipe_is_measured_on_its_own_batches(tiny_coco, tiny_recipe):
    from keras_retina.data.reading.folder import load_dataset

    pace = measured_pace(tiny_recipe, load_dataset(tiny_coco, "train"), load_dataset(tiny_coco, "val"))
    assert pace.step > 0
    assert pace.evaluation > 0
