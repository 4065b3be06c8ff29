"""Which files of a run are judged, and what is told where nothing can be."""

from __future__ import annotations

import json

import pytest

from edge.verify.heal.heal import Reference, heal_run, healings_of, patients
from edge.verify.rows import Row
from keras_retina.evaluate.coco import STATISTICS
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.run.folder import RunFolder

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


@pytest.mark.parametrize("written", range(5))
def test_a_healing_that_is_killed_while_it_replaces_the_files_goes_on(run_of, monkeypatch, tmp_path, written):
    """Two forms of two files each, the file and what describes it: killed before each of these, and after the last."""
    import hashlib
    from types import SimpleNamespace

    from edge.verify.heal import heal
    from edge.verify.heal.healing import Healing

    def sha256(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    run, saved, left = run_of({}), [], [written]
    (patient, *_) = patients(run)
    healing = Healing("float", "healed", float_ap=40.0, least_ratio=0.99, chosen=0, judged=(sha256(b"one_int8"),))

    def write(path, data: bytes) -> None:
        if path.parent == run.export:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        path.write_bytes(data)

    def write_detector(path, heads_only, *, head, origin, **_) -> None:
        data = heads_only + head.encode()
        write(path, data)
        write(path.with_suffix(".json"), json.dumps({"sha256": sha256(data), **origin}).encode())

    candidate = SimpleNamespace(heads_only=b"better ", kind="int8", changed="other ranges")
    monkeypatch.setattr(heal, "write_detector", write_detector)
    monkeypatch.setattr(heal, "candidate_of", lambda *_: candidate)
    monkeypatch.setattr(heal, "load_detector", lambda _: (None, None))
    monkeypatch.setattr(heal, "origin_of", lambda *_: {})
    monkeypatch.setattr(heal, "_calibration_images", lambda *_: [])

    def replace_files(begun: Healing) -> None:
        heal._replace_files(run, patient, begun, folder=tmp_path, reference=Reference(run), save=saved.append)

    if written < 4:
        with pytest.raises(KeyboardInterrupt):
            replace_files(healing)
        assert heal._is_of_files(saved[-1], patient)
        assert not heal._is_over(saved[-1], [], None, patient)
        left[0] = 4
        replace_files(saved[-1])
    else:
        replace_files(healing)
    assert heal._is_of_files(saved[-1], patient) and heal._is_over(saved[-1], [], None, patient)
    assert saved[-1].judged == (sha256(b"one_int8"), sha256(b"better postprocess"))
    assert [path.read_bytes() for path in patient.files] == [b"better postprocess", b"better raw"]
    assert json.loads(patient.files[0].with_suffix(".json").read_text())["healed"] == "other ranges"
