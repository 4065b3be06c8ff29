"""TFLite metadata: what MediaPipe Tasks reads to open a file, and the Task Library one with four outputs.

MediaPipe's own writers do not import (1.2.2), so the few tables are written with the flatbuffers library.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite import decoding_metadata
from edge.tflite.tables import aligned_bytes, table, vector
from keras_retina.model.spec import DetectorSpec

NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"  # the oldest that knows every field used here
RAW_PARSER_VERSION = "1.5.0"  # custom metadata
IMAGE_PROPERTIES, BOUNDING_BOX_PROPERTIES, FEATURE_PROPERTIES = 2, 3, 1  # the union ContentProperties
RGB, BOUNDARIES = 1, 1
TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = 2, 3  # of a column for each class; of an index of the class
LEFT_TOP_RIGHT_BOTTOM_IN_YXYX = (1, 0, 3, 2)  # where x1, y1, x2, y2 stand in a box of ours


def add_metadata(model: schema.ModelT, spec: DetectorSpec, *, labels_file: str, head: str) -> None:
    """Adds the metadata buffer of a file whose input is uint8 RGB.

    The outputs of a `raw` file are boxes and classes, those of any other boxes, classes, scores and count.
    """
    describe = raw_metadata if head == "raw" else detector_metadata
    attach_metadata(model, describe(spec, labels_file))


def attach_metadata(model: schema.ModelT, metadata: bytes) -> None:
    """Puts a ModelMetadata flatbuffer into a file."""
    model.buffers.append(schema.BufferT(data=np.frombuffer(metadata, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)]


def detector_metadata(spec: DetectorSpec, labels_file: str) -> bytes:
    """Returns a ModelMetadata flatbuffer; `labels_file` is the name of the labels in the zip behind the model."""
    builder = flatbuffers.Builder(1024)
    labels = table(builder, {0: builder.CreateString(labels_file)}, small={2: TENSOR_VALUE_LABELS})
    outputs = [
        _tensor(
            builder, "location", description="y1, x1, y2, x2 as shares of the input", content=_boxes_content(builder)
        ),
        _tensor(builder, "category", description="index of the class", content=_values_content(builder), labels=labels),
        _tensor(builder, "score", description="0 to 1, highest first", content=_values_content(builder)),
        _tensor(
            builder, "number of detections", description="how many rows are filled", content=_content(builder, None)
        ),
    ]
    graph = table(builder, {2: vector(builder, [_input(builder, spec)]), 3: vector(builder, outputs)})
    return _model(builder, graph, parser_version=PARSER_VERSION)


def raw_metadata(spec: DetectorSpec, labels_file: str) -> bytes:
    """Returns the ModelMetadata of a raw file, from which MediaPipe decodes and suppresses by itself.

    It takes a file with two outputs and this for a detector; the anchors make it 24 bytes for each of them.
    """
    options = decoding_metadata.decoding_options(spec)
    builder = flatbuffers.Builder(len(options) + 1024)
    labels = table(builder, {0: builder.CreateString(labels_file)}, small={2: TENSOR_AXIS_LABELS})
    outputs = [
        _tensor(builder, "location", description="ty, tx, th, tw of every anchor", content=_boxes_content(builder)),
        _tensor(
            builder,
            "score",
            description="logit of every anchor and class",
            content=_values_content(builder),
            labels=labels,
        ),
    ]
    name = builder.CreateString(decoding_metadata.DETECTOR_METADATA)
    custom = table(builder, {0: name, 1: aligned_bytes(builder, options)})
    fields = {2: [_input(builder, spec)], 3: outputs, 9: [custom]}
    graph = table(builder, {slot: vector(builder, offsets) for slot, offsets in fields.items()})
    return _model(builder, graph, parser_version=RAW_PARSER_VERSION)


def _input(builder: flatbuffers.Builder, spec: DetectorSpec) -> int:
    text = f"RGB image, {spec.resize} to {spec.height} x {spec.width}"
    return _tensor(builder, "image", description=text, content=_image_content(builder, spec))


def _model(builder: flatbuffers.Builder, graph: int, *, parser_version: str) -> bytes:
    texts = {0: "RetinaNet", 1: "Object detector exported by keras-retina", 7: parser_version}
    fields = {slot: builder.CreateString(text) for slot, text in texts.items()}
    builder.Finish(table(builder, fields | {3: vector(builder, [graph])}), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(
    builder: flatbuffers.Builder, name: str, *, description: str, content: int, labels: int | None = None
) -> int:
    fields = {0: builder.CreateString(name), 1: builder.CreateString(description), 3: content}
    if labels is not None:
        fields[6] = vector(builder, [labels])
    return table(builder, fields)


def _image_content(builder: flatbuffers.Builder, spec: DetectorSpec) -> int:
    size = table(builder, {}, small={}, integers={0: spec.width, 1: spec.height})
    return _content(builder, IMAGE_PROPERTIES, properties=table(builder, {1: size}, small={0: RGB}))


def _boxes_content(builder: flatbuffers.Builder) -> int:
    index = builder.CreateNumpyVector(np.array(LEFT_TOP_RIGHT_BOTTOM_IN_YXYX, np.uint32))
    return _content(
        builder, BOUNDING_BOX_PROPERTIES, properties=table(builder, {0: index}, small={1: BOUNDARIES}), each=2
    )


def _values_content(builder: flatbuffers.Builder) -> int:
    return _content(builder, None, each=2)


def _content(builder: flatbuffers.Builder, kind: int | None, *, properties: int | None = None, each: int = 0) -> int:
    """Writes a Content; `each` is the axis from which on a value belongs to one detection, 0 for the whole tensor."""
    properties = table(builder, {}) if properties is None else properties
    fields = {1: properties}
    if each:
        fields[2] = table(builder, {}, small={}, integers={0: each, 1: each})
    return table(builder, fields, small={0: kind or FEATURE_PROPERTIES})
