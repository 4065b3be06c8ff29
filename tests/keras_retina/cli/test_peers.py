"""Files of other detectors on the command line: what a person sees, and what is asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[3] / "benchmarks" / "files" / "heads"


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """YOLOv8 with names inside, and YOLOX without."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from peer_networks import Form, write_network

    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    yolov8 = write_network(Form("yolov8", channels_first=True), tmp_path / "yolov8.tflite", height=128, width=128)
    yolox = write_network(Form("yolox"), tmp_path / "yolox.tflite", height=128, width=128)
    yolox.write_bytes(write_flatbuffer(read_flatbuffer(yolox.read_bytes())))
    return yolov8, yolox


def test_inspect_names_the_head_or_both_readings(keras_retina, networks, tmp_path):
    result = keras_retina("inspect", networks[0], "--json", tmp_path / "seen.json")
    assert result.returncode == 0, result.stderr
    assert "head       yolov8: 336 rows, one for each cell of strides 8, 16, 32" in result.stdout
    assert "noise gives float32 [1, 7, 336]" in result.stdout
    assert json.loads((tmp_path / "seen.json").read_text())["head"]["readings"][0]["name"] == "yolov8"
    result = keras_retina("inspect", networks[1])
    assert "head       either yolov8: " in result.stdout
    assert "choose     --head yolov8 or --head yolox" in result.stdout


def test_detect_takes_anybodys_file_and_says_how_it_reads_it(keras_retina, networks, tmp_path):
    Image.effect_noise((200, 150), 90).convert("RGB").save(tmp_path / "photo.png")
    result = keras_retina("detect", networks[0], tmp_path / "photo.png", "--out", tmp_path / "found", "--score", "0.1")
    assert result.returncode == 0, result.stderr
    assert "yolov8.tflite: head: yolov8" in result.stderr
    assert "yolov8.tflite: resize: letterbox-centre" in result.stderr
    found = json.loads((tmp_path / "found" / "detections.jsonl").read_text())["detections"]
    assert found
    assert {one["label"] for one in found} <= {"circle", "square", "star"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--head", "yolo8"), "--head: expected one of postprocess, .* Received: yolo8. Did you mean 'yolov8'?"),
        ((), r"yolox.tflite: expected outputs that can be read in one way. .* Say --head yolov8 or --head yolox\."),
        (("--head", "yolox"), "expected class names in its metadata. Received: none. Pass --labels FILE"),
    ],
)
def test_what_is_left_to_the_person_is_one_line(keras_retina, networks, options, said, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "photo.png")
    result = keras_retina("detect", networks[1], tmp_path / "photo.png", "--out", tmp_path / "found", *options)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("keras-retina: ")]
    assert re.search(said, line)
    assert "Traceback" not in result.stderr
