"""Numbers of a benchmark by hand: quantiles, shares of the first file, and when two files do not differ."""

from __future__ import annotations

import numpy as np
import pytest

from edge.benchmark.comparison import against_first, by_operator, latency_statistics, throughput


def test_statistics_are_over_the_invokes_of_all_rounds():
    found = latency_statistics([[1.0, 2.0], [3.0, 4.0], [5.0, 100.0]])
    assert found == {
        **{"median_ms": 3.5, "min_ms": 1.0, "q1_ms": 2.25, "q3_ms": 4.75, "iqr_ms": 2.5, "runs": 6},
        "p95_ms": 76.25,  # at 4.75 of positions 0..5: 5 + 0.75 x 95
    }


def test_one_invoke_has_no_spread():
    assert latency_statistics([[7.0]])["iqr_ms"] == 0.0


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "faster"), (1.0, "no difference"), (1.5, "slower")])
def test_a_slow_moment_of_the_machine_counts_for_both_files(factor, verdict):
    moments = np.array([1.0, 1.0, 8.0, 1.0, 3.0, 2.0])[:, None] * np.array([[10.0, 11.0, 12.0]])
    found = against_first(moments, factor * moments)
    assert found == {"share": factor, "low": factor, "high": factor, "verdict": verdict}


def test_overlapping_noise_is_no_difference_though_the_medians_differ():
    generator = np.random.default_rng(1)
    first = 10 + generator.normal(0, 1, (20, 5))
    rounds = 10.05 + generator.normal(0, 1, (20, 5))
    found = against_first(first, rounds)
    assert found["share"] != 1.0
    assert found["low"] < 1 < found["high"]
    assert found["verdict"] == "no difference"
    assert found == against_first(first, rounds)


@pytest.mark.parametrize(("rounds", "verdict"), [(1, "too few rounds"), (5, "too few rounds"), (6, "faster")])
def test_a_verdict_needs_rounds_that_are_not_all_on_one_side_by_chance(rounds, verdict):
    found = against_first([[2.0]] * rounds, [[1.0]] * rounds)
    assert found == {"share": 0.5, "low": 0.5, "high": 0.5, "verdict": verdict}


def test_throughput_is_multiply_adds_a_second_and_a_share_of_the_peak():
    assert throughput(30_000_000, 2.0, peak=60.0) == {"gmacs": 15.0, "peak_share": 0.25}  # 3e7 / 2e-3 s = 1.5e10


def test_operators_of_a_kind_are_added_up_and_what_was_not_timed_counts_as_an_operator():
    rows = by_operator(
        [
            {"op": "ADD", "ms": 1.0, "multiply_adds": 0},
            {"op": "CONV_2D", "ms": 2.0, "multiply_adds": 5},
            {"op": "CONV_2D", "ms": 1.0, "multiply_adds": 6},
            {"op": "WHILE", "ms": None, "multiply_adds": None},
        ]
    )
    assert rows == [
        {"op": "CONV_2D", "count": 2, "ms": 3.0, "multiply_adds": 11, "share": 0.75},
        {"op": "ADD", "count": 1, "ms": 1.0, "multiply_adds": 0, "share": 0.25},
        {"op": "WHILE", "count": 1, "ms": 0.0, "multiply_adds": 0, "share": 0.0},
    ]
    assert by_operator([]) == []
