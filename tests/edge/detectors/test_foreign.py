"""Our own files without what makes them ours, with outputs in other orders and other inputs: the same AP as before."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import partial

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.foreign import ForeignDetector, Preprocessing
from edge.detectors.heads.postprocess import OPERATOR_ORDER, OTHER_ORDER
from edge.detectors.measure import detect_and_time
from edge.detectors.reading import ReadingOptions, choose_reading, is_ours, reading_lines
from edge.detectors.split import detect_split
from edge.export.tails import POSTPROCESS
from edge.runtime import Detector, ModelFileError, anchor_boxes, read_image
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.metadata import IDENTIFIER, NAME
from edge.tflite.tables import table, vector
from edge.tflite.writer import Writer
from edge.verify.evaluate import evaluate_target
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.errors import InputError


@pytest.fixture(scope="module")
def split(exported, image_paths) -> Dataset:
    """Five images labelled with every second of the eight best detections of the float32 file."""
    detector = Detector(exported["float32"])
    records = []
    for number, path in enumerate(image_paths):
        found = detector.detect(read_image(path), 0.01)
        record = Record(number, path, path.name, 120, 160, found.boxes[:8:2], found.classes[:8:2], np.zeros(4, bool))
        records.append(record)
    return Dataset("drawn", "val", detector.class_names, (7, 3, 5), tuple(records))


@pytest.fixture
def labels(tmp_path, split):
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(split.class_names))
    return path


def ap_of(path, dataset, options):
    return coco_metrics(
        dataset, detect_split(path, dataset, processes=1, reading=choose_reading(path, dataset, options=options))
    )


@pytest.fixture
def strip(exported, tmp_path):
    """A function that writes one of our files without signature, metadata, labels and description, then changed."""

    def write(name="float32", change=lambda model: None, keep_metadata=False):
        model = read_flatbuffer(exported[name].read_bytes())
        model.signatureDefs = None
        if not keep_metadata:
            model.metadata = [entry for entry in model.metadata or [] if entry.name != NAME]
        change(model)
        path = tmp_path / f"stripped_{name}.tflite"
        path.write_bytes(write_flatbuffer(model))
        return path

    return write


def behind_concatenations(model, order):
    """Copies each output by an operator that may mix values, so that none is known by what made it."""
    in_order(order)(model)
    graph, copies, writer = model.subgraphs[0], [], Writer(model)
    for index in map(int, graph.outputs):
        copies.append(writer.tensor(f"copy_{index}", [int(side) for side in graph.tensors[index].shape]))
        options = schema.ConcatenationOptionsT()
        writer.connect(schema.BuiltinOperator.CONCATENATION, [index], outputs=[copies[-1]], options=options)
    graph.outputs = np.array(copies, np.int32)


def in_order(order):
    def change(model):
        graph = model.subgraphs[0]
        graph.outputs = np.array([graph.outputs[OPERATOR_ORDER.index(role)] for role in order], np.int32)

    return change


def float_input(model):
    """Replaces the CAST of camera bytes by x 64 + 100: the file then wants (pixel - 100) / 64 as float32."""
    graph = model.subgraphs[0]
    pixels = int(graph.operators[0].outputs[0])
    shape = [int(side) for side in graph.tensors[pixels].shape]
    graph.operators = graph.operators[1:]
    writer = Writer.front(model)
    image, scaled = writer.tensor("normalised", shape), writer.tensor("scaled", shape)
    factor, offset = (writer.constant([value], np.float32) for value in (64, 100))
    writer.connect(schema.BuiltinOperator.MUL, [image, factor], outputs=[scaled], options=schema.MulOptionsT())
    writer.connect(schema.BuiltinOperator.ADD, [scaled, offset], outputs=[pixels], options=schema.AddOptionsT())
    graph.inputs = np.array([image], np.int32)


def floats(builder, values, first_slot=0, integers=None, flags=None):
    """Writes a table of float fields that follow each other, integers and flags by slot."""
    builder.StartObject(12)
    for slot, value in enumerate(values, first_slot):
        builder.PrependFloat32Slot(slot, value, 0.0)
    for slot, value in (integers or {}).items():
        builder.PrependInt32Slot(slot, value, 0)
    for slot in flags or ():
        builder.PrependBoolSlot(slot, True, False)
    return builder.EndObject()


def heads_metadata(description, names=("location", "score")):
    """What MediaPipe's Model Maker writes for a file that ends at its heads: x before y, width before height."""
    anchors = anchor_boxes(description) / np.array([description.height, description.width] * 2, np.float32)
    builder = flatbuffers.Builder(1024)
    rows = []
    for y1, x1, y2, x2 in anchors.astype(float):
        rows.append(floats(builder, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]))
    fixed = table(builder, {0: table(builder, {0: vector(builder, rows)})})
    y, x, h, w = description.coder_weights
    counts = {0: len(description.class_names), 1: len(rows), 2: 4, 5: 2}
    decoding = floats(builder, [x, y, w, h], 6, counts, (10, 11))
    builder.Finish(table(builder, {1: fixed, 2: decoding}), b"V001")
    options = bytes(builder.Output())
    builder = flatbuffers.Builder(1024)
    data = builder.CreateNumpyVector(np.frombuffer(options, np.uint8))
    custom = table(builder, {0: builder.CreateString("DETECTOR_METADATA"), 1: data})
    outputs = [table(builder, {0: builder.CreateString(name)}) for name in names]
    graph = table(builder, {3: vector(builder, outputs), 9: vector(builder, [custom])})
    builder.Finish(table(builder, {3: vector(builder, [graph])}), IDENTIFIER)
    return bytes(builder.Output())


