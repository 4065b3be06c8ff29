"""A study begins with the recipe, prunes and fails trials, goes on, and never judges on what is reported."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.reading.folder import load_split, made_splits, open_folder
from keras_retina.foundation.errors import InputError
from keras_retina.plan.tune import study as module
from keras_retina.plan.tune.results import (
    best_recipe,
    best_row,
    recipe_text,
    start_row,
    trial_rows,
    write_plot,
    write_table,
)
from keras_retina.plan.tune.space import start_values
from keras_retina.plan.tune.study import HELD_OUT, Tuning, searched, trial_recipe, tune_study
from keras_retina.plan.tune.trial import OutOfTimeError, TrialFailedError
from keras_retina.recipe.recipe import Recipe, load_recipe, recipe_from_fields
from keras_retina.run.folder import used_splits

SEARCH = ("learning_rate", "gamma", "alpha")


@pytest.fixture
def tuning(tiny_recipe, tiny_coco, tmp_path) -> Tuning:
    return Tuning(tiny_recipe, tiny_coco, tmp_path / "study", SEARCH, 4)


class Trainings:
    """Stands in for the training of a trial: AP is best at a gamma of 1.2; ends the study after `count` trainings."""

    def __init__(self, count: int) -> None:
        self.count, self.recipes, self.lock = count, [], threading.Lock()
        self.failing: set[int] = set()

    def __call__(self, recipe: Recipe, data: Path, *, folder, threads, deadline, falls_behind) -> float | None:
        with self.lock:
            number = len(self.recipes)
            self.recipes.append(recipe)
        if number >= self.count:
            raise OutOfTimeError
        if number in self.failing:
            raise TrialFailedError("keras-retina: the loss is not a number")
        ap = 50.0 - 10.0 * abs(recipe.training.loss.gamma - 1.2)
        for epoch in range(1, 5):
            if falls_behind(epoch, ap * epoch / 4):
                return None
        return ap


@pytest.fixture
def run_study(tuning, monkeypatch):
    """Makes trials until `count` trainings began, without training anything."""

    def run(count: int, *, of: Tuning = tuning, processes: int = 1, failing: tuple[int, ...] = ()) -> tuple:
        trainings = Trainings(count)
        trainings.failing = set(failing)
        monkeypatch.setattr(module, "train_trial", trainings)
        space = searched(of)
        # The first training that is out of time ends the study, as the clock would.
        real = Trainings.__call__

        def call(self, recipe, data, **options):
            try:
                return real(self, recipe, data, **options)
            except OutOfTimeError:
                stop[0].stop()
                raise

        monkeypatch.setattr(Trainings, "__call__", call)
        stop = []
        import optuna

        optimize = optuna.study.Study.optimize

        def remember(self, *arguments, **options):
            stop.append(self)
            return optimize(self, *arguments, **options)

        monkeypatch.setattr(optuna.study.Study, "optimize", remember)
        found = tune_study(of, space, minutes=5.0, processes=processes, seed=0)
        monkeypatch.undo()
        return found, space, trainings

    return run


def test_the_first_trial_is_the_recipe_and_the_second_the_papers_loss(run_study, tuning):
    fields = tuning.recipe.model_dump()
    fields["training"]["loss"] |= {"gamma": 1.0, "alpha": 0.5}
    other = Tuning(recipe_from_fields(fields, "test"), tuning.data, tuning.out, SEARCH, 4)
    _, _, trainings = run_study(3, of=other)
    first, second = (recipe.training for recipe in trainings.recipes[:2])
    assert (first.loss.gamma, first.loss.alpha, first.learning_rate) == (1.0, 0.5, other.recipe.training.learning_rate)
    assert (second.loss.gamma, second.loss.alpha, second.learning_rate) == (2.0, 0.25, first.learning_rate)


def test_the_papers_loss_is_not_trained_twice(run_study):
    _, _, trainings = run_study(3)
    losses = [(recipe.training.loss.gamma, recipe.training.loss.alpha) for recipe in trainings.recipes]
    assert losses.count((2.0, 0.25)) == 1


def test_the_search_finds_what_is_better_and_ends_the_others_early(run_study):
    study, space, _ = run_study(30)
    rows = trial_rows(study, space)
    assert best_row(rows).ap > start_row(rows, start_values(space)).ap
    assert abs(best_row(rows).values["gamma"] - 1.2) < 0.3
    assert [row for row in rows if row.state == "ended early"]


def test_a_trial_that_turns_nan_is_named_and_the_study_goes_on(run_study):
    study, space, _ = run_study(4, failing=(0, 2))
    rows = trial_rows(study, space)
    assert [row.state for row in rows[:4]] == ["failed", "complete", "failed", "complete"]
    assert rows[2].reason == "keras-retina: the loss is not a number"
    assert rows[2].values["gamma"] is not None


def test_a_study_goes_on_with_the_trial_that_was_cut_off(run_study):
    first, space, trainings = run_study(2)
    assert trial_rows(first, space)[-1].state == "unfinished"
    cut_off = trainings.recipes[-1]
    again, space, trainings = run_study(3)
    assert trainings.recipes[0] == cut_off
    rows = trial_rows(again, space)
    assert [row.number for row in rows] == [0, 1, 3, 4, 5, 6]  # 2 went on as 3
    assert len({tuple(row.values.values()) for row in rows}) == len(rows)


def test_two_processes_share_a_study(run_study):
    study, space, trainings = run_study(8, processes=2)
    rows = [row for row in trial_rows(study, space) if row.state in ("complete", "ended early")]
    assert len(rows) == 8
    assert len(trainings.recipes) >= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 5}, "another epochs. Received: epochs=4"),
        ({"search": ("gamma",)}, "another search"),
        ({"recipe": {"seed": 9}}, "another recipe"),
    ],
)
def test_a_study_of_something_else_is_refused(tuning, change, message):
    searched(tuning)
    recipe = tuning.recipe.model_copy(update=change["recipe"]) if "recipe" in change else tuning.recipe
    other = Tuning(recipe, tuning.data, tuning.out, change.get("search", SEARCH), change.get("epochs", 4))
    with pytest.raises(InputError, match=message):
        searched(other)


def test_the_data_of_a_study_may_be_at_an_address(tuning):
    folder = open_folder(tuning.data, tuning.recipe.data)
    place, splits = Path("ram://study/tiny"), [load_split(folder, split) for split in ("train", "val")]
    write_pack(place, splits, training_split="train", height=128, width=128)
    fields = tuning.recipe.model_dump()
    fields["data"] |= {"test": "val", "validation": "train"}
    there = Tuning(recipe_from_fields(fields, "test"), place, tuning.out, SEARCH, 4)
    searched(there)
    assert json.loads((tuning.out / "tune.json").read_text(encoding="utf-8"))["data"] == "ram://study/tiny"
    searched(there)  # it is the same study


def test_a_folder_of_other_files_is_refused_and_kept(tuning):
    tuning.out.mkdir()
    (tuning.out / "thesis.txt").write_text("years", encoding="utf-8")
    with pytest.raises(InputError, match="which holds other files"):
        searched(tuning)
    assert (tuning.out / "thesis.txt").read_text(encoding="utf-8") == "years"


def test_a_part_of_train_judges_where_the_validation_split_is_the_one_that_is_reported(tuning):
    recipe = trial_recipe(tuning)
    assert used_splits(recipe) == ["train", HELD_OUT]
    folder = open_folder(tuning.data, recipe.data)
    lists = made_splits(folder)
    reported = {record.file_name for record in load_split(folder, "val").records}
    assert set(lists.files) == {"train", HELD_OUT}
    assert not reported & {name for names in lists.files.values() for name in names}


def test_the_test_split_is_not_read_where_it_is_the_one_that_is_reported(tuning):
    fields = tuning.recipe.model_dump()
    fields["data"]["test"] = "val"  # tiny_coco has no other
    fields["data"]["validation"] = "train"
    recipe = trial_recipe(Tuning(recipe_from_fields(fields, "test"), tuning.data, tuning.out, SEARCH, 4))
    assert used_splits(recipe) == ["train"]


def test_made_splits_without_a_test_split_leave_nothing_to_judge(tuning):
    fields = tuning.recipe.model_dump()
    fields["data"]["split"] = "auto"
    with pytest.raises(InputError, match="--set data.test=test"):
        trial_recipe(Tuning(recipe_from_fields(fields, "test"), tuning.data, tuning.out, SEARCH, 4))


def test_the_written_recipe_is_the_best_trial_with_the_length_and_data_of_the_recipe(run_study, tuning, tmp_path):
    study, space, _ = run_study(12)
    rows = trial_rows(study, space)
    best, start = best_row(rows), start_row(rows, start_values(space))
    found = best_recipe(tuning.recipe, space, best)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(found, best=best, start=start, tuned="tiny", judged=HELD_OUT), encoding="utf-8")
    loaded = load_recipe(path)
    assert loaded == found
    assert loaded.training.loss.gamma == best.values["gamma"]
    assert (loaded.training.epochs, loaded.data) == (tuning.recipe.training.epochs, tuning.recipe.data)
    head = path.read_text(encoding="utf-8").splitlines()
    assert head[0].startswith(f"# Tuned: tiny, trial {best.number}, AP {best.ap:.1f} on held_out")
    assert f"# gamma: {best.values['gamma']:.4g}, was 2" in head


def test_the_table_and_the_plot_hold_failed_trials_too(run_study, tmp_path):
    study, space, _ = run_study(4, failing=(1,))
    rows = trial_rows(study, space)
    write_table(tmp_path / "trials.csv", rows)
    lines = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "trial,state,AP,minutes,learning_rate,gamma,alpha,reason"
    assert lines[2].startswith("1,failed,,")
    write_plot(tmp_path / "trials.png", rows)
    assert (tmp_path / "trials.png").read_bytes()[:4] == b"\x89PNG"


def test_a_study_without_a_finished_trial_has_no_best(run_study):
    study, space, _ = run_study(0)
    assert best_row(trial_rows(study, space)) is None
