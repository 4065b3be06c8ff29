"""The limits of the gate on hand-made numbers."""

from __future__ import annotations

import pytest

from edge.verify.gate import degenerate_scores, rule_text, shortfalls
from edge.verify.rows import Row
from keras_retina.recipe.recipe import Verification


def metrics(ap, **per_class):
    return Row("x.tflite", "int8", ap={"AP": ap}, per_class=per_class)


@pytest.mark.parametrize(
    ("ap", "per_class", "fails"),
    [
        (39.6, {"a": 50.0, "b": 10.0}, []),  # exactly 0.99 x 40
        (39.59, {"a": 50.0, "b": 10.0}, ["AP 39.59 is under 0.99 x 40.00 = 39.60"]),
        (45.0, {"a": 47.5, "b": 10.0}, []),  # 0.99 x 50 - 2 = 47.5
        (45.0, {"a": 47.4, "b": 10.0}, ["AP of class 'a' fell from 50.00 to 47.40, under 47.50"]),
        (45.0, {"a": 50.0, "b": None}, []),
        (10.0, {"a": 0.0, "b": 0.0}, ["AP 10.00", "class 'a'", "class 'b'"]),
    ],
)
def test_limits_are_a_ratio_for_the_mean_and_points_beyond_it_for_a_class(ap, per_class, fails):
    reasons = shortfalls(metrics(ap, **per_class), metrics(40.0, a=50.0, b=10.0), settings=Verification())
    assert len(reasons) == len(fails)
    for reason, expected in zip(reasons, fails, strict=True):
        assert expected in reason


def test_a_class_without_ground_truth_has_no_limit():
    assert shortfalls(metrics(40.0, a=None), metrics(40.0, a=None), settings=Verification()) == []


def test_the_settings_of_the_recipe_are_used_and_named():
    settings = Verification(minimum_ap_ratio=0.5, maximum_class_drop=30.0, parity=0.25)
    assert shortfalls(metrics(20.0, a=0.0), metrics(40.0, a=50.0), settings=settings) == []
    for number in ("0.5 x", "30 AP points", "0.25"):
        assert number in rule_text(settings, {})


def test_smaller_models_of_another_ratio_are_named():
    rule = rule_text(Verification(minimum_ap_ratio=0.99), {"small": 0.95, "same": 0.99, "half": 0.98})
    assert "0.99 x (small 0.95 x, half 0.98 x) the AP" in rule
    assert "0.99 x the AP" in rule_text(Verification(minimum_ap_ratio=0.99), {"same": 0.99})


@pytest.mark.parametrize(
    ("scores", "images", "reason"),
    [
        ([], 5, "no detections"),
        ([0.0] * 20, 5, "all scores are 0"),
        ([0.7] * 20, 5, "only 1 different scores in 20"),
        ([0.7, 0.8] * 20, 5, "expected at least 5"),
        ([0.1 * step for step in range(1, 10)] * 20, 500, "expected at least 10"),
        ([float("nan"), 0.5, 0.6], 2, "not between 0 and 1"),
        ([1.5, 0.5, 0.6], 2, "not between 0 and 1"),
        ([0.5], 1, "expected at least 2"),
    ],
)
def test_dead_scores_are_named(scores, images, reason):
    assert reason in degenerate_scores(scores, images)


def test_living_scores_pass():
    assert degenerate_scores([step / 11 for step in range(11)], 500) is None
    assert degenerate_scores([0.2, 0.9], 1) is None
