"""The report says how much of the loss is background's, for cross entropy, the paper's loss and the recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.report.run import Run
from edge.report.sections.class_balance import balance_section
from keras_retina.evaluate.class_balance import BINS, ClassBalance, count_errors, write_class_balance
from keras_retina.foundation.run_paths import RunPaths

HARD, EASY = (tuple(count_errors(np.full(count, error)).tolist()) for count, error in ((10, 0.025), (990, -4.975)))
BALANCE = ClassBalance("val", 4, {"rare": 1, "often": 9}, {"rare": 2, "often": 8}, 3, HARD, EASY)


def run_with(folder: Path, balance: ClassBalance | None, *, loss: dict | None = None) -> Run:
    """A run folder with nothing else in it."""
    paths = RunPaths(folder)
    paths.train.mkdir()
    if balance is not None:
        write_class_balance(paths.class_balance, balance)
    return Run(paths, None, {"training": {"loss": loss or {}}}, (), None, None, None, {})


def test_shares_of_cross_entropy_and_of_the_focal_loss_by_hand(tmp_path):
    found = balance_section(run_with(tmp_path, BALANCE))
    assert [row["name"] for row in found["balance_losses"]] == ["cross entropy", "focal loss, gamma 2, alpha 0.25"]
    objects, background = 10 * np.log1p(np.exp(0.025)), 990 * np.log1p(np.exp(-4.975))
    shares = [row["objects"] for row in found["balance_losses"]]
    assert shares[0] == pytest.approx(objects / (objects + background))
    squares = [(1 / (1 + np.exp(-error))) ** 2 for error in (0.025, -4.975)]
    objects, background = 0.25 * squares[0] * objects, 0.75 * squares[1] * background
    assert shares[1] == pytest.approx(objects / (objects + background))
    assert shares[1] > 0.99 > 0.6 > shares[0]
    assert (
        "10 times an anchor must find a class, and 990 times it must not: 99 times background" in found["balance_line"]
    )


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ({"gamma": 1.0, "alpha": 0.5}, "focal loss, gamma 1, alpha 0.5"),
        ({"gamma": 2.0, "alpha": None}, "focal loss, gamma 2, no alpha"),
    ],
)
def test_another_focal_loss_of_the_recipe_has_a_row_of_its_own(tmp_path, loss, name):
    found = balance_section(run_with(tmp_path, BALANCE, loss=loss))
    assert found["balance_losses"][-1]["name"] == name
    assert len(found["balance_losses"]) == 3


@pytest.mark.parametrize("loss", [{"gamma": 2.0, "alpha": 0.25}, {"classes": "ohem", "gamma": 1.0}])
def test_the_papers_loss_is_not_told_twice_and_other_losses_have_no_row(tmp_path, loss):
    assert len(balance_section(run_with(tmp_path, BALANCE, loss=loss))["balance_losses"]) == 2


def test_classes_come_by_their_objects_with_their_share_of_the_anchors(tmp_path):
    rows = balance_section(run_with(tmp_path, BALANCE))["balance_classes"]
    assert [(row["name"], row["objects"], row["positives"], row["share"]) for row in rows] == [
        ("often", 9, 8, 0.8),
        ("rare", 1, 2, 0.2),
    ]


def test_a_chart_of_objects_and_one_of_background(tmp_path):
    objects, background = balance_section(run_with(tmp_path, BALANCE))["balance_charts"]
    assert "Objects" in objects
    assert "Background" in background
    assert "gamma 2: the hardest tenth has" in background


def test_without_a_match_it_says_so_and_draws_background_alone(tmp_path):
    none = replace(BALANCE, positives={"rare": 0, "often": 0}, object_errors=(0,) * BINS)
    found = balance_section(run_with(tmp_path, none))
    assert found["balance_missing"] == "No anchor was matched with an object of val."
    assert len(found["balance_charts"]) == 1
    assert [row["share"] for row in found["balance_classes"]] == [None, None]


def test_a_run_without_the_file_says_so(tmp_path):
    found = balance_section(run_with(tmp_path, None))
    assert "class_balance.json is missing" in found["balance_missing"]
    assert not found["balance_line"]
