"""TFLite metadata, read back by slot number and, where MediaPipe is installed, by its generated modules."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from edge.tflite.anchors import centre_size_anchors
from edge.tflite.decoding_metadata import decoding_options
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.metadata import detector_metadata, raw_metadata
from edge.tflite.tables import Reader


def graph_of(metadata: bytes) -> Reader:
    assert metadata[4:8] == b"M001"
    return next(Reader(metadata).children(3))


def test_metadata_names_outputs_in_their_order_and_points_to_the_labels(tiny_spec):
    graph = graph_of(detector_metadata(tiny_spec, "labels.txt"))
    assert [tensor.text(0) for tensor in graph.children(2)] == ["image"]
    outputs = list(graph.children(3))
    assert [tensor.text(0) for tensor in outputs] == ["location", "category", "score", "number of detections"]
    labels = next(outputs[1].children(6))
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)  # TENSOR_VALUE_LABELS


@pytest.mark.parametrize("describe", [detector_metadata, raw_metadata])
def test_metadata_says_where_left_top_right_bottom_stand_in_a_box(tiny_spec, describe):
    boxes = next(graph_of(describe(tiny_spec, "labels.txt")).children(3))
    content = boxes.child(3)
    assert content.byte(0) == 3  # BoundingBoxProperties
    properties = content.child(1)
    assert properties.integers(0) == [1, 0, 3, 2]  # ours is top, left, bottom, right
    assert properties.byte(1) == 1  # BOUNDARIES


def test_raw_metadata_names_the_heads_and_has_labels_for_the_columns(tiny_spec):
    metadata = raw_metadata(tiny_spec, "labels.txt")
    outputs = list(graph_of(metadata).children(3))
    assert [tensor.text(0) for tensor in outputs] == ["location", "score"]
    labels = next(outputs[1].children(6))
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert Reader(metadata).text(7) == "1.5.0"  # the oldest parser with custom metadata


def test_raw_metadata_holds_the_decoding_once_and_aligned(tiny_spec):
    metadata, options = raw_metadata(tiny_spec, "labels.txt"), decoding_options(tiny_spec)
    custom = list(graph_of(metadata).children(9))
    assert [(one.text(0), one.bytes(1) == options) for one in custom] == [("DETECTOR_METADATA", True)]
    assert metadata.count(options[64:]) == 1
    assert metadata.index(options) % 16 == 0
    assert len(metadata) < 24 * len(tiny_spec.anchors()) + 2000


def test_decoding_has_anchors_and_coder_of_the_detector(tiny_spec):
    spec = dataclasses.replace(tiny_spec, coder_weights=(10.0, 9.0, 5.0, 4.0))
    data = decoding_options(spec)
    assert data[4:8] == b"V001"
    anchors, decoding = Reader(data).child(1).child(0).children(0), Reader(data).child(2)
    rows = [[anchor.number(slot) for slot in range(4)] for anchor in anchors]
    np.testing.assert_array_equal(rows, centre_size_anchors(spec)[:, [1, 0, 3, 2]])  # x, y, width, height
    # classes, boxes, coordinates, first keypoint, keypoints, values of each; x, y, w, h scale; exponential, sigmoid
    assert [decoding.integer(slot) for slot in range(6)] == [3, len(rows), 4, 0, 0, 2]
    assert [decoding.number(slot) for slot in range(6, 10)] == [9.0, 10.0, 4.0, 5.0]
    assert [decoding.byte(slot) for slot in (10, 11)] == [1, 1]


def test_mediapipes_own_modules_read_the_decoding(tiny_spec):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    theirs = importlib.import_module("mediapipe.tasks.metadata.object_detector_metadata_schema_py_generated")
    options = theirs.ObjectDetectorOptionsT.InitFromPackedBuf(decoding_options(tiny_spec), 0)
    anchors = options.ssdAnchorsOptions.fixedAnchorsSchema.anchors
    expected = centre_size_anchors(tiny_spec)
    assert len(anchors) == len(expected)
    for place in (0, 1, len(anchors) - 1):
        one = anchors[place]
        np.testing.assert_array_equal([one.yCenter, one.xCenter, one.height, one.width], expected[place])
    decoding = options.tensorsDecodingOptions
    assert (decoding.numClasses, decoding.numBoxes, decoding.sigmoidScore) == (3, len(anchors), True)
    assert (decoding.yScale, decoding.xScale, decoding.hScale, decoding.wScale) == tiny_spec.coder_weights


def test_every_file_has_metadata_once(exported):
    for path in exported.values():
        names = [entry.name for entry in read_flatbuffer(path.read_bytes()).metadata]
        assert names.count(b"TFLITE_METADATA") == 1
