"""Run folders: taken over while nothing is trained in them, kept for their run afterwards."""

from __future__ import annotations

import json

import pytest

from keras_retina.evaluate import predict
from keras_retina.foundation.errors import InputError
from keras_retina.model.saving import save_detector
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.run.folder import open_run, run_facts, start_run
from keras_retina.run.training import train_stage
from keras_retina.train.workers.cluster import Cluster


def test_a_run_that_ended_before_it_trained_does_not_keep_its_folder(tmp_path):
    run = tmp_path / "run"
    start_run(run, Recipe(name="one"), data_dir=tmp_path / "mistyped", command="command", overwrite=False)
    start_run(run, Recipe(name="one"), data_dir=tmp_path / "data", command="command", overwrite=False)
    assert run_facts(run)["data"] == str(tmp_path / "data")
    start_run(run, Recipe(name="two"), data_dir=tmp_path / "data", command="command", overwrite=False)
    assert open_run(run).recipe.name == "two"


@pytest.mark.parametrize("member", ["train", "model.keras", "notes.txt"])
def test_a_folder_with_anything_else_is_kept(tmp_path, member):
    run = tmp_path / "run"
    start_run(run, Recipe(name="one"), data_dir=tmp_path / "data", command="command", overwrite=False)
    (run / member).mkdir()
    with pytest.raises(InputError, match="a run on other data"):
        start_run(run, Recipe(name="one"), data_dir=tmp_path / "other", command="command", overwrite=False)
    with pytest.raises(InputError, match="a run of another recipe"):
        start_run(run, Recipe(name="two"), data_dir=tmp_path / "data", command="command", overwrite=False)
    assert (
        start_run(run, Recipe(name="one"), data_dir=tmp_path / "data", command="again", overwrite=False).data_dir
        == tmp_path / "data"
    )


def test_files_of_somebody_else_are_not_taken_for_a_run(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="which holds other files"):
        start_run(tmp_path, Recipe(name="one"), data_dir=tmp_path / "data", command="command", overwrite=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", json.dumps({"data": 3}).encode(), b"\xff\xfe"])
def test_facts_that_are_damaged_are_one_error_that_says_what_to_pass(tmp_path, content):
    (tmp_path / "recipe.yaml").write_text("name: one\n")
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json: expected the facts of the run as JSON\. .*Pass --data\."):
        open_run(tmp_path)
    assert open_run(tmp_path, tmp_path).data_dir == tmp_path


@pytest.mark.parametrize("nms", ["per_class", "fast"])
def test_the_float_model_is_measured_with_the_suppression_of_its_files(
    tiny_detector, tiny_coco, tmp_path, monkeypatch, nms
):
    asked: list[dict] = []
    monkeypatch.setattr(predict, "detect_function", lambda model, spec, **settings: asked.append(settings))
    monkeypatch.setattr(predict, "predict_dataset", lambda detect, spec, dataset: [])
    settings = {"name": "one", "export": {"nms": nms, "iou_threshold": 0.3, "max_detections": 7}}
    run = start_run(
        tmp_path / "run", recipe_from_fields(settings, "here"), data_dir=tiny_coco, command="command", overwrite=False
    )
    save_detector(*tiny_detector, run.path / "model.keras")
    train_stage(run)
    assert asked == [{"iou_threshold": 0.3, "max_detections": 7, "nms": nms}]


def test_a_split_that_only_the_end_needs_is_missed_before_the_training(tiny_coco, tmp_path):
    recipe = recipe_from_fields({"name": "one", "data": {"test": "test"}}, "here")
    run = start_run(tmp_path / "run", recipe, data_dir=tiny_coco, command="command", overwrite=False)
    with pytest.raises(InputError, match=r"splits train, val was expected\. Received: split='test'.*data\.test=null"):
        train_stage(run)
    assert not run.train.exists()


@pytest.mark.parametrize("classes", [[], ["disc", "square"], ["RBC", "WBC"]])
def test_a_recipe_that_was_made_for_other_classes_is_told(
    tiny_detector, tiny_coco, tmp_path, monkeypatch, logged, classes
):
    monkeypatch.setattr(predict, "detect_function", lambda model, spec, **settings: None)
    monkeypatch.setattr(predict, "predict_dataset", lambda detect, spec, dataset: [])
    names = tiny_detector[1].class_names
    promised = list(names) if classes == ["disc", "square"] else classes
    facts = {"command": "c", "machine": "m", "date": "d", "split": "val", "training_minutes": 1, "tolerance_ap": 1}
    expected = {**facts, "classes": promised, "ap": {}, "ap50": {}}
    recipe = recipe_from_fields({"name": "cells", "expected": expected}, "here")
    run = start_run(tmp_path / "run", recipe, data_dir=tiny_coco, command="command", overwrite=False)
    save_detector(*tiny_detector, run.path / "model.keras")
    with logged() as lines:
        train_stage(run)
    told = [line for line in lines if "was made for other objects" in line]
    assert len(told) == (classes == ["RBC", "WBC"])
    assert all("cells was made for other objects (RBC, WBC)" in line and str(tiny_coco) in line for line in told)
    assert not any("\n" in line for line in told)


@pytest.mark.parametrize("half_written", [".recipe.yaml.unfinished", ".run.json.unfinished"])
def test_a_run_that_was_killed_before_it_was_made_needs_no_help(tmp_path, half_written):
    run = tmp_path / "run"
    (run / half_written).mkdir(parents=True)
    if half_written.startswith(".run"):
        (run / "recipe.yaml").write_text("name: another\n")
    started = start_run(run, Recipe(name="one"), data_dir=tmp_path / "data", command="command", overwrite=False)
    assert run_facts(run)["data"] == str(tmp_path / "data")
    assert open_run(run).recipe == started.recipe == Recipe(name="one")


def test_a_run_goes_on_with_another_interval_of_checkpoints(tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    start_run(run, Recipe(name="one"), data_dir=data, command="command", overwrite=False)
    (run / "train").mkdir()
    for changed in ({"checkpoint_steps": 5}, {"checkpoint_minutes": 1.0}):
        recipe = recipe_from_fields({"name": "one", "training": changed}, "here")
        assert start_run(run, recipe, data_dir=data, command="command", overwrite=False).recipe == recipe
    recipe = recipe_from_fields({"name": "one", "training": {"epochs": 3}}, "here")
    with pytest.raises(InputError, match="a run of another recipe"):
        start_run(run, recipe, data_dir=data, command="command", overwrite=False)


def test_workers_of_a_cluster_do_not_overwrite(tmp_path, monkeypatch):
    """A worker could find the old model before the chief deletes it, and end as if all were done."""
    recipe = recipe_from_fields({"name": "one", "training": {"strategy": "multi_worker"}}, "here")
    start_run(tmp_path / "run", recipe, data_dir=tmp_path / "data", command="command", overwrite=True)
    for index in range(2):
        monkeypatch.setenv("TF_CONFIG", Cluster(("a:1", "b:2"), index).tf_config())
        with pytest.raises(
            InputError, match=r"--overwrite: expected a training in one process\. .* Delete .*run first"
        ):
            start_run(tmp_path / "run", recipe, data_dir=tmp_path / "data", command="command", overwrite=True)
    assert (tmp_path / "run" / "recipe.yaml").is_file()
