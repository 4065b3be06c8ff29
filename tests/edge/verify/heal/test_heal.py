"""Which files of a run are judged, and what is told where nothing can be."""

from __future__ import annotations

import json

import pytest

from edge.verify.heal.heal import Reference, heal_run, healings_of, patients
from edge.verify.rows import Row
from keras_retina.evaluate.coco import STATISTICS
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.run import RunFolder

SMALLER = {
    "half": {"channels": {"keep": 0.5}, "minimum_ap_ratio": 0.95},
    "half_qat": {"parent": "half", "quantize": {}},
    "tiny": {"channels": {"keep": 0.2}, "formats": ["float32"]},
}


@pytest.fixture
def run_of(tmp_path):
    """Returns run(export, ap of the float model) with empty int8 files of every model."""

    def make(export: dict, ap: float | None = 40.0) -> RunFolder:
        recipe = recipe_from_fields({"name": "one", "compress": SMALLER, "export": export}, "here")
        (tmp_path / "export").mkdir(exist_ok=True)
        for stem in ("one_int8", "one_int8_raw", "one_int8_half", "one_int8_half_raw", "one_int8_half_qat"):
            (tmp_path / "export" / f"{stem}.tflite").write_bytes(stem.encode())
        (tmp_path / "metrics.json").write_text(json.dumps({"split": "val", "AP": ap}))
        return RunFolder(tmp_path, recipe, tmp_path)

    return make


def test_int8_files_that_were_quantized_after_training_are_judged_by_their_own_gate(run_of):
    found = patients(run_of({}))
    assert [(one.name, one.least_ratio, [file.name for file in one.files]) for one in found] == [
        ("float", 0.99, ["one_int8.tflite", "one_int8_raw.tflite"]),
        ("half", 0.95, ["one_int8_half.tflite", "one_int8_half_raw.tflite"]),
    ]
    assert [one.name for one in patients(run_of({"formats": ["float32"]}))] == ["half"]
    assert patients(run_of({"heads": ["builtin"]})) == [], "these files are not there"


@pytest.mark.parametrize("ap", [0.0, None, 4.9])
def test_files_of_a_model_that_finds_nothing_are_not_judged(run_of, ap):
    for healing in heal_run(run_of({}, ap)):
        assert healing.outcome == "not judged"
        assert healing.reason == f"the float model finds almost nothing on val (AP {ap or 0.0:.2f}). Train it longer"


def test_a_run_that_was_not_trained_here_is_measured_before_it_is_judged(run_of, tmp_path, monkeypatch):
    row = Row("model.keras", "keras", ap=dict.fromkeys(STATISTICS, 4.5))
    monkeypatch.setattr(Reference, "row", row)
    run = run_of({})
    (tmp_path / "metrics.json").unlink()
    (healing, *_) = heal_run(run)
    assert healing.reason == "the float model finds almost nothing on val (AP 4.50). Train it longer"


def test_layers_chosen_by_hand_are_left_as_they_are(run_of):
    (healing, *_) = heal_run(run_of({"float_layers": ["Conv1"]}))
    assert healing.line.startswith("heal float: not judged: export.float_layers chooses by hand")


def test_healing_can_be_off(run_of):
    run = run_of({"heal": "off"})
    assert heal_run(run) == [] and not run.heal.exists()


def test_what_was_tried_is_read_back_only_for_the_files_that_are_there(run_of):
    import hashlib

    from edge.verify.heal.healing import Healing

    run = run_of({})
    sha256 = hashlib.sha256(b"one_int8").hexdigest()
    kept = Healing("float", "kept", float_ap=40.0, least_ratio=0.99, judged=(sha256,))
    path = run.heal / "float" / "healing.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(kept.to_json()))
    assert healings_of(run) == [kept]
    (run.export / "one_int8.tflite").write_bytes(b"another")
    assert healings_of(run) == []
    path.write_text('{"outcome": "better"}')
    with pytest.raises(InputError, match=r"healing\.json\.outcome: expected one of kept, healed"):
        healings_of(run)