@pytest.mark.parametrize("name", ["float32_raw", "int8_raw"])
def test_heads_with_anchors_in_metadata_have_our_detections(strip, exported, split, labels, name):
    """Our file says where to stop, at 50 boxes; a foreign one cannot, and goes on to 100."""

    def add(model):
        data = np.frombuffer(heads_metadata(Detector(exported[name]).description), np.uint8)
        model.buffers.append(schema.BufferT(data=data))
        model.metadata.append(schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1))

    path = strip(name, add)
    reading = choose_reading(path, split, options=ReadingOptions(labels=labels))
    assert reading.read_as["outputs"] == "two heads and their anchors; suppression within a class at IoU 0.5"
    ours = detect_split(exported[name], split, processes=1)
    theirs = detect_split(path, split, processes=1, reading=reading)
    for record in split.records:
        expected, received = (rounded_detections(one, record.image_id) for one in (ours, theirs))
        assert (len(expected), len(received)) == (50, 100)
        assert not Counter(expected) - Counter(received)
        assert min(score for _, score, _ in expected) >= sorted(score for _, score, _ in received)[-50]


def rounded_detections(detections, image_id) -> list[tuple]:
    """Class, score and box of each detection of an image."""
    return [
        (one["category_id"], round(one["score"], 4), tuple(round(value, 1) for value in one["bbox"]))
        for one in detections
        if one["image_id"] == image_id
    ]


@pytest.mark.parametrize("order", [OPERATOR_ORDER, OTHER_ORDER, ("count", "scores", "classes", "boxes")])
def test_a_stripped_file_has_the_ap_of_ours_in_every_order(strip, exported, split, labels, order):
    path = strip("float32", in_order(order))
    assert not is_ours(path)
    assert is_ours(exported["float32"])
    ours = ap_of(exported["float32"], split, ReadingOptions())
    assert 20 < ours["AP"] < 100
    assert ap_of(path, split, ReadingOptions(labels=labels)) == ours


@pytest.mark.parametrize("order", [OPERATOR_ORDER, OTHER_ORDER])
def test_outputs_are_known_by_position_where_nothing_names_them(strip, exported, split, labels, order):
    path = strip("float32", lambda model: behind_concatenations(model, order))
    detector = ForeignDetector(path)
    assert detector.read_as["outputs"] == f"their positions: {', '.join(order)}"
    assert ap_of(path, split, ReadingOptions(labels=labels)) == ap_of(exported["float32"], split, ReadingOptions())


