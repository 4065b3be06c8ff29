"""`tune` writes a recipe that `run` takes, and says in one line what is missing."""

from __future__ import annotations

import builtins
import json
import sys

import pytest

from keras_retina.cli.app import main
from keras_retina.plan.tune import study
from keras_retina.recipe.recipe import dump_recipe, load_recipe


@pytest.fixture
def call(monkeypatch, capsys, tiny_recipe, tiny_coco, tmp_path):
    """`call(...)` behind `tune RECIPE --data DIR --out OUT` -> exit status, lines of output, the line of error."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny_recipe), encoding="utf-8")

    def called(*arguments: str) -> tuple[int, list[str], str]:
        words = ["keras-retina", "tune", str(recipe), "--data", str(tiny_coco), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [*words, *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out.splitlines(), output.err.strip()

    return called


def test_the_best_settings_are_written_and_the_next_command_takes_them(call, monkeypatch, tmp_path, tiny_coco):
    monkeypatch.setattr(study, "train_trial", lambda recipe, data, **_: 40.0 + recipe.training.loss.gamma)
    status, lines, error = call("--minutes", "0.02", "--search", "gamma", "--json", str(tmp_path / "tune.json"))
    assert (status, error) == (0, "")
    found = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert found.training.loss.gamma > 2.0
    assert lines[-1] == f"next: keras-retina run {tmp_path / 'out' / 'recipe.yaml'} --data {tiny_coco}"
    written = json.loads((tmp_path / "tune.json").read_text(encoding="utf-8"))
    assert written["split"] == "held_out"
    assert written["trials"][0]["values"] == {"gamma": 2.0}
    assert {"recipe.yaml", "trials.csv", "trials.png"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_study_in_which_every_trial_fails_ends_with_the_last_reason(call, monkeypatch):
    def fail(recipe, data, **_):
        raise study.TrialFailedError("keras-retina: the loss is not a number")

    monkeypatch.setattr(study, "train_trial", fail)
    status, _, error = call("--minutes", "0.02")
    assert status == 2
    assert "expected one finished trial" in error
    assert "the loss is not a number" in error
    assert "\n" not in error


def test_without_optuna_the_line_says_what_to_install(call, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "optuna":
            raise ImportError("No module named 'optuna'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    status, _, error = call("--minutes", "1")
    assert status == 2
    assert "pip install 'keras-retina[tune]'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--minutes", "1", "--search", "rate"), "Received: 'rate'. Valid: alpha, anchors"),
        (("--minutes", "0"), "minutes"),
    ],
)
def test_bad_options_are_one_line(call, arguments, message):
    status, _, error = call(*arguments)
    assert status == 2
    assert message in error
    assert "\n" not in error
