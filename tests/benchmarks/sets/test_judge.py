"""Whether a setting helps over all data sets: hand-computed differences, errors and verdicts."""

from __future__ import annotations

import math

import judge
import pytest


def aps_of(**sets: tuple[list[float], list[float]]) -> dict[tuple[str, str, int], float]:
    """`{(set, setting, seed): AP}` from the AP of base and setting, a number for each seed."""
    return {
        (name, setting, seed): ap
        for name, pair in sets.items()
        for setting, aps in zip(("base", "new"), pair, strict=True)
        for seed, ap in enumerate(aps)
    }


def verdict_of(**sets: tuple[list[float], list[float]]) -> str:
    return judge.verdict(judge.compare(aps_of(**sets), "new", base="base").values())


def test_differences_are_paired_by_seed():
    found = judge.compare(aps_of(cells=([40.0, 44.0], [43.0, 45.0])), "new", base="base")["cells"]
    assert found.differences == (3.0, 1.0)
    assert (found.mean, found.spread) == (2.0, 4.0)
    assert found.ratio == pytest.approx(44.0 / 42.0)


def test_a_seed_or_a_set_that_only_one_of_both_has_is_left_out():
    aps = aps_of(cells=([40.0, 10.0], [43.0]), jars=([50.0], []))
    found = judge.compare(aps, "new", base="base")
    assert list(found) == ["cells"]
    assert found["cells"].differences == (3.0,)


def test_every_set_counts_alike_however_many_seeds_it_has():
    found = judge.compare(aps_of(a=([10.0, 10.0, 10.0], [13.0] * 3), b=([20.0], [21.0])), "new", base="base")
    assert judge.mean_difference(found.values()) == 2.0


def test_the_standard_error_is_over_sets():
    found = judge.compare(aps_of(a=([10.0], [11.0]), b=([10.0], [12.0]), c=([10.0], [13.0])), "new", base="base")
    assert judge.standard_error(found.values()) == pytest.approx(1.0 / math.sqrt(3))
    assert judge.standard_error([found["a"]]) is None


def test_the_ratio_over_sets_is_the_geometric_mean():
    found = judge.compare(aps_of(a=([10.0], [20.0]), b=([40.0], [20.0]), c=([10.0], [80.0])), "new", base="base")
    assert judge.geometric_mean_ratio(found.values()) == pytest.approx(2.0)


def test_a_base_without_ap_has_no_ratio_and_a_setting_without_ap_has_ratio_0():
    found = judge.compare(aps_of(a=([0.0], [5.0]), b=([40.0], [0.0])), "new", base="base")
    assert found["a"].ratio is None
    assert judge.geometric_mean_ratio(found.values()) is None
    assert judge.geometric_mean_ratio([found["b"]]) == 0.0
    assert judge.geometric_mean_ratio([]) is None


def test_more_than_two_standard_errors_above_zero_helps():
    # Differences 1, 2, 3: mean 2, standard error 0.577.
    assert verdict_of(a=([10.0], [11.0]), b=([10.0], [12.0]), c=([10.0], [13.0])) == "helps"


def test_more_than_two_standard_errors_below_zero_hurts():
    assert verdict_of(a=([10.0], [9.0]), b=([10.0], [8.0]), c=([10.0], [7.0])) == "hurts"


def test_within_two_standard_errors_is_not_shown():
    # Differences 0, 1, 5: mean 2, standard error 1.53.
    assert verdict_of(a=([10.0], [10.0]), b=([10.0], [11.0]), c=([10.0], [15.0])) == "not shown"


def test_two_sets_show_nothing():
    assert verdict_of(a=([10.0], [12.0]), b=([10.0], [12.0])) == "not shown"
    assert judge.verdict([]) == "not shown"


def test_a_set_that_loses_more_than_its_trainings_differ_keeps_a_setting_from_helping():
    # Differences 3, 3, 3, 3, -1: mean 2.2, standard error 0.8. The base of the last set differs by 0.5, or by 2.
    winners = {name: ([10.0, 10.0], [13.0, 13.0]) for name in "abcd"}
    assert verdict_of(**winners, e=([10.0, 10.5], [9.0, 9.5])) == "not shown"
    assert verdict_of(**winners, e=([10.0, 12.0], [9.0, 11.0])) == "helps"