def test_an_int8_file_has_the_ap_of_ours_too(strip, exported, split, labels):
    ours = ap_of(exported["int8"], split, ReadingOptions())
    assert ap_of(strip("int8"), split, ReadingOptions(labels=labels)) == ours


def test_a_float_input_is_normalised_as_given_and_what_is_assumed_is_said(strip, exported, split, labels):
    path = strip("float32", float_input)
    ours = ap_of(exported["float32"], split, ReadingOptions())["AP"]
    given = ReadingOptions(labels=labels, mean=100.0, std=64.0)
    assert ap_of(path, split, given)["AP"] == pytest.approx(ours, abs=0.3)
    assert choose_reading(path, split, options=given).read_as["input"] == "float32, (pixel - 100) / 64, as given"
    assumed = choose_reading(path, split, options=ReadingOptions(labels=labels))
    assert assumed.read_as["input"] == "float32, (pixel - 127.5) / 127.5, assumed, the file does not say"
    assert any("assumed" in line for line in reading_lines(path, assumed))
    assert coco_metrics(split, detect_split(path, split, processes=1, reading=assumed))["AP"] < ours - 5


def test_letterboxed_boxes_come_back_to_the_image(strip, image_paths):
    image = read_image(image_paths[0])  # 120 x 160: letterbox leaves rows 96 to 127 of the 128 black
    found = ForeignDetector(strip(), 1, preprocessing=Preprocessing(resize="letterbox")).detect(image, 0.01)
    pixels, placement = ForeignDetector(strip(), 1, preprocessing=Preprocessing(resize="letterbox")).prepare(image)
    assert placement.scales == (0.8, 0.8)
    assert not pixels[0, 96:].any()
    assert (found.boxes[:, 2] <= 120).all()
    assert (found.boxes[:, 3] <= 160).all()


def test_labels_of_the_metadata_are_used(exported, tmp_path, split):
    """Our zip without our description is what other exporters write."""
    from edge.tflite.flatbuffer import append_members

    path = tmp_path / "theirs.tflite"
    flatbuffer = write_flatbuffer(read_flatbuffer(exported["float32"].read_bytes()))
    path.write_bytes(append_members(flatbuffer, {"labels.txt": "\n".join(split.class_names).encode()}))
    reading = choose_reading(path, split, options=ReadingOptions())
    assert reading.read_as["labels"] == "from the metadata, 3 names"
    assert reading.columns == (0, 1, 2)


def test_classes_are_mapped_and_those_without_a_counterpart_are_said(strip, split, tmp_path):
    (tmp_path / "theirs.txt").write_text("disc\nSQUARE\nsomething")
    options = ReadingOptions(labels=tmp_path / "theirs.txt", class_map="disc=circle")
    path = strip()
    reading = choose_reading(path, split, options=options)
    assert reading.columns == (0, 1, -1)
    lines = reading_lines(path, reading)
    assert any("does not know, AP 0: <b>../cross</b>" in line for line in lines)
    assert any("1 of its classes are not in the data, left out: something" in line for line in lines)
    found = detect_split(path, split, processes=1, reading=reading)
    assert {item["category_id"] for item in found} == {7, 3}
    assert coco_metrics(split, found)["per_class"]["<b>../cross</b>"] == 0


def test_a_file_of_ours_can_be_mapped_to_other_data(exported, split):
    other = dataclasses.replace(split, class_names=("ring", "square", "star"))
    reading = choose_reading(exported["float32"], other, options=ReadingOptions(class_map="circle=ring"))
    assert (reading.preprocessing, reading.columns) == (None, (0, 1, -1))
    detections, latency = detect_and_time(exported["float32"], other, latency_runs=1, reading=reading)
    assert {item["category_id"] for item in detections} == {7, 3}
    assert latency["median"] > 0


