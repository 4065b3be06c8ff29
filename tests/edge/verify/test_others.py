"""Files of others beside the gate: measured like ours, marked, and without a vote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.detectors.reading import ReadingOptions
from edge.detectors.split import detect_split
from edge.export.export import origin_of, write_detector
from edge.report.sections.tables import hero_row
from edge.runtime import Detector, read_image
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.verify.others import add_other_files, files_of_run, read_others, require_files
from edge.verify.result import Gate, Split, VerifyResult, read_result
from edge.verify.rows import Row
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import STATISTICS, coco_metrics
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Export, Verification


@pytest.fixture(scope="module")
def split(exported, image_paths) -> Dataset:
    detector = Detector(exported["float32"])
    records = []
    for number, path in enumerate(image_paths):
        found = detector.detect(read_image(path), 0.01)
        record = Record(number, path, path.name, 120, 160, found.boxes[:3], found.classes[:3], np.zeros(3, bool))
        records.append(record)
    return Dataset("drawn", "val", detector.class_names, (7, 3, 5), tuple(records))


@pytest.fixture
def theirs(exported, tmp_path, split):
    path = tmp_path / "theirs.tflite"
    path.write_bytes(write_flatbuffer(read_flatbuffer(exported["float32"].read_bytes())))
    (tmp_path / "labels.txt").write_text("\n".join(split.class_names))
    return path


def test_a_row_of_others_is_measured_marked_and_outside_the_gate(theirs, exported, split, tmp_path, logged):
    run = tmp_path / "run"
    (run / "verify").mkdir(parents=True)
    own = Row("tiny_int8.tflite", "int8", ap=dict.fromkeys(STATISTICS, 12.0), status="failed", reason="AP")
    result = VerifyResult(Split("drawn", "val", 5, "ab"), Gate("r", True), None, (own,))
    classifier = tmp_path / "classifier.tflite"
    classifier.write_bytes(b"\0\0\0\0TFL3 and nothing else")
    options = ReadingOptions(labels=tmp_path / "labels.txt")
    others = read_others([theirs, classifier], split, options=options, taken={"tiny_int8"})
    with logged() as said:
        added = add_other_files(
            RunPaths(run), result, others=others, dataset=split, settings=Verification(latency_runs=2)
        )
    found = json.loads((run / "verify.json").read_text())
    assert found == added.to_json()
    assert found["gate"] == {"rule": "r", "passed": True}
    mine, good, bad = found["rows"]
    assert mine == own.to_json()
    assert (good["file"], good["kind"], good["also"], good["status"], good["reason"]) == (
        *("theirs.tflite", "other", True, "verified", "beside the gate"),
    )
    assert good["AP"] == coco_metrics(split, detect_split(exported["float32"], split, processes=1))["AP"] > 40
    assert good["multiply_adds"] > 1e6
    assert good["latency_ms"]["median"] > 0
    assert good["read_as"]["labels"].endswith("labels.txt, 3 names")
    assert json.loads((run / "verify" / "theirs.json").read_text())
    assert (bad["status"], bad["AP"]) == ("not run", None)
    assert bad["reason"].startswith("beside the gate: ")
    assert any("theirs.tflite: outputs: the operator" in line for line in said)
    assert read_result(run / "verify.json") == added
    rows = added.rows
    assert [row.label for row in rows] == ["int8", "theirs", "classifier"]
    assert hero_row(rows) is rows[0]  # ours, even though it failed


def test_a_yolo_beside_the_gate_is_read_as_one(split, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks" / "files" / "heads"))
    from peer_networks import Form, write_network

    path = write_network(Form("yolov8", channels_first=True), tmp_path / "yolo.tflite", height=128, width=128)
    run = RunPaths(tmp_path / "run")
    run.verify.parent.mkdir()
    (run.verify.parent / "verify").mkdir()
    others = read_others([path], split, options=ReadingOptions(class_map="star=square"), taken=())
    result = VerifyResult(Split("drawn", "val", 5, "ab"), Gate("r", True), None, ())
    settings = Verification(latency_runs=2)
    (row,) = add_other_files(run, result, others=others, dataset=split, settings=settings).rows
    assert (row.kind, row.also, row.status) == ("other", True, "verified")
    assert row.read_as["head"] == "yolov8"
    assert row.read_as["missing"] == ["<b>../cross</b>"]
    assert row.ap["AP"] >= 0


def test_a_file_that_was_made_from_the_model_of_the_run_is_one_of_the_run(small_quantized, theirs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(b"trained")
    (run / "recipe.yaml").write_text("name: r")
    own, other = tmp_path / "own.tflite", tmp_path / "other.tflite"
    network = small_quantized.int8
    made = {"spec": small_quantized.spec, "kind": "int8", "head": "raw", "settings": Export(), "calibration_images": 3}
    write_detector(own, network, **made, origin=origin_of(run / "recipe.yaml", run / "model.keras"))
    write_detector(other, network, **made, origin=origin_of(run / "recipe.yaml", theirs))
    files = [theirs, own, other]
    assert files_of_run(files, RunPaths(run), taken={"r_int8"}) == [own]
    assert files_of_run([own], RunPaths(tmp_path), taken=set()) == []  # no model there
    for given, taken in (([own], {"own"}), ([own, own], set())):
        with pytest.raises(InputError, match=r"names of their own\. Received: .*own\.tflite"):
            files_of_run(given, RunPaths(run), taken=taken)


def test_a_name_that_is_taken_or_missing_is_refused_before_anything_runs(theirs, split, tmp_path):
    options = ReadingOptions(labels=tmp_path / "labels.txt")
    with pytest.raises(InputError, match="--also: expected files with names of their own. Received: .*theirs"):
        read_others([theirs], split, options=options, taken={"theirs"})
    with pytest.raises(InputError, match="names of their own"):
        read_others([theirs, theirs], split, options=options, taken=set())
    with pytest.raises(InputError, match="--also: expected a .tflite file. Received: .*no.tflite, no such file"):
        require_files([theirs, tmp_path / "no.tflite"])
    with pytest.raises(InputError, match="--class-map"):
        read_others([theirs], split, options=ReadingOptions(tmp_path / "labels.txt", "circel=square"), taken=set())
