"""The rows of the paper's table 1 have settings that the recipes accept, and orders are compared as counted by hand."""

from __future__ import annotations

from pathlib import Path

import page
import paper
import pytest
from jobs import read_settings

from keras_retina.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[2]
SETTINGS = read_settings(ROOT / "benchmarks" / "ablation" / "settings.yaml")
ROWS = (paper.Row("x", "x", 10.0), paper.Row("y", "y", 20.0), paper.Row("z", "z", 30.0))


def test_the_tables_use_every_setting_and_no_other():
    assert {row.setting for table in paper.TABLES for row in table.rows} == set(SETTINGS)


@pytest.mark.parametrize("recipe", ["builtin", "bccd"])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_recipes_accept_every_row(recipe, name):
    changed = load_recipe(ROOT / "recipes" / "ablation" / f"{recipe}.yaml", SETTINGS[name])
    base = load_recipe(ROOT / "recipes" / "ablation" / f"{recipe}.yaml")
    assert changed.training.epochs == base.training.epochs
    is_base = not SETTINGS[name] or (recipe, name) == ("bccd", "e_small_192")
    assert (changed == base) == is_base


def test_gamma_zero_with_alpha_is_the_cross_entropy_of_table_a():
    loss = load_recipe(ROOT / "recipes" / "ablation" / "bccd.yaml", SETTINGS["a_alpha_0.75"]).training.loss
    assert (loss.classes, loss.gamma, loss.alpha) == ("focal", 0.0, 0.75)


@pytest.mark.parametrize(("ours", "tau"), [((1, 2, 3), 1.0), ((3, 2, 1), -1.0), ((1, 3, 2), 1 / 3), ((5, 5, 5), None)])
def test_tau_is_that_of_the_order_of_the_means(ours, tau):
    aps = {("set", name): [float(ap)] for name, ap in zip("xyz", ours, strict=True)}
    found = page.kendall_tau(ROWS, aps, set_name="set")
    assert found is None if tau is None else found == pytest.approx(tau)


def test_pairs_whose_seeds_overlap_decide_nothing():
    aps = {("set", "x"): [1.0, 4.0], ("set", "y"): [3.0, 5.0], ("set", "z"): [0.0, 0.5]}
    # x and y overlap; z is below both, and above both in the paper.
    assert page.decided_pairs(ROWS, aps, set_name="set") == (0, 2)
    assert page.decided_pairs(ROWS, aps | {("set", "z"): [8.0, 9.0]}, set_name="set") == (2, 2)


def test_one_seed_decides_no_pair():
    aps = {("set", name): [ap] for name, ap in zip("xyz", (1.0, 2.0, 3.0), strict=True)}
    assert page.decided_pairs(ROWS, aps, set_name="set") == (0, 0)


def test_a_row_that_was_not_trained_is_a_dash_and_one_that_diverged_in_the_paper_says_so():
    table = paper.Table("a", "t", (paper.Row("x", "x", None), paper.Row("y", "y", 20.0)))
    lines = page.table_lines(table, {("set", "y"): [1.0, 2.0]}, sets=["set"])
    assert "| x | diverged | - |" in lines
    assert "| y | 20.0 | 1.5 (1.0 to 2.0) |" in lines
    assert lines[-2].endswith("| - |")
