"""Multiply-adds of files: by hand for each operator, and equal to those of the Keras model that was exported."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.graph import graph_work, read_graphs
from keras_retina.model.graph import multiply_adds


def work_of(write_tflite, tmp_path, tensors, operators):
    return graph_work(read_graphs(write_tflite(tmp_path / "m.tflite", tensors, operators))[0])


@pytest.mark.parametrize(
    ("name", "tensors", "inputs", "options", "expected"),
    [
        # 4 x 4 cells x 8 outputs x 3 x 3 x 3 inputs
        ("CONV_2D", {"x": (1, 8, 8, 3), "w": (8, 3, 3, 3), "y": (1, 4, 4, 8)}, ["x", "w"], None, 4 * 4 * 8 * 27),
        # two groups: each output sees 3 of 6 inputs
        ("CONV_2D", {"x": (1, 8, 8, 6), "w": (8, 1, 1, 3), "y": (1, 8, 8, 8)}, ["x", "w"], None, 64 * 8 * 3),
        (
            "DEPTHWISE_CONV_2D",
            {"x": (1, 8, 8, 4), "w": (1, 5, 5, 8), "b": (8,), "y": (1, 4, 4, 8)},
            ["x", "w", "b"],
            None,
            16 * 8 * 25,
        ),
        ("FULLY_CONNECTED", {"x": (2, 30), "w": (7, 30), "y": (2, 7)}, ["x", "w"], None, 2 * 7 * 30),
        # each of 4 x 4 x 3 pixels goes to 2 x 2 x 5 places
        (
            "TRANSPOSE_CONV",
            {"x": (1, 4, 4, 3), "w": (5, 2, 2, 3), "s": (4,), "y": (1, 8, 8, 5)},
            ["s", "w", "x"],
            None,
            16 * 3 * 4 * 5,
        ),
        ("BATCH_MATMUL", {"x": (2, 5, 7), "w": (2, 7, 3), "y": (2, 5, 3)}, ["x", "w"], None, 2 * 5 * 3 * 7),
        (
            "BATCH_MATMUL",
            {"x": (2, 7, 5), "w": (2, 7, 3), "y": (2, 5, 3)},
            ["x", "w"],
            schema.BatchMatMulOptionsT(adjX=True),
            2 * 5 * 3 * 7,
        ),
        ("ADD", {"x": (1, 8), "w": (1, 8), "y": (1, 8)}, ["x", "w"], None, 0),
    ],
)
def test_an_operator_counts_one_multiply_add_for_each_weight_it_meets(
    write_tflite, tmp_path, name, tensors, inputs, options, expected
):
    filled = {key: (shape, "float32", np.zeros(shape) if key in ("w", "b") else None) for key, shape in tensors.items()}
    work = work_of(write_tflite, tmp_path, filled, [(name, 1, inputs, ["y"], options)])
    assert (work.total, work.uncounted) == (expected, {})


def test_what_is_not_known_is_named_and_not_counted_as_nothing(write_tflite, tmp_path):
    tensors = {"x": ((1, 8), "float32", None), "y": ((1, 8), "float32", None), "z": ((1, 8), "float32", None)}
    operators = [("MyLayer", 1, ["x"], ["y"], None), ("SVDF", 1, ["y", "x"], ["z"], None)]
    work = work_of(write_tflite, tmp_path, tensors, operators)
    assert (work.total, work.uncounted, work.multiply_adds) == (0, {"MyLayer": 1, "SVDF": 1}, (None, None))


def test_a_shape_that_is_only_known_when_it_runs_is_not_counted(write_tflite, tmp_path):
    tensors = {"x": ((-1, 8, 8, 3), "float32", None), "w": ((8, 3, 3, 3), "float32", np.zeros((8, 3, 3, 3)))}
    tensors["y"] = ((-1, 8, 8, 8), "float32", None)
    assert work_of(write_tflite, tmp_path, tensors, [("CONV_2D", 1, ["x", "w"], ["y"], None)]).uncounted == {
        "CONV_2D": 1
    }


@pytest.mark.parametrize("name", ["float32_raw", "float16_raw", "dynamic", "int8_raw"])
def test_a_file_has_the_multiply_adds_of_its_keras_model(exported, tiny_model, name):
    work = graph_work(read_graphs(exported[name])[0])
    assert work.total == multiply_adds(tiny_model)
    assert work.uncounted == ({} if name.endswith("raw") else {"TFLite_Detection_PostProcess": 1})
