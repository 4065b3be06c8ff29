"""The main job, small: drawn images in, verified .tflite files and a report out, through the command line."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name: small
model:
  backbone: {name: plain, weights: none, frozen_stages: 0, batch_norm: trained}
  input: {height: 128, width: 128}
  anchors: {size: 2.0}
  pyramid: {width: 24}
  head: {width: 24, convolutions: 1}
augmentation: {scale: [0.9, 1.1], brightness: 0.0, contrast: 0.0, saturation: 0.0}
training: {epochs: 2, batch_size: 4, steps_per_epoch: 150, learning_rate: 0.004, warmup_steps: 10, evaluate_every: 1}
verification: {latency_runs: 3, minimum_ap_ratio: 0.5, maximum_class_drop: 50.0}
"""
KINDS = ("float32", "float16", "dynamic", "int8")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, tiny_coco) -> Path:
    folder = tmp_path_factory.mktemp("main_job")
    (folder / "small.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "keras_retina", "run", folder / "small.yaml", "--data", tiny_coco]
    command += ["--out", folder / "run", "--print-expected"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (folder / "run.log").write_text(result.stdout)
    return folder / "run"


@pytest.fixture(scope="module")
def verified(finished_run) -> dict:
    return json.loads((finished_run / "verify.json").read_text())


def test_every_part_of_the_run_folder_is_there(finished_run):
    expected = ["recipe.yaml", "train/history.csv", "model.keras", "metrics.json", "verify.json", "report.html"]
    expected += ["export/labels.txt", "export/calibration.txt"]
    stems = [f"export/small_{kind}{form}" for kind in KINDS for form in ("", "_raw")]
    expected += [stem + end for stem in stems for end in (".tflite", ".json")]
    assert [name for name in expected if not (finished_run / name).is_file()] == []


def test_the_detector_learned_something_in_training(verified, finished_run):
    with (finished_run / "train/history.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]
    assert verified["rows"][0]["kind"] == "keras"
    assert verified["rows"][0]["AP50"] > 20.0


def test_every_file_is_verified_and_keeps_the_accuracy_of_keras(verified):
    float_ap = verified["rows"][0]["AP"]
    rows = {Path(row["file"]).stem: row for row in verified["rows"][1:]}
    assert set(rows) == {f"small_{kind}{form}" for kind in KINDS for form in ("", "_raw")}
    assert {row["status"] for row in rows.values()} == {"verified"}
    for form in ("", "_raw"):
        assert rows[f"small_float32{form}"]["AP"] == pytest.approx(float_ap, abs=0.1)
        assert rows[f"small_int8{form}"]["AP"] == pytest.approx(float_ap, rel=0.2)


def test_calibration_images_are_those_of_the_training_split(finished_run):
    lines = (finished_run / "export/calibration.txt").read_text().split("\n")
    names = [line for line in lines if ".png" in line]
    assert len(names) == 10
    assert all("train_" in line for line in names)


def test_repeating_the_command_skips_what_is_done_and_check_compares(keras_retina, finished_run, tiny_coco):
    block = (finished_run.parent / "run.log").read_text().partition("expected:")[2].partition("ship:")[0]
    recipe = finished_run.parent / "small_expected.yaml"
    recipe.write_text(RECIPE + "expected:" + block)
    again = keras_retina("run", str(recipe), "--data", str(tiny_coco), "--out", str(finished_run), "--check")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "train: done before" in again.stdout
    assert "check passed" in again.stdout
    keras_ap = json.loads((finished_run / "verify.json").read_text())["rows"][0]["AP"]
    assert f"expected: AP {keras_ap:.2f} is within {round(keras_ap, 2)} +- 1.5; this recipe gave" in again.stdout
    assert f"ship: {finished_run}/export/small_int8.tflite: AP " in again.stdout
    recipe.write_text(recipe.read_text().replace(f"keras: {round(keras_ap, 2)}", "keras: 1.0", 1))
    outside = keras_retina("run", str(recipe), "--data", str(tiny_coco), "--out", str(finished_run), "--check")
    assert outside.returncode == 1
    assert "check failed: keras: expected AP 1.0" in outside.stdout


def test_another_recipe_or_other_data_is_refused_in_the_same_folder(keras_retina, finished_run, tiny_coco):
    recipe = str(finished_run.parent / "small.yaml")
    out = ("--out", str(finished_run))
    other = keras_retina("train", recipe, "--data", str(tiny_coco), *out, "--set", "seed=4")
    assert other.returncode == 2
    assert "--overwrite" in other.stderr
    other = keras_retina("train", recipe, "--data", str(tiny_coco.parent), *out)
    assert other.returncode == 2
    assert "other data" in other.stderr
    assert (finished_run / "model.keras").is_file()


def test_evaluate_gives_the_same_ap_as_verify(keras_retina, finished_run, verified, tmp_path):
    int8 = next(row for row in verified["rows"] if row["file"].endswith("small_int8.tflite"))
    for row in (verified["rows"][0], int8):
        target = finished_run if row["kind"] == "keras" else finished_run / "export" / Path(row["file"]).name
        result = keras_retina("evaluate", str(target), "--json", str(tmp_path / "evaluation.json"))
        assert result.returncode == 0, result.stderr
        measured = json.loads((tmp_path / "evaluation.json").read_text())
        assert measured["AP"] == pytest.approx(row["AP"], abs=0.01)


def test_detect_draws_pictures_and_writes_coco_results(keras_retina, finished_run, tiny_coco, tmp_path):
    model = finished_run / "export/small_int8.tflite"
    result = keras_retina("detect", str(model), str(tiny_coco / "images"), "--out", str(tmp_path / "found"))
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "found/results.json").read_text())
    found = content["results"] if isinstance(content, dict) else content
    assert {"image_id", "category_id", "bbox", "score"} <= set(found[0])
    assert any(name.suffix in {".png", ".jpg"} for name in (tmp_path / "found").rglob("*"))


def test_the_report_is_one_page_without_outside_references(finished_run):
    page = (finished_run / "report.html").read_text()
    assert "small" in page
    for outside in ("http://", "https://", "<script", 'href="/', 'src="/'):
        assert outside not in page.replace("http://www.w3.org/", "")
    assert os.path.getsize(finished_run / "report.html") < 5_000_000


@pytest.fixture(scope="module")
def damaged_run(finished_run, tmp_path_factory):
    """The finished run with int8 files that find nothing: the kernel of the scores is 0 in them."""
    from edge.export.convert import quantize_heads
    from edge.export.export import write_detector
    from edge.quantize.calibration import calibration_samples
    from keras_retina.data.records import ImageFile
    from keras_retina.model.saving import load_detector
    from keras_retina.run.folder import open_run, read_split

    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(finished_run, folder)
    run = open_run(folder)
    model, spec = load_detector(run.model)
    layer = model.get_layer("classes_prediction_pointwise")
    kernel, bias = layer.get_weights()
    layer.set_weights([0 * kernel, bias])
    images: list[ImageFile] = [record.path for record in read_split(run, "train").records]
    heads = quantize_heads(model, spec, kind="int8", samples=lambda: calibration_samples(images, spec))
    for form in run.recipe.export.heads:
        path = folder / f"export/small_int8{'' if form == 'postprocess' else '_raw'}.tflite"
        write_detector(path, heads, spec=spec, kind="int8", head=form, settings=run.recipe.export)
        shutil.copy(path, folder.parent)
    return folder


def test_an_int8_file_that_misses_its_gate_is_made_again(damaged_run, monkeypatch):
    from edge.report.report import write_report
    from edge.stages import export_stage, heal_stage, verify_stage
    from keras_retina.run.folder import open_run

    monkeypatch.setattr("edge.verify.heal.ladder.LEAST_BOXES", 1)
    run = open_run(damaged_run)
    (healing,) = heal_stage(run)
    assert healing.outcome in ("healed", "not healed")
    assert healing.tries[0].status == "failed" and healing.tries[healing.chosen].ratio > 0.5
    assert export_stage(run) and heal_stage(run) == [healing], "both are done, and nothing is made again"
    result = verify_stage(run)
    assert result.healing == (healing,)
    rows = {row.file: row for row in result.rows}
    assert rows["small_int8.tflite"].is_verified and rows["small_int8_raw.tflite"].is_verified
    page = write_report(damaged_run).read_text()
    assert "What was tried for int8" in page and healing.tries[0].reason.split(":")[0] in page


def test_a_split_with_few_boxes_does_not_decide_and_healing_can_be_off(damaged_run):
    from edge.stages import heal_stage
    from keras_retina.run.folder import open_run

    run = open_run(damaged_run)
    shutil.rmtree(run.heal)
    for name in ("small_int8", "small_int8_raw"):
        shutil.copy(damaged_run.parent / f"{name}.tflite", run.export)
    (healing,) = heal_stage(run)
    assert healing.outcome == "not judged" and "too small to decide: 6 boxes in 4 images" in healing.reason
    shutil.rmtree(run.heal)
    off = dataclasses.replace(
        run, recipe=run.recipe.model_copy(update={"export": run.recipe.export.model_copy(update={"heal": "off"})})
    )
    assert heal_stage(off) == [] and not run.heal.exists()


def test_the_last_step_trains_with_the_rounding_of_int8(damaged_run, monkeypatch):
    from edge.stages import heal_stage
    from edge.verify.heal import heal, training
    from edge.verify.heal.steps import StepNotPossibleError
    from keras_retina.run.folder import open_run

    def skipped(material, base):
        raise StepNotPossibleError("left out in this test")

    for step in ("other_ranges", "float_layers"):
        monkeypatch.setattr(heal, step, skipped)
    monkeypatch.setattr("edge.verify.heal.ladder.LEAST_BOXES", 1)
    monkeypatch.setattr(training, "SHARE", 1e6)
    monkeypatch.setattr(training, "COST", 1e6 * 1.5)  # one epoch behind two
    run = open_run(damaged_run)
    shutil.rmtree(run.heal, ignore_errors=True)
    for name in ("small_int8", "small_int8_raw"):
        shutil.copy(damaged_run.parent / f"{name}.tflite", run.export)
    export = run.recipe.export.model_copy(update={"heal": "full"})
    full = dataclasses.replace(run, recipe=run.recipe.model_copy(update={"export": export}))
    (healing,) = heal_stage(full)
    assert [one.step for one in healing.tries] == ["plain", "ranges", "float layers", "training"]
    trained = healing.tries[-1]
    assert (trained.kind, trained.changed) == ("int8_qat", "weights trained with int8 rounding for 1 epoch")
    assert trained.ratio > 0.5 and healing.chosen == 3
    assert json.loads((run.export / "small_int8.json").read_text())["kind"] == "int8_qat"
    assert heal_stage(full) == [healing]
