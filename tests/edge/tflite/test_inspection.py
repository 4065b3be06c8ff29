"""`inspect`: what our files say of themselves, what is in files of others, and one clear line for the rest."""

from __future__ import annotations

import json
import random
import zipfile

import numpy as np
import pytest

from edge.export.export import write_detector
from edge.tflite.flatbuffer import append_members
from edge.tflite.inspection import inspect_file
from keras_retina.cli.inspect_file import inspection_lines
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Export

ORIGIN = {"recipe_sha256": "ab" * 32, "model_sha256": "cd" * 32}


@pytest.fixture(scope="module")
def raw_file(small_networks, small_quantized, tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "x_int8_raw.tflite"
    settings = Export(nms="fast", score_threshold=0.2)
    write_detector(
        path,
        small_networks["int8"],
        spec=small_quantized.spec,
        kind="int8",
        head="raw",
        settings=settings,
        calibration_images=5,
        origin=ORIGIN,
    )
    return path


def test_a_file_of_ours_tells_how_it_was_made(raw_file, small_quantized):
    facts = inspect_file(raw_file)
    detector, spec = facts["detector"], small_quantized.spec
    assert (detector["kind"], detector["head"], detector["nms"]) == ("int8", "raw", "fast")
    assert (detector["score_threshold"], detector["iou_threshold"], detector["max_detections"]) == (0.2, 0.5, 100)
    assert (detector["height"], detector["width"], detector["resize"]) == (64, 64, "stretch")
    assert (detector["anchors"], detector["anchor_size"]) == (len(spec.anchors()), spec.anchor_size)
    assert detector["coder_weights"] == [10.0, 10.0, 5.0, 5.0]
    assert {name: detector[name] for name in ORIGIN} == ORIGIN
    assert detector["checksum"] is True
    assert facts["labels"] == list(spec.class_names) == ["disc", "square"]
    assert facts["members"].keys() == {"detector.json", "export.json", "labels.txt"}
    beside = json.loads(raw_file.with_suffix(".json").read_text())
    assert {name: beside[name] for name in (*ORIGIN, "nms", "head")} == {**ORIGIN, "nms": "fast", "head": "raw"}
    assert beside["sha256"] == facts["sha256"]


def test_tensors_operators_and_signature_are_those_of_the_file(raw_file):
    facts = inspect_file(raw_file)
    assert [(tensor["dtype"], tensor["shape"]) for tensor in facts["inputs"]] == [("uint8", [1, 64, 64, 3])]
    assert [tensor["name"] for tensor in facts["outputs"]] == ["boxes", "classes"]
    assert all(tensor["dtype"] == "uint8" and tensor["scale"] > 0 for tensor in facts["outputs"])
    assert facts["operators"]["CONV_2D"] > 3
    assert facts["signatures"] == [{"name": "serving_default", "inputs": ["image"], "outputs": ["boxes", "classes"]}]


def test_metadata_of_a_raw_file_tells_how_it_is_decoded(raw_file, small_quantized):
    metadata = inspect_file(raw_file)["metadata"]
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["location", "score"]
    assert metadata["outputs"][1]["files"] == [{"name": "labels.txt", "type": "axis labels"}]
    anchors = len(small_quantized.spec.anchors())
    decoding = metadata["custom"][0]
    assert decoding.pop("bytes") > 24 * anchors
    assert decoding == {
        **{"name": "DETECTOR_METADATA", "anchors": anchors, "classes": 2, "boxes": anchors},
        **{"x_scale": 10.0, "y_scale": 10.0, "w_scale": 5.0, "h_scale": 5.0, "exponential": True, "sigmoid": True},
    }


def test_lines_name_every_part_in_plain_letters(raw_file):
    lines = inspection_lines(inspect_file(raw_file))
    text = "\n".join(lines)
    assert "input      uint8 [1, 64, 64, 3] image, scale 0.00784314, zero point 127" in lines
    for part in ("coder_weights [10, 10, 5, 5]", "nms fast", f"model_sha256 {'cd' * 32}", "labels     2: disc, square"):
        assert part in text
    assert lines[-1].split() == ["checksum", "ok"]
    assert text.isascii()


def test_a_changed_network_has_a_wrong_checksum(raw_file, tmp_path):
    data = bytearray(raw_file.read_bytes())
    place = data.rindex(b"location", 0, data.index(b"PK\x03\x04"))
    data[place : place + 8] = b"Location"
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(data)
    facts = inspect_file(changed)
    assert facts["detector"]["checksum"] is False
    assert "WRONG" in inspection_lines(facts)[-1]


def test_a_foreign_file_gets_what_it_has(write_tflite, classifier_layers, tmp_path):
    facts = inspect_file(write_tflite(tmp_path / "m.tflite", *classifier_layers))
    assert (facts["metadata"], facts["detector"], facts["labels"], facts["members"]) == (None, None, None, {})
    assert facts["outputs"] == [
        {"name": "scores", "dtype": "int8", "shape": [1, 10], "scale": 0.5, "zero_point": 0},
    ]
    assert facts["operators"] == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "MEAN": 1, "QUANTIZE": 1, "SOFTMAX": 1}
    lines = inspection_lines(facts)
    assert "metadata   none" in lines
    assert lines[-1] == "detector   no description of keras-retina"


