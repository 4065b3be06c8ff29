"""Smaller models of a run: what is written, what is refused, and that an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.compress.models import is_done
from edge.stages import add_compressed, compress_stage, export_compressed, export_stage, verify_stage
from edge.tflite.kernels import sparsity_of_file
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import multiply_adds
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import Recipe
from keras_retina.run.folder import RunFolder, start_run

FINE_TUNE = {"epochs": 1, "warmup_steps": 0, "evaluate_every": 1}
TAUGHT = {**FINE_TUNE, "distillation": 1.0}


@pytest.fixture(scope="module")
def plain_recipe(tiny_recipe) -> Recipe:
    """The plain backbone, and every way to a smaller model, one after the other."""
    fields = tiny_recipe.model_dump()
    fields["model"]["backbone"] |= {"name": "plain", "alpha": 1.0}
    fields["compress"] = {
        "half": {
            "channels": {"keep": 0.5, "criterion": "l1", "rounds": 2, "round_epochs": 1},
            "fine_tune": TAUGHT,
            "formats": ["float32"],
        },
        "sparse": {"parent": "half", "sparsity": {"amount": 0.6}, "fine_tune": TAUGHT, "formats": ["int8"]},
        "few": {"parent": "sparse", "clusters": {"number": 8}, "fine_tune": FINE_TUNE, "formats": ["float32"]},
        "qat": {"parent": "few", "quantize": {}, "fine_tune": TAUGHT},
    }
    fields["export"] |= {"formats": ["float32"], "heads": ["raw"]}
    fields["verification"] |= {"latency_runs": 1, "minimum_ap_ratio": 0.0, "maximum_class_drop": 100.0}
    return Recipe.model_validate(fields)


def new_run(folder: Path, recipe: Recipe, data: Path) -> RunFolder:
    """A run folder as `train` leaves it, with the weights of the start."""
    run = start_run(folder, recipe, data_dir=data, command="test", overwrite=False)
    keras.utils.set_random_seed(1)
    spec = detector_spec(recipe.model, ("disc", "square"))
    save_detector(detector_network(recipe.model, 2), spec, folder / "model.keras")
    return run


@pytest.fixture(scope="module")
def halved(plain_recipe, tiny_coco, tmp_path_factory, logged) -> tuple[RunFolder, list[str]]:
    """A run that was interrupted in the fine-tuning of the second round, and then repeated."""
    run = new_run(tmp_path_factory.mktemp("halved") / "run", plain_recipe, tiny_coco)
    epochs: list[str] = []

    def interrupt(line: str) -> None:
        epochs.extend([line] if line.startswith("epoch 1/1") else [])
        if len(epochs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), logged(interrupt):
        compress_stage(run)
    assert not is_done(run, "half")
    with logged() as lines:
        compress_stage(run)
    return run, lines


def test_the_model_has_half_of_the_multiply_adds_and_the_layers_of_its_parent(halved):
    run, _ = halved
    parent, _ = load_detector(run.path / "model.keras")
    model, spec = load_detector(run.path / "compress" / "half" / "model.keras")
    assert [layer.name for layer in model.layers] == [layer.name for layer in parent.layers]
    assert 0.4 < multiply_adds(model) / multiply_adds(parent) <= 0.5
    facts = json.loads((run.path / "compress" / "half" / "metrics.json").read_text())
    assert facts["multiply_adds"] == multiply_adds(model)
    assert facts["parent"] == {"multiply_adds": multiply_adds(parent), "parameters": parent.count_params()}
    assert {"AP", "AP50", "per_class", "split"} <= set(facts)
    assert spec.class_names == ("disc", "square")


def test_an_interrupted_fine_tuning_goes_on_without_the_rounds_that_were_done(halved):
    _, again = halved
    assert not any(line.startswith("round 1 of 2") for line in again)
    assert any(line.startswith("round 2 of 2") for line in again)


def test_a_finished_model_is_not_made_again(halved, logged):
    run, _ = halved
    with logged() as lines:
        compress_stage(run)
    assert lines == ["compress: done before, skipped"]


def test_every_file_of_every_model_is_written_and_has_a_row(halved, plain_recipe, logged):
    """Random weights find nothing, so the rows say what is wrong with the detections; they must be there."""
    run, _ = halved
    export_stage(run)
    written = export_compressed(run)
    names = ["float32_half", "int8_sparse", "float32_few", "int8_qat"]
    assert [path.name for path in written] == [f"tiny_{name}_raw.tflite" for name in names]
    with logged() as lines:
        assert export_compressed(run) == written
    assert lines == [f"export {name}: done before, skipped" for name in ("half", "sparse", "few", "qat")]
    other = add_compressed(run, ["compress.more.sparsity.amount=0.6"])
    with logged() as lines:
        export_compressed(other)
    assert lines[-1].startswith("export more: the model is not made yet")
    written[1].unlink()  # the int8 file of `sparse`
    result = verify_stage(other).to_json()
    start_run(run.path, run.recipe, data_dir=run.data_dir, command="test", overwrite=False)
    export_compressed(run)
    rows = {(row["model"], row["kind"]): row for row in result["rows"]}
    assert list(rows) == [
        ("float", "keras"), ("float", "float32"),
        ("half", "keras"), ("half", "float32"),
        ("sparse", "keras"), ("sparse", "int8"),
        ("few", "keras"), ("few", "float32"),
        ("qat", "keras"), ("qat", "int8_qat"),
        ("more", "keras"),
    ]  # fmt: skip
    not_run = [place for place, row in rows.items() if row["status"] == "not run"]
    assert not_run == [("sparse", "int8"), ("more", "keras")]
    assert "not made yet" in rows["more", "keras"]["reason"]
    assert not result["gate"]["passed"]
    assert rows["half", "keras"]["file"] == "compress/half/model.keras"
    assert rows["half", "float32"]["multiply_adds"] <= 0.5 * rows["float", "float32"]["multiply_adds"]
    assert rows["qat", "int8_qat"]["size_bytes"] < 0.5 * rows["half", "float32"]["size_bytes"]
    assert rows["half", "float32"]["zeros"] < 0.1
    for kept in (rows["few", "float32"], rows["qat", "int8_qat"]):
        assert kept["zeros"] == pytest.approx(0.6, abs=0.02)
        assert "weights are zero" not in kept["reason"]
    sparse = sparsity_of_file((run.path / "export" / "tiny_int8_sparse_raw.tflite").read_bytes())
    assert sparse.share == pytest.approx(0.6, abs=0.02)
    assert rows["few", "float32"]["values_per_channel"] <= 8
    assert rows["qat", "int8_qat"]["values_per_channel"] <= 8
    assert rows["half", "float32"]["AP"] == pytest.approx(rows["half", "keras"]["AP"], abs=0.5)


def test_what_each_kernel_loses_is_written_down_and_read_again(halved, logged):
    """A training that goes on must not measure again: other amounts would not fit the masks that it has."""
    run, _ = halved
    folder = run.path / "compress" / "sparse"
    amounts = json.loads((folder / "amounts.json").read_text())
    model, _ = load_detector(folder / "model.keras")
    assert max(amounts.values()) - min(amounts.values()) > 0.1
    for name, amount in amounts.items():
        kernel = model.get_layer(name).get_weights()[0]
        assert 1 - np.count_nonzero(kernel) / kernel.size == pytest.approx(amount, abs=1 / kernel.size)
    (folder / "model.keras").rename(folder / "before.keras")
    moved = {name: 0.9 * amount for name, amount in amounts.items()}  # the same layers are pruned
    (folder / "amounts.json").write_text(json.dumps(moved))
    with logged() as lines:
        compress_stage(run)
    (folder / "before.keras").replace(folder / "model.keras")
    assert json.loads((folder / "amounts.json").read_text()) == moved
    (folder / "amounts.json").write_text(json.dumps(amounts))
    assert any(line.startswith("resuming after epoch ") for line in lines)


def test_other_settings_of_the_same_name_are_refused(halved, plain_recipe, tiny_coco):
    """Of a finished model too: its folder and the recipe would say different things. Files and gate may change."""
    run, _ = halved
    before = (run.path / "recipe.yaml").read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"half: expected a model of these settings.*Delete the folder"):
        add_compressed(run, ["compress.half.channels.keep=0.25"])
    assert (run.path / "recipe.yaml").read_text(encoding="utf-8") == before
    fields = plain_recipe.model_dump()
    fields["compress"]["half"]["minimum_ap_ratio"] = 0.5
    compress_stage(
        start_run(run.path, Recipe.model_validate(fields), data_dir=tiny_coco, command="test", overwrite=False)
    )
    fields["compress"]["half"]["channels"]["keep"] = 0.25
    with pytest.raises(InputError, match=r"half: expected a model of these settings"):
        compress_stage(
            start_run(run.path, Recipe.model_validate(fields), data_dir=tiny_coco, command="test", overwrite=False)
        )
    start_run(run.path, plain_recipe, data_dir=tiny_coco, command="test", overwrite=False)


def test_a_setting_that_an_older_settings_file_lacks_had_its_default(halved):
    """New settings of a later version must not make the models of an earlier one worthless."""
    run, _ = halved
    path = run.path / "compress" / "few" / "settings.json"
    text = path.read_text()
    older = json.loads(text)
    assert older[-1]["fine_tune"].pop("distillation") == 0.0
    path.write_text(json.dumps(older))
    compress_stage(run)
    for broken in ("[", json.dumps([*older[:-1], older[-1] | {"unknown": 1}])):
        path.write_text(broken)
        with pytest.raises(InputError, match=r"few: expected a model of these settings"):
            compress_stage(run)
    path.write_text(text)


def test_a_run_without_a_model_is_refused(plain_recipe, tiny_coco, tmp_path):
    run = start_run(tmp_path / "run", plain_recipe, data_dir=tiny_coco, command="test", overwrite=False)
    with pytest.raises(InputError, match=r"expected a trained model.keras. Received: none"):
        compress_stage(run)


def test_only_the_section_compress_of_a_trained_run_can_be_set(halved):
    run, _ = halved
    with pytest.raises(InputError, match=r"expected a key of the section compress.*Received: 'seed=3'"):
        add_compressed(run, ["seed=3"])
    other = add_compressed(run, ["compress.more.sparsity.amount=0.6"])
    assert list(other.recipe.compress) == ["half", "sparse", "few", "qat", "more"]
    assert not is_done(other, "more")
    start_run(run.path, run.recipe, data_dir=run.data_dir, command="test", overwrite=False)


def test_a_target_that_would_empty_the_layers_is_refused(plain_recipe, tiny_coco, tmp_path):
    fields = plain_recipe.model_dump()
    fields["compress"]["half"]["channels"] |= {"keep": 0.001, "rounds": 1}
    run = new_run(tmp_path / "run", Recipe.model_validate(fields), tiny_coco)
    with pytest.raises(InputError, match=r"expected a target of at least 0\.\d+.*Received: target=0\.001"):
        compress_stage(run)


def test_a_recipe_that_compresses_nothing_does_nothing(tiny_recipe, tiny_coco, tmp_path, logged):
    run = start_run(tmp_path / "run", tiny_recipe, data_dir=tiny_coco, command="test", overwrite=False)
    with logged() as lines:
        compress_stage(run)
    assert lines == []
