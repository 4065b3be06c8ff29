"""Metadata of anybody's file: ours read back, label files in the wild, normalisation, damage."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.runtime import ModelFileError
from edge.tflite.flatbuffer import append_members, read_flatbuffer, write_flatbuffer
from edge.tflite.inspection import inspect_file
from edge.tflite.metadata import IDENTIFIER, NAME
from edge.tflite.read_metadata import FileMetadata, UltralyticsFacts, parse_labels, read_metadata, ultralytics_facts
from edge.tflite.tables import table, vector


def normalised_metadata(mean, std):
    """A ModelMetadata with NormalizationOptions at the input and nothing else."""
    builder = flatbuffers.Builder(256)
    vectors = [builder.CreateNumpyVector(np.array(values, np.float32)) for values in (mean, std)]
    unit = table(builder, {1: table(builder, dict(enumerate(vectors)))}, small={0: 1})
    tensor = table(builder, {4: vector(builder, [unit])})
    graph = table(builder, {2: vector(builder, [tensor])})
    builder.Finish(table(builder, {3: vector(builder, [graph])}), IDENTIFIER)
    return bytes(builder.Output())


def with_metadata(source, target, data):
    model = read_flatbuffer(source.read_bytes())
    model.metadata = None
    if data is not None:
        model.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        model.metadata = [schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)]
    target.write_bytes(write_flatbuffer(model))
    return target


def test_our_own_metadata_gives_output_names_and_labels(exported, tiny_spec):
    found = read_metadata(exported["int8"])
    assert found.output_names == ("location", "category", "score", "number of detections")
    assert found.labels == tiny_spec.class_names
    assert (found.mean, found.std) == (None, None)


def test_normalisation_is_read(exported, tmp_path):
    found = read_metadata(
        with_metadata(exported["int8_raw"], tmp_path / "m.tflite", normalised_metadata([127.5], [64]))
    )
    assert found == FileMetadata((), (127.5,), (64.0,), None)


def test_a_file_without_metadata_has_none(exported, tmp_path):
    assert read_metadata(with_metadata(exported["int8_raw"], tmp_path / "m.tflite", None)) == FileMetadata()


def test_labels_that_were_lost_with_the_zip_are_not_there(exported, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(write_flatbuffer(read_flatbuffer(exported["int8"].read_bytes())))
    found = read_metadata(path)
    assert found.labels is None
    assert found.output_names[0] == "location"


@pytest.mark.parametrize("data", [b"\xff" * 40, b"", b"\x10\x00\x00\x00M001"])
def test_damaged_metadata_is_one_line(exported, tmp_path, data):
    path = with_metadata(exported["int8_raw"], tmp_path / "m.tflite", data)
    with pytest.raises(ModelFileError, match="expected whole TFLite metadata. Received: ") as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("cat\r\n\r\ndog\r\n\r\n", ("cat", "", "dog")),  # an empty line keeps its place
        ("???\nperson\nbicycle", ("person", "bicycle")),
        ("background\nperson", ("person",)),
        ("person\n???\ncar", ("person", "???", "car")),
        ("0  person\n2  car", ("person", "???", "car")),
        ("0: person\n1: car", ("person", "car")),
        ("7 up\ncola", ("7 up", "cola")),
        ("", ()),
        ("99999999999 x", ("99999999999 x",)),
    ],
)
def test_label_files_in_the_wild(text, expected):
    assert parse_labels(text) == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"metadata.json": '{"names": {"1": "b", "0": "a"}, "task": "detect"}'},
            UltralyticsFacts(("a", "b"), "detect"),
        ),
        ({"temp_meta.txt": "{'names': {0: 'a', 1: 'b'}, 'imgsz': [640, 640]}"}, UltralyticsFacts(("a", "b"), None)),
        ({"temp_meta.txt": "{'stride': 32, 'names': ['a', 'b']}"}, UltralyticsFacts(("a", "b"), None)),
        ({"metadata.json": '{"author": "another tool"}', "temp_meta.txt": None}, None),
        ({}, None),
    ],
)
def test_names_of_ultralytics_are_read_in_both_of_its_forms(members, expected):
    assert ultralytics_facts(members) == expected


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"metadata.json": "{"}, "metadata.json cannot be parsed"),
        ({"temp_meta.txt": "__import__('os')"}, "temp_meta.txt cannot be parsed"),
        ({"metadata.json": '{"names": {"0": "a", "2": "c"}}'}, "numbers its classes"),
    ],
)
def test_damaged_names_of_ultralytics_are_refused(exported, tmp_path, members, reason):
    with pytest.raises(ValueError, match=reason):
        ultralytics_facts(members)
    path = tmp_path / "m.tflite"
    bare = write_flatbuffer(read_flatbuffer(exported["int8_raw"].read_bytes()))
    path.write_bytes(append_members(bare, {name: text.encode() for name, text in members.items()}))
    with pytest.raises(ModelFileError, match=f"Received: ValueError: .*{reason}"):
        read_metadata(path)


def test_names_of_ultralytics_reach_the_metadata_and_the_inspection(exported, tmp_path):
    path = tmp_path / "m.tflite"
    bare = write_flatbuffer(read_flatbuffer(exported["int8_raw"].read_bytes()))
    path.write_bytes(append_members(bare, {"metadata.json": b'{"names": {"0": "a", "1": "b"}, "task": "segment"}'}))
    assert (read_metadata(path).labels, read_metadata(path).task) == (("a", "b"), "segment")
    assert inspect_file(path)["labels"] == ["a", "b"]
    path.write_bytes(append_members(bare, {"metadata.json": b'{"names": {"5": "a"}}'}))
    assert "numbers its classes" in inspect_file(path)["appended_problem"]
