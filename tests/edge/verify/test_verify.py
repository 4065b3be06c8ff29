"""Verification of a run folder: honest rows for good files, dead files, damaged files and lossy files."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from edge.detectors.measure import detect_and_time
from edge.export.export import export_files
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, write_flatbuffer
from edge.verify.parity import check_parity
from edge.verify.verify import dataset_sha256, verify_files
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.machine import machine_name
from keras_retina.recipe.recipe import Export, Verification

QUICK = Verification(latency_runs=3, threads=2)


@pytest.fixture(scope="module")
def split(tiny_model, tiny_spec, image_paths) -> Dataset:
    """Five images whose labels are the three best detections of the Keras model in each: its AP is high, not 100."""
    from keras_retina.evaluate.predict import detect_function, predict_dataset

    empty = [
        Record(
            image_id=number + 10,
            path=path,
            file_name=path.name,
            height=120,
            width=160,
            boxes=np.zeros((0, 4), np.float32),
            classes=np.zeros(0, np.int32),
            crowd=np.zeros(0, bool),
        )
        for number, path in enumerate(image_paths)
    ]
    unlabelled = Dataset("drawn", "val", tiny_spec.class_names, (7, 3, 5), tuple(empty))
    found = predict_dataset(detect_function(tiny_model, tiny_spec), tiny_spec, dataset=unlabelled)
    return dataclasses.replace(unlabelled, records=tuple(_labelled(record, found) for record in empty))


def _labelled(record: Record, found: list[dict]) -> Record:
    best = [item for item in found if item["image_id"] == record.image_id][:3]
    x, y, width, height = np.array([item["bbox"] for item in best], np.float32).T
    return dataclasses.replace(
        record,
        boxes=np.stack([y, x, y + height, x + width], axis=1),
        classes=np.array([(7, 3, 5).index(item["category_id"]) for item in best], np.int32),
        crowd=np.zeros(len(best), bool),
    )


@pytest.fixture(scope="module")
def verified(tiny_model, tiny_spec, split, exported, tmp_path_factory, logged):
    folder = tmp_path_factory.mktemp("run")
    with logged() as calls:
        result = verify(folder, tiny_model, tiny_spec, split, list(exported.values()))
    return folder, result, calls


def rows_of(result: dict) -> dict[str, dict]:
    return {row["file"]: row for row in result["rows"]}


def verify(run_dir, model, spec, dataset, files) -> dict:
    """`verify_files` with quick settings, and what it wrote."""
    return verify_files(run_dir, model, spec=spec, dataset=dataset, settings=QUICK, files=files).to_json()


def test_verify_json_holds_a_row_for_keras_and_each_file_as_designed(verified, exported, split):
    folder, result, _ = verified
    assert json.loads((folder / "verify.json").read_text()) == result
    assert list(rows_of(result)) == ["model.keras", *(path.name for path in exported.values())]
    assert result["dataset"] == {"name": "drawn", "split": "val", "images": 5, "sha256": dataset_sha256(split)}
    for stem, path in exported.items():
        row = rows_of(result)[path.name]
        assert row["kind"] == stem.removesuffix("_raw")
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row["gzip_bytes"] < row["size_bytes"] == path.stat().st_size
        assert set(row["per_class"]) == set(split.class_names)
        assert {"median", "p95", "threads", "machine"} <= set(row["latency_ms"])
        assert 0 < row["latency_ms"]["median"] <= row["latency_ms"]["p95"]
        assert row["latency_ms"]["threads"] == 2


def test_float_files_are_verified_and_as_good_as_keras(verified):
    _, result, _ = verified
    rows = rows_of(result)
    assert rows["model.keras"]["AP"] > 50
    for name in ("tiny_float32.tflite", "tiny_float32_raw.tflite"):
        assert rows[name]["status"] == "verified", rows[name]["reason"]
        assert rows[name]["AP"] == pytest.approx(rows["model.keras"]["AP"], abs=0.1)


def test_a_file_that_loses_ap_fails_the_gate_and_says_by_how_much(verified):
    _, result, _ = verified
    row = rows_of(result)["tiny_int8.tflite"]
    assert row["AP"] < 0.9 * rows_of(result)["model.keras"]["AP"]  # a random network does not survive 8 bits
    assert row["status"] == "failed"
    assert "is under 0.99 x" in row["reason"]
    assert result["gate"]["passed"] is False
    assert "0.99" in result["gate"]["rule"]


def test_detections_and_labels_are_saved_and_give_the_same_ap_again(verified, split):
    folder, result, _ = verified
    truth = json.loads((folder / "verify" / "ground_truth.json").read_text())
    assert len(truth["images"]) == 5
    for name, row in rows_of(result).items():
        saved = folder / "verify" / ("keras.json" if name == "model.keras" else name.replace(".tflite", ".json"))
        assert coco_metrics(split, json.loads(saved.read_text()))["AP"] == row["AP"]
    assert not [path for path in folder.rglob(".*")]


def test_parity_is_measured_before_and_reported(verified):
    _, result, calls = verified
    parity = result["parity"]
    assert parity["passed"]
    assert parity["file"] == "tiny_float32_raw.tflite"
    assert parity["images"] == 5
    assert 0 < parity["classes"] < 1e-3
    assert 0 < parity["boxes"] < 1e-3
    assert calls[0] == "verify: raw heads against Keras: equal within 0.001"
    assert calls[1].startswith("verify: model.keras: AP ")
    assert "tiny_int8_raw.tflite" in calls[-1]
    assert "failed: AP " in calls[-1]


def rewritten(source, target, change):
    """Copies an exported file with `change(model)` applied to its graph, described as before."""
    from edge.export.export import described
    from edge.runtime import read_description
    from keras_retina.model.spec import DetectorSpec
    from keras_retina.recipe.recipe import Export

    model = read_flatbuffer(source.read_bytes())
    change(model)
    own = read_description(source)
    fields = {field.name for field in dataclasses.fields(DetectorSpec)}
    spec = DetectorSpec(**{name: value for name, value in vars(own).items() if name in fields})
    settings = Export(max_detections=own.max_detections)
    target.write_bytes(described(write_flatbuffer(model), spec, kind=own.kind, head=own.head, settings=settings))
    return target


def blind(model):
    """Sets the weights of the class prediction, 9 anchors x 3 classes, to zero: every score is that of the bias."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator_name(model, operator) == "CONV_2D" and graph.tensors[operator.inputs[1]].shape[0] == 27:
            buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
            buffer.data = np.zeros_like(buffer.data)