def test_a_split_over_processes_gives_the_same(strip, split, labels):
    path = strip("float32", float_input)
    reading = choose_reading(path, split, options=ReadingOptions(labels=labels, mean=100.0, std=64.0))
    assert detect_split(path, split, processes=2, reading=reading) == detect_split(
        path, split, processes=1, reading=reading
    )


def test_what_cannot_be_read_is_refused_with_a_reason(strip, exported, split, labels, tmp_path):
    cases = [
        (
            strip("float32_raw"),
            {},
            ModelFileError,
            r"expected a known detection head. Received, for noise: float32 \[1, .*, 4\]",
        ),
        (strip(), {"labels": None}, InputError, "expected class names in its metadata. Received: none. Pass --labels"),
        (strip(), {"labels": tmp_path / "no.txt"}, InputError, "--labels: expected a text file. Received: .*no.txt"),
        (strip(), {"mean": 1.0}, InputError, "expected both or none. Received: one"),
        (strip(), {"mean": 1.0, "std": 1.0}, InputError, "with uint8, which gets the pixels as they are"),
        (strip(), {"class_map": "circel=square"}, InputError, "Received: 'circel'. Did you mean 'circle'?"),
        (exported["int8"], {}, InputError, "--labels: expected a file without the description"),
    ]
    for path, changes, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            choose_reading(path, split, options=dataclasses.replace(ReadingOptions(labels=labels), **changes))
        assert "\n" not in str(caught.value)


def test_labels_of_another_file_are_noticed(strip, split, tmp_path):
    (tmp_path / "one.txt").write_text("circle\n")
    reading = choose_reading(strip(), split, options=ReadingOptions(labels=tmp_path / "one.txt"))
    with pytest.raises(ModelFileError, match=r"expected classes under 1, the number of its labels. Received: [12]"):
        detect_split(strip(), split, processes=1, reading=reading)


def test_a_std_of_zero_and_swapped_outputs_are_noticed(strip, image_paths):
    with pytest.raises(InputError, match="expected a std above 0. Received: std=0"):
        ForeignDetector(strip("float32", float_input), 1, preprocessing=Preprocessing(0.0, 0.0))
    detector = ForeignDetector(strip())
    read = detector._head.read
    wrong = partial(read.func, **{**read.keywords, "roles": ("boxes", "scores", "classes", "count")})
    detector._head = dataclasses.replace(detector._head, read=wrong)
    with pytest.raises(ModelFileError, match="expected scores of 0 to 1 and whole classes"):
        detector.detect(read_image(image_paths[0]))


def test_a_classifier_is_no_detector(write_tflite, tmp_path):
    tensors = {
        "image": ((1, 8, 8, 3), "uint8", None),
        "axes": ((2,), "int32", [1, 2]),
        "scores": ((1, 3), "uint8", None),
    }
    operators = [("MEAN", 2, ["image", "axes"], ["scores"], schema.ReducerOptionsT())]
    with pytest.raises(ModelFileError, match=r"Received, for noise: uint8 \[1, 3\] scores.* a classifier has no boxes"):
        ForeignDetector(write_tflite(tmp_path / "classifier.tflite", tensors, operators))


def test_a_file_that_takes_no_image_is_no_detector(write_tflite, tmp_path):
    tensors = {"x": ((1, 8), "float32", None), "y": ((1, 8), "float32", None)}
    path = write_tflite(tmp_path / "m.tflite", tensors, [("LOGISTIC", 1, ["x"], ["y"], None)])
    with pytest.raises(ModelFileError, match=r"expected one input \[1, height, width, 3\] .* Received: .*float32"):
        ForeignDetector(path)


def test_evaluate_takes_a_stripped_file_and_says_how_it_was_read(strip, tiny_coco, tmp_path, logged):
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree")
    options = ReadingOptions(labels=tmp_path / "labels.txt", class_map="one=disc")
    with logged() as said:
        measured = evaluate_target(strip(), tiny_coco, split="val", options=options)
    assert measured["read_as"]["outputs"] == f"the operator {POSTPROCESS}"
    assert measured["latency_ms"]["median"] > 0
    assert any("outputs: the operator" in line for line in said)
