"""TFLite metadata of a postprocess file: what MediaPipe Tasks and the Task Library read to open it.

MediaPipe's own writers do not import (1.2.2), so the few tables are written with the flatbuffers library.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_retina.detector_spec import DetectorSpec

NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"  # the oldest that knows every field used here
IMAGE_PROPERTIES, BOUNDING_BOX_PROPERTIES, FEATURE_PROPERTIES = 2, 3, 1  # the union ContentProperties
RGB, BOUNDARIES, TENSOR_VALUE_LABELS = 1, 1, 3
LEFT_TOP_RIGHT_BOTTOM_IN_YXYX = (1, 0, 3, 2)  # where x1, y1, x2, y2 stand in a box of ours


def add_metadata(model: schema.ModelT, spec: DetectorSpec, labels_file: str) -> None:
    """Adds the metadata buffer for outputs in the order boxes, classes, scores, count; the input is uint8 RGB."""
    data = np.frombuffer(detector_metadata(spec, labels_file), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    model.metadata = [*(model.metadata or []), schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)]


def detector_metadata(spec: DetectorSpec, labels_file: str) -> bytes:
    """Returns a ModelMetadata flatbuffer; `labels_file` is the name of the labels in the zip behind the model."""
    builder = flatbuffers.Builder(1024)
    image = _image_content(builder, spec)
    inputs = [_tensor(builder, "image", f"RGB image, {spec.resize} to {spec.height} x {spec.width}", image)]
    labels = _table(builder, {0: builder.CreateString(labels_file)}, {2: TENSOR_VALUE_LABELS})
    outputs = [
        _tensor(builder, "location", "y1, x1, y2, x2 as shares of the input", _boxes_content(builder)),
        _tensor(builder, "category", "index of the class", _values_content(builder), labels),
        _tensor(builder, "score", "0 to 1, highest first", _values_content(builder)),
        _tensor(builder, "number of detections", "how many rows are filled", _content(builder, None)),
    ]
    graph = _table(builder, {2: _vector(builder, inputs), 3: _vector(builder, outputs)})
    texts = {0: "RetinaNet", 1: "Object detector exported by keras-retina", 7: PARSER_VERSION}
    fields = {slot: builder.CreateString(text) for slot, text in texts.items()}
    builder.Finish(_table(builder, fields | {3: _vector(builder, [graph])}), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, name: str, description: str, content: int, labels: int | None = None) -> int:
    fields = {0: builder.CreateString(name), 1: builder.CreateString(description), 3: content}
    if labels is not None:
        fields[6] = _vector(builder, [labels])
    return _table(builder, fields)


def _image_content(builder: flatbuffers.Builder, spec: DetectorSpec) -> int:
    size = _table(builder, {}, {}, {0: spec.width, 1: spec.height})
    return _content(builder, IMAGE_PROPERTIES, _table(builder, {1: size}, {0: RGB}))


def _boxes_content(builder: flatbuffers.Builder) -> int:
    index = builder.CreateNumpyVector(np.array(LEFT_TOP_RIGHT_BOTTOM_IN_YXYX, np.uint32))
    return _content(builder, BOUNDING_BOX_PROPERTIES, _table(builder, {0: index}, {1: BOUNDARIES}), each=2)


def _values_content(builder: flatbuffers.Builder) -> int:
    return _content(builder, None, each=2)


def _content(builder: flatbuffers.Builder, kind: int | None, properties: int | None = None, each: int = 0) -> int:
    """Writes a Content; `each` is the axis from which on a value belongs to one detection, 0 for the whole tensor."""
    properties = _table(builder, {}) if properties is None else properties
    fields = {1: properties}
    if each:
        fields[2] = _table(builder, {}, {}, {0: each, 1: each})
    return _table(builder, fields, {0: kind or FEATURE_PROPERTIES})


def _table(
    builder: flatbuffers.Builder,
    offsets: dict[int, int],
    small: dict[int, int] | None = None,
    integers: dict[int, int] | None = None,
) -> int:
    """Writes a table of {slot: offset of a finished child}, {slot: byte} and {slot: 32-bit integer}."""
    small, integers = small or {}, integers or {}
    builder.StartObject(1 + max([-1, *offsets, *small, *integers]))
    for slot, value in integers.items():
        builder.PrependInt32Slot(slot, value, 0)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in small.items():
        builder.PrependInt8Slot(slot, value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
