"""The queue: its sets, recipes, settings, order, and the length of a training."""

from __future__ import annotations

from pathlib import Path

import jobs
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[3]
SETTINGS_FILE = ROOT / "benchmarks" / "sets" / "settings.yaml"
RECIPE = ROOT / "recipes" / "raccoon.yaml"


def sets_in(tmp_path: Path, *names: str) -> list[Path]:
    for name in names:
        (tmp_path / name / "annotations").mkdir(parents=True)
        (tmp_path / name / "annotations" / "train.json").write_text("{}", encoding="utf-8")
    return [tmp_path / name for name in names]


def test_one_seed_of_all_settings_on_all_sets_comes_before_the_next_seed(tmp_path):
    sets = jobs.find_sets(sets_in(tmp_path, "cells", "jars"), recipes=None, default=RECIPE)
    order = [(job.seed, job.of.name, job.setting) for job in jobs.ordered_jobs(sets, ["recipe", "giou"], seeds=[0, 1])]
    assert order == [
        (seed, name, setting) for seed in (0, 1) for name in ("cells", "jars") for setting in ("recipe", "giou")
    ]


def test_the_folder_of_a_training_names_set_setting_and_seed(tmp_path):
    (one,) = jobs.find_sets(sets_in(tmp_path, "cells"), recipes=None, default=RECIPE)
    assert jobs.Job(one, "giou", 2).folder(Path("out")) == Path("out/cells/giou-2")


def test_folders_without_training_labels_are_no_sets(tmp_path):
    sets_in(tmp_path, "jars", "cells")
    (tmp_path / "notes").mkdir()
    assert jobs.folders_with_training_labels(tmp_path) == [tmp_path / "cells", tmp_path / "jars"]


def test_a_set_has_its_own_recipe_with_its_splits_or_the_default_one_with_train_and_val(tmp_path):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "cells.yaml").write_text("name: cells\ndata: {train: most, validation: few}\n", encoding="utf-8")
    default = tmp_path / "default.yaml"
    default.write_text("name: other\ndata: {test: test, classes: [disc]}\n", encoding="utf-8")
    own, common = jobs.find_sets(sets_in(tmp_path, "cells", "jars"), recipes=recipes, default=default)
    assert (own.resolved().data.train, own.resolved().data.validation) == ("most", "few")
    read = common.resolved().data
    assert (read.train, read.validation, read.test, read.classes) == ("train", "val", None, None)


def test_a_set_without_a_recipe_two_of_one_name_and_no_set_are_refused(tmp_path):
    folders = sets_in(tmp_path, "cells")
    with pytest.raises(InputError, match="expected a recipe"):
        jobs.find_sets(folders, recipes=tmp_path, default=None)
    with pytest.raises(InputError, match="each name once"):
        jobs.find_sets([*folders, *folders], recipes=None, default=RECIPE)
    with pytest.raises(InputError, match="Received: none"):
        jobs.find_sets([], recipes=None, default=RECIPE)


@pytest.mark.parametrize("text", ["a/b: []", "giou: training.loss=1", "giou: [1]"])
def test_a_setting_that_is_no_list_of_overrides_is_refused(tmp_path, text):
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected"):
        jobs.read_settings(file)


def test_every_setting_of_the_table_is_accepted_by_a_recipe():
    for changes in jobs.read_settings(SETTINGS_FILE).values():
        load_recipe(RECIPE, changes)


def test_the_base_is_always_trained_and_first():
    settings = {"a": ["x=1"], "recipe": [], "b": ["x=2"]}
    assert list(jobs.chosen(settings, ["b", "b"], base="recipe")) == ["recipe", "b"]
    assert list(jobs.chosen(settings, [], base="recipe")) == ["recipe", "a", "b"]
    with pytest.raises(InputError, match="'c'"):
        jobs.chosen(settings, ["c"], base="recipe")


@pytest.mark.parametrize(("steps", "epochs", "an_epoch"), [(1, 1, 1), (149, 1, 149), (151, 2, 76), (1001, 10, 100)])
def test_the_length_is_in_steps_whatever_the_recipe_says(tmp_path, steps, epochs, an_epoch):
    file = tmp_path / "short.yaml"
    file.write_text("name: short\ntraining: {minutes: 3.0, early_stop: {patience: 1}}\n", encoding="utf-8")
    training = load_recipe(file, jobs.length_overrides(steps)).training
    assert (training.epochs, training.steps_per_epoch, training.evaluate_every) == (epochs, an_epoch, epochs)
    assert (training.minutes, training.early_stop, training.checkpoint) == (None, None, "last")
