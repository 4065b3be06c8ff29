"""The learning rate warms up, falls as the recipe says, and counts updates."""

from __future__ import annotations

import pytest

from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.recipe import Training
from keras_retina.train.optimizer import learning_rate_schedule


def rates(settings: Training, steps_per_epoch: int, steps: list[int]) -> list[float]:
    schedule = learning_rate_schedule(settings, steps_per_epoch)
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_the_cosine_rises_linearly_and_falls_to_its_final_fraction():
    settings = Training(epochs=10, learning_rate=0.2, warmup_steps=20, final_learning_rate_fraction=0.1)
    assert rates(settings, 10, [0, 5, 10, 20]) == pytest.approx([0, 0.05, 0.1, 0.2])
    assert rates(settings, 10, [60, 100]) == pytest.approx([0.11, 0.02], rel=1e-4)  # half way, and the end


def test_the_warm_up_is_at_most_half_of_a_short_training():
    settings = Training(epochs=1, learning_rate=0.2, warmup_steps=1000)
    assert rates(settings, 10, [0, 5]) == pytest.approx([0, 0.2])


def test_the_step_schedule_falls_in_equal_factors():
    settings = Training(
        epochs=10, learning_rate=0.2, warmup_steps=10, schedule="step", decay_at=(0.5, 0.8),
        final_learning_rate_fraction=0.01,
    )  # fmt: skip
    assert rates(settings, 10, [0, 5, 10, 49]) == pytest.approx([0, 0.1, 0.2, 0.2])
    assert rates(settings, 10, [50, 79, 80, 99]) == pytest.approx([0.02, 0.02, 0.002, 0.002])


def test_without_warm_up_training_starts_at_the_full_rate():
    assert rates(Training(learning_rate=0.2, warmup_steps=0), 10, [0]) == pytest.approx([0.2])
    step = Training(learning_rate=0.2, warmup_steps=0, schedule="step", decay_at=(0.5,))
    assert rates(step, 10, [0]) == pytest.approx([0.2])


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_with_accumulation_the_schedule_counts_updates(name: str):
    """40 batches in fours are 10 updates: the schedule of a training of 10 batches four times as large."""
    common = {"epochs": 10, "learning_rate": 0.2, "warmup_steps": 2, "schedule": name}
    common |= {"decay_at": (0.5,)} if name == "step" else {}
    updates = list(range(12))
    assert rates(Training(**common, accumulate_steps=4), 4, updates) == rates(Training(**common), 1, updates)


def test_batches_that_fill_no_last_update_are_not_counted():
    common = {"learning_rate": 0.2, "warmup_steps": 0, "final_learning_rate_fraction": 0.0}
    assert rates(Training(epochs=1, accumulate_steps=4, **common), 11, [1, 2]) == pytest.approx([0.1, 0], abs=1e-6)
