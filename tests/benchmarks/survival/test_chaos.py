"""What counts as a difference between two runs: not times, but bytes, checksums, rows and missing files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos import STAGES, differences, is_equal, stage_of

from keras_retina.model.saving import save_detector


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "one", "other", "equal"),
    [
        ("a.json", {"AP": 1.0, "seconds": 1, "sha256": "a"}, {"AP": 1.0, "seconds": 2, "sha256": "a"}, True),
        ("a.json", {"rows": [{"sha256": "a"}]}, {"rows": [{"sha256": "b"}]}, False),
        ("a.json", {"rows": [{"size_bytes": 1}]}, {"rows": [{"size_bytes": 2}]}, False),
        ("a.json", {"rows": [{"AP": 1.0}]}, {"rows": [{"AP": 1.1}]}, False),
        ("a.csv", "epoch,loss,seconds\n1,0.5,3\n", "epoch,loss,seconds\n1,0.5,4\n", True),
        ("a.csv", "epoch,loss,seconds\n1,0.5,3\n", "epoch,loss,seconds\n1,0.4,3\n", False),
        ("a.csv", "epoch,loss\n1,0.5\n", "epoch,loss\n1,0.5\n2,0.4\n", False),
        ("labels.txt", "cat\n", "cat\ndog\n", False),
        ("a.tflite", "network, description", "network, description", True),
        ("a.tflite", "network, description", "network, another one", False),
        ("report.html", "at noon", "at night", True),
    ],
)
def test_files_are_equal_apart_from_times(tmp_path, name, one, other, equal):
    paths = [
        write(tmp_path / place / name, content if isinstance(content, str) else json.dumps(content))
        for place, content in (("one", one), ("other", other))
    ]
    assert is_equal(*paths) == equal
    assert differences(tmp_path / "one", tmp_path / "other") == ([] if equal else [name])


def test_models_are_equal_when_their_bytes_are(tmp_path, tiny_detector):
    model, spec = tiny_detector
    one, other = tmp_path / "one.keras", tmp_path / "other.keras"
    save_detector(model, spec, one), save_detector(model, spec, other)
    assert is_equal(one, other)
    bias = model.get_layer("boxes_prediction_pointwise").bias
    before = bias.numpy()
    bias.assign(before + 1e-7)
    save_detector(model, spec, other)
    bias.assign(before)
    assert not is_equal(one, other)


def test_a_file_that_is_missing_is_a_difference_and_logs_are_none(tmp_path):
    for place in ("one", "other"):
        write(tmp_path / place / "model.txt", "same")
        write(tmp_path / place / "train" / "tensorboard" / place, "events")
    write(tmp_path / "one" / "export" / "labels.txt", "cat")
    assert differences(tmp_path / "one", tmp_path / "other") == ["export/labels.txt only in one"]


def test_the_stage_is_the_first_whose_end_is_missing(tmp_path):
    for number, (stage, end) in enumerate(STAGES):
        assert stage_of(tmp_path) == stage, number
        write(tmp_path / end / "file" if end == "train" else tmp_path / end, "")
    assert stage_of(tmp_path) == "end"
