"""The anchors that a detection file makes in its graph are those of the description, bit by bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.tflite.anchors import add_anchors, centre_size_anchors
from edge.tflite.flatbuffer import write_flatbuffer
from keras_retina.model.spec import DetectorSpec

SPEC = DetectorSpec(
    class_names=("disc",),
    height=128,
    width=192,
    resize="stretch",
    levels=(3, 6),
    anchor_size=3.3,
    anchor_scales=(1.0, 1.31),
    anchor_ratios=(0.7, 1.0, 1.9),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)


def file_of_anchors(spec: DetectorSpec) -> bytes:
    """A network without inputs whose output is the anchors."""
    graph = schema.SubGraphT(tensors=[], inputs=np.zeros(0, np.int32), operators=[], name=b"main")
    model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()], subgraphs=[graph])
    graph.outputs = np.array([add_anchors(model, spec)], np.int32)
    return write_flatbuffer(model)


CORNERS = {"anchor_offset": 0.0, "anchor_whole_pixels": True}
CLIPPED = {"anchor_clip": True}


@pytest.mark.parametrize("changes", [{"levels": (3, 6)}, {"levels": (4, 4)}, CORNERS, CLIPPED])
def test_the_graph_makes_the_anchors_bit_by_bit(changes):
    spec = dataclasses.replace(SPEC, **changes)
    runner = Interpreter(model_content=file_of_anchors(spec))
    runner.allocate_tensors()
    runner.invoke()
    made = runner.get_tensor(runner.get_output_details()[0]["index"])
    np.testing.assert_array_equal(made, centre_size_anchors(spec))
    assert made.shape == (len(spec.anchors()), 4)


def test_they_are_the_boxes_of_the_description():
    for spec in (SPEC, dataclasses.replace(SPEC, **CORNERS), dataclasses.replace(SPEC, **CLIPPED)):
        anchors = centre_size_anchors(spec).astype(np.float64) * [128, 192, 128, 192]
        corners = np.concatenate([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], axis=1)
        np.testing.assert_allclose(corners, spec.anchors(), atol=1e-4)
    anchors = centre_size_anchors(SPEC).astype(np.float64) * [128, 192, 128, 192]
    # The first cell of stride 8: centre (4, 4), height 3.3 * 8 * sqrt(0.7), width 3.3 * 8 / sqrt(0.7).
    np.testing.assert_allclose(anchors[0], [4, 4, 26.4 * 0.7**0.5, 26.4 / 0.7**0.5], rtol=1e-6)


def test_the_file_is_far_smaller_than_the_table():
    assert len(file_of_anchors(SPEC)) < 0.5 * centre_size_anchors(SPEC).nbytes