def test_a_file_with_equal_scores_fails(tiny_model, tiny_spec, split, exported, tmp_path):
    dead = rewritten(exported["float32"], tmp_path / "dead_float32.tflite", blind)
    result = verify(tmp_path, tiny_model, tiny_spec, split, [exported["float32_raw"], dead])
    rows = rows_of(result)
    assert rows["tiny_float32_raw.tflite"]["status"] == "verified"
    assert rows["dead_float32.tflite"]["status"] == "failed"
    assert "degenerate scores: only 1 different scores" in rows["dead_float32.tflite"]["reason"]
    assert not result["gate"]["passed"]


def test_without_parity_nothing_is_measured(tiny_model, tiny_spec, split, exported, tmp_path):
    wrong = rewritten(exported["float32_raw"], tmp_path / "wrong_float32_raw.tflite", blind)
    result = verify(tmp_path, tiny_model, tiny_spec, split, [exported["float32"], wrong])
    assert not result["parity"]["passed"]
    assert not result["gate"]["passed"]
    for row in result["rows"]:
        assert row["status"] == "not run"
        assert row["AP"] is None
        assert "the classes head differs from Keras" in row["reason"]
    assert not (tmp_path / "verify" / "keras.json").exists()


def test_damaged_missing_and_foreign_files_are_not_run_and_the_others_are(
    tiny_model, tiny_spec, split, exported, tmp_path
):
    (tmp_path / "text_int8.tflite").write_text("hello")
    half = tmp_path / "half_float16_raw.tflite"
    half.write_bytes(exported["float16"].read_bytes()[:100_000])
    files = [tmp_path / "text_int8.tflite", half, tmp_path / "missing.tflite", exported["float32_raw"]]
    result = verify(tmp_path, tiny_model, tiny_spec, split, files)
    rows = rows_of(result)
    assert [row["status"] for row in rows.values()] == ["verified", "not run", "not run", "not run", "verified"]
    assert [row["kind"] for row in rows.values()] == ["keras", "int8", "float16", "unknown", "float32"]
    assert "no such file" in rows["missing.tflite"]["reason"]
    assert "\n" not in "".join(row["reason"] for row in result["rows"])
    assert not result["gate"]["passed"]


