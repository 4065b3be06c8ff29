"""Errors of feature maps: hand-computed ratios, a NumPy oracle for the error of one layer alone, and clipping."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.export.float_layers import leave_in_float
from edge.quantize.ranges import set_ranges
from edge.tflite.flatbuffer import (
    constant_values,
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    write_flatbuffer,
)
from edge.tflite.layer_names import feature_maps, layers_in
from edge.verify.debug.map_errors import LARGEST_SQNR, Comparison, map_errors
from keras_retina.foundation.errors import InputError


def compared(expected, received) -> Comparison:
    comparison = Comparison()
    comparison.add(np.array(expected, np.float32), np.array(received, np.float32))
    return comparison


@pytest.fixture(scope="module")
def errors(small_quantized):
    small = small_quantized
    return map_errors(small.float_network, small.int8, samples=small.samples(), spec=small.spec)


def keeping_interpreter(network: bytes) -> Interpreter:
    interpreter = Interpreter(
        model_content=network,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def of_layer(errors, layer: str):
    return [error for error in errors if layers_in(error.name)[0] == layer]


def test_sqnr_and_cosine_by_hand():
    one = compared([[3.0, 4.0]], [[3.0, 3.0]])
    assert one.sqnr == pytest.approx(10 * np.log10(25 / 1))
    assert one.cosine == pytest.approx(21 / (5 * np.sqrt(18)))


def test_images_add_up():
    both = compared([[3.0, 4.0]], [[3.0, 3.0]])
    both.add(np.array([[0.0, 5.0]], np.float32), np.array([[0.0, 3.0]], np.float32))
    assert both.sqnr == pytest.approx(10 * np.log10(50 / 5))


def test_a_map_without_error_and_a_map_of_zeros_have_finite_values():
    assert compared([[1.0, 2.0]], [[1.0, 2.0]]).sqnr == LARGEST_SQNR
    zeros = compared([[0.0, 0.0]], [[0.0, 0.0]])
    assert (zeros.sqnr, zeros.cosine) == (LARGEST_SQNR, 1.0)
    assert compared([[0.0]], [[1.0]]).sqnr == -LARGEST_SQNR


def test_one_large_channel_hides_in_the_whole_but_not_in_the_median_channel():
    expected = np.array([[1000.0, 1.0, 1.0]])
    one = compared(expected, expected + [[0.5, 0.5, 0.5]])
    assert one.sqnr > 60
    assert one.channel_sqnr == pytest.approx(10 * np.log10(1 / 0.25))


def test_every_feature_map_is_there_in_order(small_quantized, errors):
    assert [error.name for error in errors] == list(feature_maps(read_flatbuffer(small_quantized.float_network)))
    assert {error.shape for error in of_layer(errors, "boxes_0_depthwise")} == {(1, s, s, 8) for s in (8, 4, 2)}
    assert all(error.local is not None and error.scale for error in errors)


def test_errors_accumulate_from_layer_to_layer(errors):
    last = of_layer(errors, "boxes")[0]
    assert last.accumulated.sqnr < last.local.sqnr - 10
    assert last.accumulated.sqnr < errors[0].accumulated.sqnr - 10
    # The first layer has no error before it but that of the camera bytes, half a grey level.
    assert errors[0].accumulated.sqnr == pytest.approx(errors[0].local.sqnr, abs=6)


def test_16_bits_are_closer_than_8_on_every_map_alone(small_quantized, errors):
    small = small_quantized
    fine = map_errors(small.float_network, small.int16, samples=small.samples(), spec=small.spec)
    assert [error.name for error in fine] == [error.name for error in errors]
    assert all(one.local.sqnr > other.local.sqnr for one, other in zip(fine, errors, strict=True))


def test_the_error_of_a_layer_alone_is_that_of_rounding_inputs_weights_and_output(small_quantized, errors):
    """The oracle is NumPy: a 1x1 convolution of rounded values, rounded."""
    small = small_quantized
    model, parent = read_flatbuffer(small.int8), read_flatbuffer(small.float_network)
    error = of_layer(errors, "boxes_prediction_pointwise")[0]
    operator, float_operator = feature_maps(model)[error.name], feature_maps(parent)[error.name]
    tensors = model.subgraphs[0].tensors
    kernel = constant_values(model, int(operator.inputs[1])) * tensors[operator.inputs[1]].quantization.scale.reshape(
        -1, 1, 1, 1
    )
    bias = constant_values(parent, int(float_operator.inputs[2]))
    interpreter = keeping_interpreter(small.float_network)

    def rounded(values, tensor):
        scale, zero_point = tensor_quantization(tensor)
        return (np.clip(np.round(values / scale) + zero_point, -128, 127) - zero_point) * scale

    simulated = Comparison()
    for (image,) in small.samples():
        interpreter.set_tensor(int(parent.subgraphs[0].inputs[0]), image)
        interpreter.invoke()
        inputs = interpreter.get_tensor(int(float_operator.inputs[0]))
        expected = interpreter.get_tensor(int(float_operator.outputs[0]))
        output = rounded(inputs, tensors[operator.inputs[0]]) @ kernel[:, 0, 0, :].T + bias
        simulated.add(expected, rounded(output, tensors[operator.outputs[0]]))
    assert error.local.sqnr == pytest.approx(simulated.sqnr, abs=0.3)


def test_clipped_values_are_counted(small_quantized):
    small = small_quantized
    model, parent = read_flatbuffer(small.int8), read_flatbuffer(small.float_network)
    name, operator = next((n, op) for n, op in feature_maps(model).items() if "boxes_0_depthwise" in n)
    set_ranges(model, {model.subgraphs[0].tensors[operator.outputs[0]].name: (-0.01, 0.01)})
    found = map_errors(small.float_network, write_flatbuffer(model), samples=small.samples(), spec=small.spec)
    (error,) = (one for one in found if one.name == name)
    interpreter = keeping_interpreter(small.float_network)
    values = []
    for (image,) in small.samples():
        interpreter.set_tensor(int(parent.subgraphs[0].inputs[0]), image)
        interpreter.invoke()
        values.append(interpreter.get_tensor(int(feature_maps(parent)[name].outputs[0])))
    assert error.clipped_share == pytest.approx(np.mean(np.abs(values) > 0.01), abs=0.02)
    assert error.clipped_share > 0.5
    assert (error.low, error.high) == pytest.approx((np.min(values), np.max(values)), rel=1e-5)
    assert error.local.sqnr < 1


def test_a_layer_in_float_has_no_error_of_its_own(small_quantized):
    small = small_quantized
    model = read_flatbuffer(small.int8)
    leave_in_float(model, read_flatbuffer(small.float_network), layers=["plain_5_conv"])
    found = map_errors(small.float_network, write_flatbuffer(model), samples=small.samples(), spec=small.spec)
    (error,) = of_layer(found, "plain_5_conv")
    assert (error.local, error.scale, error.clipped_share, error.weights) == (None, None, 0.0, LARGEST_SQNR)


def test_a_file_of_other_weights_is_refused(small_quantized):
    small = small_quantized
    model = read_flatbuffer(small.float_network)
    for operator in feature_maps(model).values():
        if operator_name(model, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            buffer = model.buffers[model.subgraphs[0].tensors[operator.inputs[1]].buffer]
            weights = np.frombuffer(bytes(buffer.data), np.float32)
            buffer.data = np.frombuffer(np.ascontiguousarray(weights[::-1]).tobytes(), np.uint8)
    with pytest.raises(InputError, match="expected the quantized file of this model"):
        map_errors(write_flatbuffer(model), small.int8, samples=small.samples(), spec=small.spec)


def test_camera_bytes_come_back_exactly(small_quantized):
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    assert (small_quantized.spec.unscale(scaled) == pixels).all()
