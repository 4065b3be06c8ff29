"""What MediaPipe needs to decode a raw file itself: anchors and coder, stored inside the TFLite metadata.

Source: mediapipe/tasks/metadata/object_detector_metadata_schema.fbs, version 1.0.0; slot numbers are the order of its
fields. Read by mediapipe/tasks/cc/components/processors/detection_postprocessing_graph.cc.
"""

from __future__ import annotations

import flatbuffers
import numpy as np

from edge.tflite.anchors import centre_size_anchors
from edge.tflite.tables import table
from keras_retina.model.spec import DetectorSpec

DETECTOR_METADATA = "DETECTOR_METADATA"
IDENTIFIER = b"V001"
PARSER_VERSION = "1.0.0"
VALUES_PER_KEYPOINT = 2  # MediaPipe aborts the process at any other, even where there are no keypoints
SCALES = ("x_scale", "y_scale", "w_scale", "h_scale")  # from slot 6 on
FIELD_PLACES = (4, 8, 12, 16)  # of x, y, width, height, after the 4 bytes that point to the vtable


def decoding_options(spec: DetectorSpec) -> bytes:
    """Returns an ObjectDetectorOptions flatbuffer: every anchor, the coder weights as scales, sigmoid of the scores."""
    anchors = centre_size_anchors(spec)[:, [1, 0, 3, 2]]  # x centre, y centre, w, h
    builder = flatbuffers.Builder(32 * len(anchors) + 1024)
    fixed = table(builder, {0: _anchor_tables(builder, anchors)})
    y_scale, x_scale, h_scale, w_scale = spec.coder_weights
    decoding = table(
        builder,
        small={10: 1, 11: 1},  # exponential of the size, sigmoid of the score
        integers={0: len(spec.class_names), 1: len(anchors), 2: 4, 5: VALUES_PER_KEYPOINT},
        floats={6: x_scale, 7: y_scale, 8: w_scale, 9: h_scale},
    )
    version = builder.CreateString(PARSER_VERSION)
    root = table(builder, {0: version, 1: table(builder, {0: fixed}), 2: decoding})
    builder.Finish(root, IDENTIFIER)
    return bytes(builder.Output())


def _anchor_tables(builder: flatbuffers.Builder, anchors: np.ndarray) -> int:
    """Writes a vector of FixedAnchor at once: the builder takes seconds for the tens of thousands of a detector.

    In the file: how many, one offset each, the tables, and the vtable that all of them share.
    """
    number = len(anchors)
    start = 4 + 4 * number
    vtable = start + 20 * number
    tables = np.zeros(number, [("vtable", "<i4"), ("values", "<f4", 4)])
    tables["vtable"] = start + 20 * np.arange(number) - vtable
    tables["values"] = anchors
    offsets = start + 20 * np.arange(number) - 4 * np.arange(1, number + 1)
    head = np.concatenate([[number], offsets]).astype("<u4").tobytes()
    data = head + tables.tobytes() + np.array([12, 20, *FIELD_PLACES], "<u2").tobytes()
    builder.Prep(4, len(data))
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.Offset()
