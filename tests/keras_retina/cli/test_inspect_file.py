"""`keras-retina inspect` as a person meets it."""

from __future__ import annotations

import json

from edge.tflite.flatbuffer import append_members


def test_inspect_shows_a_file_writes_json_and_refuses_a_damaged_one(
    keras_retina, write_tflite, classifier_layers, tmp_path
):
    path = write_tflite(tmp_path / "m.tflite", *classifier_layers)
    result = keras_retina("inspect", path, "--json", tmp_path / "m.json")
    assert result.returncode == 0, result.stderr
    assert "detector   no description of keras-retina" in result.stdout
    assert json.loads((tmp_path / "m.json").read_text())["outputs"][0]["name"] == "scores"
    whole = path.read_bytes()
    path.write_bytes(append_members(whole, {"labels.txt": b"a\nb\n"})[:-30])
    result = keras_retina("inspect", path, "--json", tmp_path / "m.json")
    assert (result.returncode, result.stderr) == (1, "")
    assert "DAMAGED    the appended files: File is not a zip file" in result.stdout
    assert json.loads((tmp_path / "m.json").read_text())["appended_problem"] == "File is not a zip file"
    path.write_bytes(whole[:900])
    result = keras_retina("inspect", path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "expected a whole .tflite file" in result.stderr
    assert "Traceback" not in result.stderr
