"""The surfaces that train have sound recipes, limits of their own, and are run by name alone."""

from __future__ import annotations

import json
from pathlib import Path

import fuzz
import fuzz_training
import numpy as np
import pytest

from keras_retina.recipe.recipe import load_recipe, recipe_from_fields


@pytest.fixture(autouse=True)
def back_here(tmp_path, monkeypatch) -> None:
    """A surface that makes a socket goes to its folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_runs(tmp_path, monkeypatch) -> Path:
    """Stands in for runs that were trained: files of the same kinds."""
    runs = tmp_path / "runs"
    for name in ("whole", "half"):
        checkpoint = runs / name / "train" / "checkpoints" / "step-000000001"
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.json").write_text('{"epochs": 1, "sha256": "x"}')
        for file in ("model.keras", "metrics.json", "run.json", "recipe.yaml"):
            (runs / name / file).write_text('{"a": 1}')
    monkeypatch.setattr(fuzz_training, "sound_runs", lambda: runs)
    return runs


@pytest.mark.parametrize("surface", fuzz_training.surfaces())
@pytest.mark.parametrize("seed", range(8))
def test_the_same_numbers_make_the_same_input(surface, seed: int, small_runs, tmp_path):
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        words = fuzz_training.surfaces()[surface](np.random.default_rng(seed), folder)
        files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        made.append(([word.replace(str(folder), "") for word in words], files))
    assert made[0] == made[1]
    assert made[0][0][0] in ("train", "run", "launch", "tune", "compress")


def test_what_the_hostile_recipes_are_made_from_is_sound(tmp_path):
    recipe = recipe_from_fields({**fuzz_training.TINY, "compress": fuzz_training.SPARSE}, "test")
    (tmp_path / "r.yaml").write_text(json.dumps(fuzz_training.TINY))
    assert load_recipe(tmp_path / "r.yaml", list(fuzz_training.AS_SMALL)).training == recipe.training


def test_those_that_train_are_run_by_name_alone_and_may_take_longer():
    slow = set(fuzz_training.surfaces())
    assert not slow & fuzz.chosen([]).keys()
    assert fuzz.chosen([]).keys() | slow == fuzz.all_surfaces().keys()
    assert set(fuzz.chosen(["resuming"])) == {"resuming"}
    assert fuzz_training.LIMITS.keys() == slow
    assert all(limits.seconds > fuzz.Limits().seconds for limits in fuzz_training.LIMITS.values())


def test_a_damaged_manifest_has_the_checksum_of_its_facts(tmp_path):
    from keras_retina.foundation.files.reading import sha256_of

    for seed in range(40):
        file = tmp_path / f"{seed}.json"
        file.write_text('{"epochs": 1, "steps": 2, "sha256": "x"}')
        fuzz_training.damage(np.random.default_rng([seed, 1]), file)
        if not file.is_file():  # a pipe, a folder, nothing
            continue
        try:
            facts = json.loads(file.read_bytes())
            stated = facts.pop("sha256")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            continue
        if stated != "x":
            assert stated == sha256_of(json.dumps(facts, sort_keys=True).encode())
            return
    pytest.fail("no manifest got a checksum")