def test_a_file_of_another_detector_is_not_run(tiny_model, tiny_spec, split, exported, tmp_path):
    spec = dataclasses.replace(tiny_spec, anchor_size=4.0)
    result = verify(tmp_path, tiny_model, spec, split, [exported["float32"]])
    row = rows_of(result)["tiny_float32.tflite"]
    assert row["status"] == "not run"
    assert "anchor_size=4.0" in row["reason"]
    assert result["parity"]["file"] == "converted for this check"
    assert result["parity"]["passed"]


def test_a_dead_parent_lets_nothing_pass(tiny_model, tiny_spec, split, exported, tmp_path):
    unseen = [dataclasses.replace(record, boxes=record.boxes + 3000) for record in split.records]
    dataset = dataclasses.replace(split, records=tuple(unseen))
    result = verify(tmp_path, tiny_model, tiny_spec, dataset, [exported["float32_raw"]])
    assert [row["status"] for row in result["rows"]] == ["failed", "failed"]
    assert "AP is 0" in result["rows"][0]["reason"]
    assert not result["gate"]["passed"]


def test_parity_is_scaled_by_the_largest_value_and_nan_fails(tiny_model, tiny_spec, split, exported, tmp_path):
    def poison(model):
        graph = model.subgraphs[0]
        first = next(op for op in graph.operators if operator_name(model, op) == "CONV_2D")
        buffer = model.buffers[graph.tensors[first.inputs[2]].buffer]
        buffer.data = np.full(buffer.data.size // 4, np.nan, np.float32).view(np.uint8)

    poisoned = rewritten(exported["float32_raw"], tmp_path / "nan_float32_raw.tflite", poison)
    found = check_parity(tiny_model, tiny_spec, dataset=split, raw_file=poisoned, limit=1e-3)
    assert not found.passed
    assert (found.classes, found.boxes) == (None, None)
    exact = check_parity(tiny_model, tiny_spec, dataset=split, raw_file=exported["float32_raw"], limit=1e-9)
    assert not exact.passed
    assert "limit 1e-09" in exact.reason


def test_input_that_cannot_be_verified_is_refused(tiny_model, tiny_spec, split, exported, tmp_path):
    with pytest.raises(InputError, match="expected exported files"):
        verify_files(tmp_path, tiny_model, spec=tiny_spec, dataset=split, settings=QUICK, files=[])
    empty = dataclasses.replace(split, records=())
    with pytest.raises(InputError, match="expected images in the split 'val'"):
        detect_and_time(exported["float32"], empty)
    renamed = dataclasses.replace(split, class_names=("x", "y", "z"))
    with pytest.raises(InputError, match="expected the classes of the data"):
        verify_files(tmp_path, tiny_model, spec=tiny_spec, dataset=renamed, settings=QUICK, files=[exported["float32"]])


def test_the_hash_of_a_split_changes_with_labels_and_pixels(split, tmp_path):
    moved = dataclasses.replace(split.records[0], boxes=split.records[0].boxes + 1)
    other_path = tmp_path / "other.png"
    other_path.write_bytes(split.records[1].path.read_bytes())
    other = dataclasses.replace(split.records[0], path=other_path)
    hashes = {
        dataset_sha256(dataclasses.replace(split, records=(record, *split.records[1:])))
        for record in (split.records[0], moved, other)
    }
    assert len(hashes) == 3


def test_the_machine_has_a_name():
    assert "cores" in machine_name()


def test_keras_suppresses_as_the_files_do(tiny_model, tiny_spec, split, verified, tmp_path):
    """Of fast suppression the AP differs, on both sides by the same."""
    fast = Export(formats=("float32",), nms="fast", max_detections=50)
    paths = export_files(tiny_model, tiny_spec, out_dir=tmp_path, name="tiny", settings=fast, calibration_images=[])
    rows = rows_of(verify(tmp_path, tiny_model, tiny_spec, split, paths))
    keras_row, per_class = rows["model.keras"], rows_of(verified[1])["model.keras"]
    assert abs(keras_row["AP"] - per_class["AP"]) > 0.1
    for path in paths:
        assert rows[path.name]["nms"] == "fast"
        assert rows[path.name]["AP"] == pytest.approx(keras_row["AP"], abs=0.01)
