"""The names in a run folder are a contract: README and other programs read them."""

from __future__ import annotations

from pathlib import Path

from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe
from keras_retina.run.folder import RunFolder

RUN = Path("run")


def test_the_layout_of_a_run_folder_is_the_contract():
    paths = RunPaths(RUN)
    assert {path.as_posix() for path in paths.members} == {
        *("run/recipe.yaml", "run/plan.yaml", "run/run.json", "run/train", "run/model.keras", "run/metrics.json"),
        *("run/splits.json", "run/compress", "run/export", "run/verify", "run/verify.json", "run/report.html"),
        *("run/review", "run/heal"),
    }
    assert paths.history == RUN / "train" / "history.csv"
    assert paths.ground_truth == RUN / "verify" / "ground_truth.json"
    assert paths.detections("keras_half") == RUN / "verify" / "keras_half.json"


def test_a_smaller_model_has_a_folder_of_its_own():
    half = RunPaths(RUN).compressed("half")
    assert half.path == RUN / "compress" / "half"
    names = [path.relative_to(half.path).as_posix() for path in (half.model, half.metrics, half.settings, half.train)]
    assert names == ["model.keras", "metrics.json", "settings.json", "train"]


def test_every_path_of_a_run_is_inside_what_overwrite_deletes():
    paths = RunPaths(RUN)
    found = (paths.history, paths.ground_truth, paths.detections("x"), paths.compressed("half").model)
    assert all(any(path.is_relative_to(member) for member in paths.members) for path in found)


def test_an_open_run_has_the_paths_too():
    run = RunFolder(RUN, Recipe(name="one"), Path("data"))
    assert (run.model, run.recipe.name) == (RUN / "model.keras", "one")
