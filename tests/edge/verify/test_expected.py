"""The `expected:` block: what several runs gave, how far one more may be from it, and what a repeat is told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import yaml

from edge.verify.expected import MeasuredRun, compare, expected_block, expected_lines, tolerance_of
from edge.verify.result import Gate, Split, VerifyResult
from edge.verify.rows import Row
from keras_retina.recipe.recipe import recipe_from_fields


def verified(**ap: float | None) -> VerifyResult:
    """A verify.json of the rows `keras`, `int8`, ..."""
    rows = [Row(f"a_{kind}.tflite", kind, ap={"AP": value, "AP50": value}) for kind, value in ap.items()]
    return VerifyResult(Split(split="val"), Gate("", True), None, tuple(rows))


def run_of(seed: int, kernels: str = "AVX2", minutes: float = 2.0, **ap: float | None) -> MeasuredRun:
    return MeasuredRun(verified(**ap), seed, kernels, "a machine", minutes)


def recipe_with(block: str):
    return recipe_from_fields({"name": "a", **yaml.safe_load(block)}, "here")


def test_the_block_of_several_runs_has_their_mean_range_seeds_and_kernels():
    runs = [
        run_of(0, "AVX-512", keras=54.0, int8=53.0),
        run_of(0, "AVX2", 3.0, keras=56.0, int8=55.0),
        run_of(1, "AVX-512", keras=55.0, int8=54.6, float32=55.0),  # a row that the others lack
    ]
    expected = recipe_with(expected_block(runs, "command")).expected
    assert (expected.runs, expected.seeds, expected.kernels) == (3, (0, 1), ("AVX-512", "AVX2"))
    assert expected.ap == expected.ap50 == {"keras": 55.0, "int8": 54.2}
    assert expected.ap_range == {"keras": (54.0, 56.0), "int8": (53.0, 55.0)}
    assert expected.training_minutes == 2.0
    # int8 spreads most: its deviations are -1.2, 0.8 and 0.4
    assert expected.tolerance_ap == math.ceil(10 * 4.303 * math.sqrt(2.24 / 2) * math.sqrt(4 / 3)) / 10


def test_the_tolerance_is_the_prediction_interval_of_one_more_run():
    # Deviations 1 and -1, three of each: variance 6 / 5; t is 2.571 for five degrees of freedom.
    assert tolerance_of([54, 56] * 3) == math.ceil(10 * 2.571 * math.sqrt(6 / 5) * math.sqrt(7 / 6)) / 10 == 3.1
    assert tolerance_of([55.0] * 6) == 0.1
    assert tolerance_of([40.0, 60.0]) == tolerance_of([40.0]) == 1.5


def test_the_block_of_one_run_is_accepted_and_expects_what_it_gave():
    recipe = recipe_with(expected_block([run_of(0, keras=55.5, int8=None)], "command"))
    assert recipe.expected.ap == {"keras": 55.5}
    assert recipe.expected.ap_range == {}
    assert compare(verified(keras=56.9), recipe) == []
    assert compare(verified(keras=57.1), recipe) == ["keras: expected AP 55.5 within 1.5, measured 57.10"]


def test_runs_that_agree_exactly_still_make_a_block_that_is_accepted():
    recipe = recipe_with(expected_block([run_of(seed, keras=55.0) for seed in range(3)], "command"))
    assert compare(verified(keras=55.0), recipe) == []


SIX = """
expected:
  {command: keras-retina demo, machine: m, date: d, split: val, training_minutes: 1.0, tolerance_ap: 2.1, runs: 6,
   ap: {keras: 55.0, int8: 54.0}, ap50: {}, ap_range: {keras: [53.8, 56.1], int8: [53.0, 55.0]}}
"""


@pytest.mark.parametrize(
    ("ap", "line"),
    [
        (54.9, "AP 54.90 is within what this recipe gave in 6 runs (53.8 to 56.1)"),
        (56.1, "AP 56.10 is within what this recipe gave in 6 runs (53.8 to 56.1)"),
        (53.0, "AP 53.00 is within 55.0 +- 2.1; this recipe gave 53.8 to 56.1 in 6 runs"),
        (57.2, "AP 57.20 is OUTSIDE of 55.0 +- 2.1; this recipe gave 53.8 to 56.1 in 6 runs (keras-retina demo)"),
    ],
)
def test_a_repeat_is_told_where_it_lies(ap, line):
    assert expected_lines(verified(keras=ap, int8=54.0), recipe_with(SIX)) == [f"expected: {line}"]


def test_a_repeat_is_told_every_other_row_that_is_outside_or_missing():
    lines = expected_lines(verified(keras=55.0, int8=50.0), recipe_with(SIX))
    assert lines[1:] == ["expected: int8: expected AP 54.0 within 2.1, measured 50.00"]
    lines = expected_lines(verified(keras=55.0), recipe_with(SIX))
    assert lines[1:] == ["expected: int8: expected AP 54.0, not measured"]
    assert expected_lines(verified(int8=54.0), recipe_with(SIX)) == ["expected: keras: expected AP 55.0, not measured"]


def test_a_block_of_one_run_as_older_recipes_have_it_is_compared_too():
    one = SIX.replace(", runs: 6", "").replace(", ap_range: {keras: [53.8, 56.1], int8: [53.0, 55.0]}", "")
    lines = expected_lines(verified(keras=54.0, int8=54.0), recipe_with(one))
    assert lines == ["expected: AP 54.00 is within 55.0 +- 2.1; this recipe gave 55.0 in one run"]


def test_a_recipe_that_expects_nothing_is_told_nothing():
    assert expected_lines(verified(keras=1.0), recipe_with("{}")) == []


def test_figures_of_other_data_are_not_compared():
    blocks = [SIX.replace("runs: 6", f"runs: 6, {more}") for more in ("images: 40", "classes: [cat]")]
    for block in blocks:
        lines = expected_lines(verified(keras=1.0), recipe_with(block))
        assert lines == ["expected: not compared, since the recipe's figures belong to other data"]
    same = SIX.replace("runs: 6", "runs: 6, images: 5, classes: [a, b]")
    here = replace(verified(keras=55.0, int8=54.0), dataset=Split(images=5))
    rows = tuple(replace(row, per_class={"b": 1.0, "a": 2.0}) for row in here.rows)
    assert "is within" in expected_lines(replace(here, rows=rows), recipe_with(same))[0]
