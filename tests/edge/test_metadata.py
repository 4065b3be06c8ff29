"""TFLite metadata: the structure that MediaPipe reads, and MediaPipe itself where it is installed."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest

from edge.metadata import detector_metadata
from edge.runtime import Detector
from edge.tflite_file import read_flatbuffer
from keras_retina.data.images import read_image, resize_image


def test_metadata_names_outputs_in_their_order_and_points_to_the_labels(tiny_spec):
    data = detector_metadata(tiny_spec, "labels.txt")
    assert data[4:8] == b"M001"
    graph = Table(data).children(3)[0]
    assert [tensor.text(0) for tensor in graph.children(2)] == ["image"]
    outputs = graph.children(3)
    assert [tensor.text(0) for tensor in outputs] == ["location", "category", "score", "number of detections"]
    labels = outputs[1].children(6)[0]
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)  # TENSOR_VALUE_LABELS


def test_metadata_says_where_left_top_right_bottom_stand_in_a_box(tiny_spec):
    boxes = Table(detector_metadata(tiny_spec, "labels.txt")).children(3)[0].children(3)[0]
    content = boxes.child(3)
    assert content.byte(0) == 3  # BoundingBoxProperties
    properties = content.child(1)
    assert properties.integers(0) == [1, 0, 3, 2]  # ours is top, left, bottom, right
    assert properties.byte(1) == 1  # BOUNDARIES


