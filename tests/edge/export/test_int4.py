"""The int4 format: kernels of 15 values packed in half a byte, in an int8 network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.edgetpu.predict import predict
from edge.export.export import write_detector
from edge.export.int4 import nibbles, rounded
from edge.tflite.flatbuffer import constant_values, operator_name, read_flatbuffer, tensor_type
from edge.tflite.kernels import clusters_of_file, sparsity_of_file
from edge.tflite.layer_names import feature_maps
from keras_retina.recipe.recipe import Export


@pytest.fixture(scope="module")
def int4(small_quantized) -> bytes:
    from edge.export.convert import quantize_heads

    return quantize_heads(small_quantized.model, small_quantized.spec, kind="int4", samples=small_quantized.samples)


def stored_4_bit(values: list[int], shape: tuple[int, ...]) -> schema.ModelT:
    tensor = schema.TensorT(shape=np.array(shape, np.int32), type=schema.TensorType.INT4, buffer=0)
    buffer = schema.BufferT(data=nibbles(np.array(values, np.int8)))
    return schema.ModelT(subgraphs=[schema.SubGraphT(tensors=[tensor])], buffers=[buffer])


def check_kinds(model: schema.ModelT) -> None:
    graph, found = model.subgraphs[0], set()
    for op in graph.operators:
        types = [tensor_type(graph.tensors[index]) for index in (*op.inputs, *op.outputs) if index >= 0]
        found.add(operator_name(model, op))
        if operator_name(model, op) == "CONV_2D":
            assert types == ["int8", "int4", "int32", "int8"]
        elif operator_name(model, op) == "DEPTHWISE_CONV_2D":
            assert types == ["int8", "int8", "int32", "int8"]
    assert {"CONV_2D", "DEPTHWISE_CONV_2D"} <= found


def interpreter(network: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from pixels to class logits."""
    model = Interpreter(model_content=network)
    runner = model.get_signature_runner()
    return lambda pixels: runner(image=pixels)["classes"]


def test_two_values_share_a_byte_and_the_first_lies_in_the_low_half():
    assert nibbles(np.array([1, -1, 7], np.int8)).tolist() == [0xF1, 0x07]


@pytest.mark.parametrize("values", [[-8, 7, 0, -1], [5], [-7, 1, 3]])
def test_packed_values_are_read_as_they_were_stored(values):
    read = constant_values(stored_4_bit(values, (1, len(values))), 0)
    assert read.dtype == np.int8 and read.tolist() == [values]


def test_every_channel_is_rounded_with_a_step_of_its_own():
    kernel = np.array([[0.7, -0.3, 0.1, 0.0], [7.0, -3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    steps, stored = rounded(kernel)
    np.testing.assert_allclose(steps[:2], [0.1, 1.0])
    assert stored.tolist() == [[7, -3, 1, 0], [7, -3, 1, 0], [0, 0, 0, 0]]


def test_one_large_weight_is_clipped_where_that_costs_less_than_coarse_steps():
    """Steps of the largest weight, 8 / 7, would lose 100 weights of 0.5 to zero, an error of 25."""
    steps, stored = rounded(np.array([[8.0, *[0.5] * 100]]))
    error = ((stored * steps[:, None] - [[8.0, *[0.5] * 100]]) ** 2).sum()
    assert error < 25 and stored.max() == 7


def test_convolutions_have_4_bits_and_everything_else_8(small_quantized, int4):
    check_kinds(read_flatbuffer(int4))
    assert len(int4) < len(small_quantized.int8)


def test_kernels_are_those_of_the_float_network_but_for_half_a_step(small_quantized, int4):
    model, parent = read_flatbuffer(int4), read_flatbuffer(small_quantized.float_network)
    float_maps, checked = feature_maps(parent), 0
    for name, op in feature_maps(model).items():
        if operator_name(model, op) != "CONV_2D":
            continue
        steps = model.subgraphs[0].tensors[op.inputs[1]].quantization.scale.reshape(-1, 1, 1, 1)
        stored = constant_values(model, int(op.inputs[1]))
        expected = constant_values(parent, int(float_maps[name].inputs[1]))
        inside = np.abs(stored) < 7  # the largest may be clipped
        assert (np.abs(stored * steps - expected)[inside] <= 0.501 * np.broadcast_to(steps, stored.shape)[inside]).all()
        checked += 1
    assert checked > 5


def test_biases_have_the_scale_of_the_new_kernels(int4):
    model = read_flatbuffer(int4)
    tensors = model.subgraphs[0].tensors
    for op in model.subgraphs[0].operators:
        if operator_name(model, op) == "CONV_2D":
            activation, weights, bias = (tensors[index].quantization.scale for index in op.inputs)
            np.testing.assert_allclose(bias, activation * weights, rtol=1e-5)


def test_heads_follow_the_float_file_further_off_than_int8(small_quantized, int4):
    small = small_quantized
    errors = {"int8": 0.0, "int4": 0.0}
    spread = 0.0
    for kind, network in (("int8", small.int8), ("int4", int4)):
        run = interpreter(network)
        for (image,) in small.samples():
            expected = small.model(image, training=False)["classes"].numpy()
            errors[kind] += float(np.mean((run(small.spec.unscale(image)) - expected) ** 2))
            spread += float(np.var(expected)) / 2
    assert errors["int8"] < errors["int4"] < 0.5 * spread


def test_the_other_quantizer_writes_the_same_kinds_of_tensors(small_quantized):
    pytest.importorskip("ai_edge_quantizer", reason="needs pip install 'keras-retina[ai_edge]'")
    from edge.export.ai_edge import ai_edge_heads

    small = small_quantized
    model = read_flatbuffer(ai_edge_heads(small.model, small.spec, kind="int4", samples=small.samples))
    check_kinds(model)
    kernels = [
        constant_values(model, int(op.inputs[1]))
        for op in model.subgraphs[0].operators
        if operator_name(model, op) == "CONV_2D"
    ]
    assert all(kernel.min() >= -8 and 6 <= kernel.max() <= 7 for kernel in kernels)


def test_counts_of_weights_see_the_4_bit_values(int4):
    assert max(clusters_of_file(int4).values()) <= 15
    assert 0 < sparsity_of_file(int4).share < 0.5


def test_the_edge_tpu_maps_no_4_bit_kernel(small_quantized, int4, tmp_path):
    path = tmp_path / "x_int4_raw.tflite"
    write_detector(path, int4, spec=small_quantized.spec, kind="int4", head="raw", settings=Export())
    convolutions = [one for one in predict(path).operators if one.op == "CONV_2D"]
    assert convolutions and all(one.status != "mapped" for one in convolutions)
