"""The comparison with the peers: which commands it starts, for how many steps, and what it does not repeat."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import peers
import pytest
import results
import trainings

from keras_retina.recipe.recipe import dump_recipe, load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "raccoon.yaml"
SPEEDS = {"ours": 16.0, "model_garden": 8.0, "keras_cv": 4.0}


def overrides(command: list[str]) -> list[str]:
    return [word for before, word in zip(command, command[1:], strict=False) if before == "--set"]


def ours(command: list[str], options: dict[str, str]) -> bool:
    """Writes what `keras-retina train` and `evaluate` write of their results."""
    metrics = json.dumps({"AP": 12.0, "AP50": 30.0, "AP75": 5.0})
    if "evaluate" in command:
        Path(options["--json"]).write_text(metrics, encoding="utf-8")
        return True
    folder = Path(options["--out"])
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe(RECIPE, overrides(command))), encoding="utf-8")
    (folder / "metrics.json").write_text(metrics, encoding="utf-8")
    return True


@pytest.fixture
def started(monkeypatch, tiny_coco, tmp_path):
    """Runs the script and returns the command lines that it started; the stand-in for a training detects nothing."""

    def run(*words: str) -> list[list[str]]:
        commands = []

        def succeeded(command, *, log, locks, environment):
            commands.append(command)
            options = dict(zip(command, command[1:], strict=False))
            if "keras_retina" in command:
                return ours(command, options)
            trained = {"split": options["--split"], "steps": int(options["--steps"]), "detections": []}
            Path(options["--out"]).parent.mkdir(parents=True, exist_ok=True)
            Path(options["--out"]).write_text(json.dumps(trained), encoding="utf-8")
            return True

        monkeypatch.setattr(peers, "succeeded", succeeded)
        monkeypatch.setattr(trainings, "succeeded", succeeded)
        monkeypatch.setattr(peers, "kept_speeds", lambda one, arguments, *, detectors: SPEEDS)
        common = ["--data", str(tiny_coco), "--recipe", str(RECIPE), "--weights", "w.h5", "--seeds", "0"]
        common += ["--model-garden", "MG", "--keras-cv", "KCV", "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["peers.py", *common, *words])
        peers.main()
        return commands

    return run


def test_each_detector_trains_for_the_steps_of_its_own_speed_and_is_not_repeated(started, tmp_path, tiny_coco):
    commands = started("--minutes", "1")
    # 60 s of 16, 8 and 4 images a second, in batches of 8.
    trained, measured, garden, keras_cv = commands
    assert "training.epochs=1" in trained and "training.steps_per_epoch=120" in trained and "seed=0" in trained
    assert f"model.backbone.weights={Path('w.h5').resolve()}" in trained
    assert measured[3:6:2] == ["evaluate", "--split"] and measured[6] == "val"
    assert [command[command.index("--steps") + 1] for command in (garden, keras_cv)] == ["60", "30"]
    assert [command[0] for command in (garden, keras_cv)] == ["MG", "KCV"]
    rows = results.read_results(tmp_path / "out" / "results.csv")
    assert [(row.setting, row.steps, row.split, row.AP) for row in rows] == [
        ("ours", 120, "val", 12.0), ("model_garden", 60, "val", 0.0), ("keras_cv", 30, "val", 0.0),
    ]  # fmt: skip
    assert started("--minutes", "1") == []


def test_ours_keeps_the_input_of_its_recipe_and_the_peers_get_its_area(started):
    ours, _, garden, keras_cv = started("--minutes", "1", "--set", "model.input={height: 384, width: 512}")
    assert "model.input={height: 384, width: 512}" in overrides(ours)
    for command in (garden, keras_cv):
        assert command[command.index("--size") + 1] == "448"


def test_a_finished_training_of_another_length_is_refused(started):
    started("--minutes", "1")
    with pytest.raises(SystemExit, match="Use another --out"):
        started("--minutes", "2")


def test_a_folder_that_the_peers_cannot_read_is_refused(started, tmp_path):
    with pytest.raises(SystemExit, match="the peers read COCO folders"):
        started("--minutes", "1", "--data", str(tmp_path))
