"""Few-shot settings are accepted by their recipe, and results are sorted by kind and number of images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from jobs import read_settings
from results import Result

from keras_retina.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[2]
SETTINGS = read_settings(ROOT / "benchmarks" / "few_shot" / "settings.yaml")


@pytest.fixture(scope="module")
def page():
    """benchmarks/few_shot/page.py; another folder has a file of this name too."""
    found = importlib.util.spec_from_file_location("few_shot_page", ROOT / "benchmarks" / "few_shot" / "page.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def result(setting: str, ap: float, *, seed: int = 0, split: str = "val", name: str = "a") -> Result:
    return Result(name, setting, seed, split, 1.0, 600, None, ap, ap, ap)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_recipe_accepts_every_setting_and_takes_the_images_of_its_name(name):
    recipe = load_recipe(ROOT / "recipes" / "few_shot.yaml", SETTINGS[name])
    images = name.rpartition("_")[2]
    assert recipe.data.train_images == (int(images) if images.isdecimal() else 30)
    assert recipe.training.epochs * recipe.training.steps_per_epoch == 600


def test_the_test_split_is_reported_where_there_is_one(page):
    validation = [result("focal_10", 1.0), result("focal_10", 2.0, name="b")]
    test = [result("focal_10", 5.0, split="test")]
    assert {(one.set, one.AP) for one in page.reported(validation, test)} == {("a", 5.0), ("b", 2.0)}


def test_a_line_has_the_mean_and_range_of_each_number_of_images(page):
    aps = page.by_images(
        [result("cross_entropy_10", 1.0), result("cross_entropy_10", 3.0, seed=1), result("recipe", 9.0)]
    )
    assert aps == {("a", "cross_entropy", 10): [1.0, 3.0]}
    assert page.table_lines(aps)[-1] == "| a | cross entropy | 2.0 (1.0 to 3.0) |"


def test_a_number_of_images_that_was_not_trained_is_a_dash(page):
    aps = page.by_images([result("focal_10", 1.0), result("openimages_30", 2.0)])
    assert page.table_lines(aps)[2:] == ["| a | focal | 1.0 | - |", "| a | openimages | - | 2.0 |"]
