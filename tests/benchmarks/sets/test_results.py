"""results.csv, and the tables that are printed of it."""

from __future__ import annotations

import results
import show


def result(name: str, setting: str, seed: int, ap: float, speed: float | None = 12.5) -> results.Result:
    return results.Result(name, setting, seed, "val", 7.5, 150, speed, ap, 80.0, 50.0)


def test_results_are_read_back_and_a_repeated_one_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "results.csv"
    assert results.read_results(path) == []
    for one in (result("a, b", "recipe", 0, 40.0), result("a, b", "giou", 0, 41.0, None)):
        results.add_result(path, one)
    results.add_result(path, result("a, b", "recipe", 0, 42.0))
    assert results.read_results(path) == [result("a, b", "giou", 0, 41.0, None), result("a, b", "recipe", 0, 42.0)]


def test_the_table_of_ap_has_the_mean_and_the_range_of_the_seeds():
    lines = show.accuracy_lines([result("cells", "recipe", 0, 40.0), result("cells", "recipe", 1, 43.0)])
    assert lines[2:] == ["| cells | recipe | val | 41.5 (40.0 to 43.0) | 80.0 | 50.0 | 2 | 7.5 | 150 | 12.5 |"]


def test_the_comparison_has_a_cell_for_each_set_and_marks_a_loss():
    found = [
        result("a", "recipe", 0, 40.0), result("a", "giou", 0, 44.0), result("b", "recipe", 0, 50.0),
        result("b", "giou", 0, 48.0), result("c", "recipe", 0, 50.0),
    ]  # fmt: skip
    lines = show.comparison_lines(found, base="recipe")
    assert lines[0].endswith("| a | b | c |")
    assert lines[2:] == ["| giou | not shown | +1.0 | 3.0 | 1 of 2 | 1.028 | +4.0, 1.10 | -2.0, 0.96 ! | - |"]


def test_nothing_measured_is_an_empty_table():
    assert len(show.accuracy_lines([])) == 2
    assert len(show.comparison_lines([], base="recipe")) == 2
