"""Augmentation and length follow from the number of images, the spread of sizes and the time."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from keras_retina.plan.budget import Budget, Timing
from keras_retina.plan.learning import (
    LEAST_EPOCHS,
    MOST_EPOCHS,
    augmentation_choices,
    epochs_for,
    evaluate_every,
    flip_choice,
    steps_per_epoch,
    training_choices,
)
from keras_retina.plan.wishes import Wishes


def values(choices):
    return {choice.place: choice.value for choice in choices}


def scale(facts, small_side=40.0):
    return values(augmentation_choices(facts, small_side))["augmentation.scale"]


def test_fewer_images_are_changed_more(facts):
    ranges = [scale(facts(images=images)) for images in (100, 1000, 10_000)]
    widths = [high / low for low, high in ranges]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_objects_of_one_size_are_zoomed_little_and_tiny_ones_not_shrunk(facts):
    assert scale(facts(images=100, class_spread=1.2)) == [0.8, 1.25]
    low, high = scale(facts(images=100), small_side=10.0)
    assert low == 0.8
    assert high == scale(facts(images=100))[1]


def test_flips_follow_the_names(facts):
    assert flip_choice(facts()).value is True
    refused = flip_choice(facts(class_counts={"left": 3, "right": 4}))
    assert refused.value is False
    assert "'left'" in refused.why


def test_epochs_fall_and_updates_rise_with_the_images():
    sizes = [10, 50, 200, 1000, 5000, 100_000]
    epochs = [epochs_for(images, objective=None) for images in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[2], epochs[-1]) == (MOST_EPOCHS, 60, LEAST_EPOCHS)
    updates = [one * steps_per_epoch(images) for one, images in zip(epochs, sizes, strict=True)]
    assert all(after > before for before, after in itertools.pairwise(updates))
    assert epochs_for(200, objective="best") == 90


def test_an_epoch_has_a_step_however_few_the_images():
    assert steps_per_epoch(3) == 1


def test_without_a_time_the_epochs_are_written(facts):
    found = values(training_choices(facts(images=200), Wishes()))
    assert found["training.epochs"] == 60
    assert found["training.evaluate_every"] == 10
    assert found["training.warmup_steps"] == 75  # a twentieth of 60 x 25
    assert "training.minutes" not in found


def test_a_time_is_the_limit_and_says_what_it_covers(facts):
    timing = Timing(Budget(20.0, 12.0, 8.0), step=0.5, updates=1300, steps=32)
    choices = training_choices(facts(images=900), Wishes(minutes=20.0), timing)
    found = values(choices)
    assert found["training.minutes"] == 12.0
    assert found["training.epochs"] == 1000
    assert found["training.steps_per_epoch"] == 32
    assert found["training.evaluate_every"] == 7  # a sixth of 1300 / 32 epochs
    why = next(choice.why for choice in choices if choice.place == "training.minutes")
    assert why.startswith("of 20 for training with evaluations (12 float, 8 smaller), export and verify come on top;")


@pytest.mark.parametrize("minutes", [None, 5.0])
def test_every_choice_says_a_field_of_the_recipe(facts, minutes):
    timing = Timing(Budget(5.0, 5.0), step=0.5, updates=500, steps=None) if minutes else None
    assert all(one.place.startswith("training.") for one in training_choices(facts(), Wishes(minutes=minutes), timing))


def test_slow_evaluations_come_less_often():
    """8 % of ten minutes are 48 s: two evaluations of 20 s, so one after each half."""
    timing = Timing(Budget(10.0, 10.0), step=1.0, updates=400, steps=10, evaluation=20.0)
    assert evaluate_every(40, timing) == 20
    assert evaluate_every(40) == 7
    assert evaluate_every(40, dataclasses.replace(timing, evaluation=900.0)) == 40
