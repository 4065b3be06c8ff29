"""`plan` writes a recipe and never over another one; `run` without a recipe plans once and goes on with that plan."""

from __future__ import annotations

import json
import sys

import pytest

from keras_retina.cli import train as train_verbs
from keras_retina.cli.app import main
from keras_retina.recipe.recipe import dump_recipe, load_recipe


@pytest.fixture
def call(monkeypatch, capsys):
    """`call("plan", ...)` -> exit status, lines of output, the line of error."""

    def called(*arguments: object) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["keras-retina", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out.splitlines(), output.err.strip()

    return called


@pytest.fixture
def runs(monkeypatch):
    """What `run` would have run: the settings and the text of the plan."""
    seen = []
    monkeypatch.setattr("keras_retina.cli.plan._mapped_of", lambda *_: (60, 60))  # takes half a minute
    monkeypatch.setattr(
        train_verbs, "run_all", lambda settings, data, **more: seen.append((settings, more.get("plan_text")))
    )
    return seen


def test_a_recipe_is_written_and_the_next_command_takes_it(call, tiny_coco, tmp_path):
    recipe = tmp_path / "new" / "mine.yaml"
    status, lines, _ = call("plan", tiny_coco, "--out", recipe, "--json", tmp_path / "plan.json", "--seed", 2)
    assert status == 0
    assert load_recipe(recipe).seed == 2
    assert lines[-1] == f"next: keras-retina run {recipe} --data {tiny_coco}"
    assert json.loads((tmp_path / "plan.json").read_text())["recipe"]["name"] == load_recipe(recipe).name


def test_the_data_may_stand_behind_an_option_as_for_other_verbs(call, tiny_coco, tmp_path):
    recipe = tmp_path / "mine.yaml"
    assert call("plan", "--data", tiny_coco, "--out", recipe)[0] == 0
    assert load_recipe(recipe).name


def test_a_folder_of_other_things_is_refused_before_anything_is_planned(call, runs, tiny_coco, tmp_path):
    (tmp_path / "photo.jpg").touch()
    status, lines, error = call("run", "--data", tiny_coco, "--out", tmp_path)
    assert (status, lines, runs) == (2, [], [])
    assert "which holds other files" in error


def test_a_recipe_that_is_there_is_kept(call, tiny_coco, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: precious\n")
    status, _, error = call("plan", tiny_coco, "--out", recipe)
    assert (status, recipe.read_text()) == (2, "name: precious\n")
    assert "--overwrite" in error
    assert call("plan", tiny_coco, "--out", recipe, "--overwrite")[0] == 0
    assert load_recipe(recipe).name != "precious"


def test_a_recipe_and_wishes_do_not_go_together(call, runs, tiny_coco):
    status, _, error = call("run", "demo", "--data", tiny_coco, "--minutes", 5)
    assert status == 2
    assert "expected a recipe, or wishes" in error
    assert not runs


def test_a_plan_has_no_figures_to_check(call, runs, tiny_coco):
    status, _, error = call("run", "--data", tiny_coco, "--check")
    assert (status, runs) == (2, [])
    assert "expected a recipe with a block expected" in error


def test_run_without_a_recipe_shows_the_plan_and_runs_it(call, runs, tiny_coco, tmp_path):
    status, lines, error = call("run", "--data", tiny_coco, "--out", tmp_path / "run", "--objective", "best")
    assert (status, error) == (0, "")
    assert len(lines) == 11
    assert lines[0] == "data            COCO: train 10, val 4"
    ((settings, text),) = runs
    assert settings.compress == {}
    assert "# Wishes: --objective best" in text.splitlines()


def test_the_same_command_goes_on_with_the_plan_that_is_there(call, runs, tiny_coco, tmp_path):
    call("run", "--data", tiny_coco, "--out", tmp_path, "--target", "pi")
    ((settings, text),) = runs
    (tmp_path / "recipe.yaml").write_text(dump_recipe(settings))
    other = text.replace("seed: 0", "seed: 7")
    (tmp_path / "plan.yaml").write_text(other)
    assert call("run", "--data", tiny_coco, "--out", tmp_path, "--target", "pi")[0] == 0
    assert (runs[1][0].seed, runs[1][1]) == (7, other)  # written again, if the run had only begun
    status, _, error = call("run", "--data", tiny_coco, "--out", tmp_path, "--target", "coral")
    assert status == 2
    assert "planned for other wishes" in error
    assert call("run", "--data", tiny_coco, "--out", tmp_path, "--target", "coral", "--overwrite")[0] == 0
    assert runs[2][0].export.heads == ("raw", "postprocess")


def test_check_data_without_a_recipe_leads_to_plan(call, tiny_coco):
    status, lines, _ = call("check-data", "--data", tiny_coco)
    assert (status, lines[-1]) == (0, f"next: keras-retina plan {tiny_coco}")


def test_run_plans_with_the_format_that_is_named(call, runs, tiny_coco, tmp_path):
    status, _, _ = call("run", "--data", tiny_coco, "--out", tmp_path / "run", "--format", "coco")
    assert status == 0 and runs[0][0].data.format == "coco"
    status, _, error = call("run", "--data", tiny_coco, "--out", tmp_path / "run", "--format", "yolo")
    assert status == 2 and "Set data.format to it" in error