def test_labels_of_a_foreign_file_are_those_that_its_metadata_names(write_tflite, classifier_layers, tmp_path):
    import flatbuffers

    from edge.tflite.tables import table, vector

    builder = flatbuffers.Builder(64)
    labels = table(builder, {0: builder.CreateString("names.txt")}, small={2: 2})
    tensor = table(builder, {0: builder.CreateString("probability"), 6: vector(builder, [labels])})
    builder.Finish(table(builder, {3: vector(builder, [table(builder, {3: vector(builder, [tensor])})])}), b"M001")
    path = write_tflite(tmp_path / "m.tflite", *classifier_layers, metadata=bytes(builder.Output()))
    path.write_bytes(append_members(path.read_bytes(), {"names.txt": b"a\nb\x1b\n", "other.txt": b"c\n"}))
    facts = inspect_file(path)
    assert facts["labels"] == ["a", "b\x1b"]
    assert facts["metadata"]["outputs"] == [
        {"name": "probability", "files": [{"name": "names.txt", "type": "axis labels"}]}
    ]
    assert "labels     2: a, b\\x1b" in inspection_lines(facts)


def test_an_infinite_scale_is_no_number(write_tflite, classifier_layers, tmp_path):
    path = write_tflite(tmp_path / "m.tflite", *classifier_layers)
    path.write_bytes(path.read_bytes().replace(np.float32(0.5).tobytes(), np.float32(np.inf).tobytes()))
    facts = inspect_file(path)
    assert facts["outputs"][0]["scale"] is None
    json.dumps(facts, allow_nan=False)


def test_a_file_cut_off_or_changed_anywhere_is_told_in_one_line_or_shown(raw_file, tmp_path):
    data, generator, damaged, refused = raw_file.read_bytes(), random.Random(3), tmp_path / "d.tflite", 0
    for number in range(60):
        changed = bytearray(data[: generator.randrange(len(data))] if number % 2 else data)
        for _ in range(1 + number % 40):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        damaged.write_bytes(changed)
        try:
            inspection_lines(inspect_file(damaged))
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 10 < refused < 60


def test_a_zip_that_unpacks_to_much_is_listed_and_not_unpacked(write_tflite, classifier_layers, tmp_path, monkeypatch):
    path = write_tflite(tmp_path / "m.tflite", *classifier_layers)
    path.write_bytes(append_members(path.read_bytes(), {"labels.txt": b"a\n" * 50, "b.txt": b"b" * 100}))
    assert inspect_file(path)["labels"] == ["a"] * 50
    monkeypatch.setattr("edge.tflite.inspection.TOTAL_LIMIT", 99)
    facts = inspect_file(path)
    assert (facts["members"], facts["labels"]) == ({"labels.txt": 100, "b.txt": 100}, None)


def split_file(path) -> tuple[bytes, dict[str, bytes]]:
    """Returns the network of a file and what is appended to it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = path.read_bytes()
    return data[: data.index(b"PK\x03\x04")], members


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"detector.json": b"{}"}, "detector.json: "),
        ({"export.json": b"[1]"}, "export.json is not what"),
        ({"export.json": b"{"}, "Expecting property name"),
        ({"export.json": None}, "export.json is missing"),
    ],
)
def test_a_description_that_is_not_ours_is_told_beside_the_rest(raw_file, tmp_path, changes, told):
    network, members = split_file(raw_file)
    members = {name: content for name, content in (members | changes).items() if content is not None}
    path = tmp_path / "x.tflite"
    path.write_bytes(append_members(network, members))
    facts = inspect_file(path)
    assert told in facts["appended_problem"]
    assert (facts["detector"], facts["labels"]) == (None, ["disc", "square"])
    lines = inspection_lines(facts)
    assert any(line.startswith("DAMAGED    the appended files: ") and told in line for line in lines)
    assert lines[-1] == "detector   no description that can be read"


def test_a_zip_that_is_cut_off_is_told_beside_the_network(raw_file, tmp_path):
    """Its end is gone, by which zip readers find a zip; so it looked like no zip at all."""
    path = tmp_path / "cut.tflite"
    path.write_bytes(raw_file.read_bytes()[:-40])
    facts = inspect_file(path)
    assert facts["appended_problem"] == "File is not a zip file"
    assert (facts["members"], facts["detector"], facts["labels"]) == ({}, None, None)
    assert facts["operators"] == inspect_file(raw_file)["operators"]
    assert "appended   files that cannot be read" in inspection_lines(facts)


def test_a_damaged_member_is_told_by_name_and_the_others_are_read(raw_file, tmp_path):
    data = raw_file.read_bytes()
    path = tmp_path / "changed.tflite"
    path.write_bytes(data.replace(b"disc\nsquare", b"disk\nsquare"))
    facts = inspect_file(path)
    damage, checksum = facts["appended_problem"].split("; ")
    assert damage == "labels.txt: Bad CRC-32 for file 'labels.txt'"
    assert checksum == "the description does not have the checksum it was written with"
    assert facts["detector"]["checksum"] is True
    assert facts["labels"] is None
    assert "DAMAGED    the appended files: labels.txt: Bad CRC-32" in "\n".join(inspection_lines(facts))


def test_what_is_whole_has_no_problem(raw_file, write_tflite, classifier_layers, tmp_path):
    bare = write_tflite(tmp_path / "bare.tflite", *classifier_layers)
    for path in (raw_file, bare):
        facts = inspect_file(path)
        assert facts["appended_problem"] is None
        assert "DAMAGED" not in "\n".join(inspection_lines(facts))


@pytest.mark.parametrize("content", [b"", b"text\n" * 100, b"\x1c\x00\x00\x00TFL3" + b"\xff" * 1000])
def test_what_is_no_tflite_is_refused(tmp_path, content):
    path = tmp_path / "no.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a whole \.tflite file"):
        inspect_file(path)
    with pytest.raises(InputError, match="no such file"):
        inspect_file(tmp_path / "none.tflite")
