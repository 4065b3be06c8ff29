"""Layers left in float: they and no others, on every level, and they compute what the float network computes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.convert import check_operators
from edge.export.export import write_detector
from edge.export.float_layers import chosen_operators, end_in_float, leave_in_float
from edge.export.tails import end_at_heads
from edge.runtime import Detector
from edge.tflite.flatbuffer import (
    operator_histogram,
    operator_name,
    read_flatbuffer,
    tensor_type,
    write_flatbuffer,
)
from edge.tflite.layer_names import feature_maps, layer_operators, layers_in
from edge.verify.debug.map_errors import map_errors
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Export

BETWEEN = ("QUANTIZE", "DEQUANTIZE", "CAST", "SUB", "MUL")


def in_float(small, kind: str, *layers: str):
    model = read_flatbuffer(getattr(small, kind))
    leave_in_float(model, read_flatbuffer(small.float_network), layers=layers)
    return model


def float_maps(model) -> set[str]:
    """Names of the layers whose operators read and write float."""
    graph, found = model.subgraphs[0], set()
    for name, operator in feature_maps(model).items():
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        types = {tensor_type(tensor) for tensor in tensors}
        if "float32" in types and operator_name(model, operator) not in BETWEEN:
            assert types <= {"float32", "int32"}
            found.add(layers_in(name)[0])
    return found


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_the_named_layer_is_float_on_all_levels_and_no_other_is(small_quantized, kind):
    model = in_float(small_quantized, kind, "classes_0_pointwise")
    assert float_maps(model) == {"classes_0_pointwise"}
    graph = model.subgraphs[0]
    operators = layer_operators(model)["classes_0_pointwise"]
    assert len(operators) == 3
    for operator in operators:
        assert [tensor_type(graph.tensors[index]) for index in (*operator.inputs, *operator.outputs)] == ["float32"] * 4
    before = operator_histogram(read_flatbuffer(getattr(small_quantized, kind)))
    after = operator_histogram(model)
    assert after["QUANTIZE"] - before["QUANTIZE"] == 3
    assert after["DEQUANTIZE"] - before["DEQUANTIZE"] == 3


def test_between_two_float_layers_the_map_is_not_stored(small_quantized):
    model = in_float(small_quantized, "int8", "classes_0_depthwise", "classes_0_pointwise")
    before = operator_histogram(read_flatbuffer(small_quantized.int8))
    assert operator_histogram(model)["QUANTIZE"] - before["QUANTIZE"] == 3  # behind the pointwise ones only


def test_a_network_with_every_layer_in_float_is_the_float_network(small_quantized, tmp_path):
    everything = sorted(set(layer_operators(read_flatbuffer(small_quantized.float_network))))
    model = in_float(small_quantized, "int16", *everything)
    assert set(operator_histogram(model)) & {"QUANTIZE", "DEQUANTIZE"} == {"QUANTIZE", "DEQUANTIZE"}  # of the pixels
    path = tmp_path / "all_float.tflite"
    write_detector(
        path, write_flatbuffer(model), spec=small_quantized.spec, kind="int16", head="raw", settings=Export()
    )
    detector = Detector(path)
    for (image,) in small_quantized.samples():
        expected = small_quantized.model(image, training=False)
        detector.invoke(small_quantized.spec.unscale(image))
        for received, name in zip(detector.heads(), ("classes", "boxes"), strict=True):
            np.testing.assert_allclose(received, expected[name][0], atol=2e-3)  # 16 bits of the pixels


@pytest.mark.parametrize("head", ["raw", "postprocess"])
def test_a_head_that_is_float_leaves_the_file_without_a_rounding(small_quantized, tmp_path, head):
    layers = ["classes", *(f"classes_reshape_{level}" for level in range(3)), "classes_prediction_pointwise"]
    path = tmp_path / "float_head.tflite"
    heads_only = write_flatbuffer(in_float(small_quantized, "int8", *layers))
    write_detector(path, heads_only, spec=small_quantized.spec, kind="int8", head=head, settings=Export())
    detector = Detector(path)
    if head == "raw":
        boxes, classes = detector.interpreter.get_output_details()
        assert (boxes["dtype"], classes["dtype"]) == (np.uint8, np.float32)
    (image,) = next(iter(small_quantized.samples()))
    detector.invoke(small_quantized.spec.unscale(image))
    detector.detect(small_quantized.spec.unscale(image)[0])


@pytest.mark.parametrize("unsigned", [True, False])
def test_a_raw_file_with_a_float_layer_before_its_end_still_stores_its_head(small_quantized, tmp_path, unsigned):
    layers = ["boxes", *(f"boxes_reshape_{level}" for level in range(3)), "boxes_prediction_pointwise"]
    model, path = read_flatbuffer(small_quantized.int8), tmp_path / "raw.tflite"
    end_at_heads(model, unsigned)
    leave_in_float(model, read_flatbuffer(small_quantized.float_network), layers=layers)
    write_detector(
        path,
        write_flatbuffer(model),
        spec=small_quantized.spec,
        kind="int8",
        head="raw",
        settings=Export(mediapipe_raw=unsigned),
    )
    in_8_bits, (image,) = Detector(path), next(iter(small_quantized.samples()))
    boxes = in_8_bits.interpreter.get_output_details()[0]
    assert boxes["dtype"] == (np.uint8 if unsigned else np.int8)
    floating = write_flatbuffer(in_float(small_quantized, "int8", *layers))
    write_detector(path, floating, spec=small_quantized.spec, kind="int8", head="raw", settings=Export())
    without_rounding = Detector(path)
    for detector in (in_8_bits, without_rounding):
        detector.invoke(small_quantized.spec.unscale(image))
    step = boxes["quantization"][0]
    inside = np.abs(without_rounding.heads()[1]) < 100 * step  # values out of the range are clipped
    assert inside.mean() > 0.9
    np.testing.assert_allclose(in_8_bits.heads()[1][inside], without_rounding.heads()[1][inside], atol=0.51 * step)


@pytest.mark.parametrize("unsigned", [True, False])
def test_a_raw_file_that_ends_in_float_again_has_the_operators_it_had(small_quantized, unsigned):
    model = read_flatbuffer(small_quantized.int8)
    end_at_heads(model, unsigned)
    end_in_float(model)
    graph, before = model.subgraphs[0], read_flatbuffer(small_quantized.int8)
    assert operator_histogram(model) == operator_histogram(before)
    assert [tensor_type(graph.tensors[index]) for index in graph.outputs] == ["float32", "float32"]
    named = {entry.name: graph.tensors[entry.tensorIndex] for entry in model.signatureDefs[0].outputs}
    assert {name: int(tensor.shape[2]) for name, tensor in named.items()} == {b"boxes": 4, b"classes": 2}
    assert set(feature_maps(model)) == set(feature_maps(before))
    end_in_float(model)  # one that ends in float stays as it is
    assert operator_histogram(model) == operator_histogram(before)


def test_the_error_of_a_map_drops_when_all_layers_up_to_it_are_float(small_quantized):
    model = in_float(small_quantized, "int8", *(f"plain_{number}_conv" for number in range(4)))

    def error(network: bytes) -> float:
        found = map_errors(
            small_quantized.float_network, network, samples=small_quantized.samples(), spec=small_quantized.spec
        )
        return next(one.accumulated.sqnr for one in found if layers_in(one.name)[0] == "plain_3_conv")

    assert error(write_flatbuffer(model)) > error(small_quantized.int8) + 3  # decibels


def test_int8_weights_of_a_float_layer_are_not_in_the_file(small_quantized):
    model = in_float(small_quantized, "int8", "plain_7_conv")
    graph = model.subgraphs[0]
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    left = [
        tensor.name for index, tensor in enumerate(graph.tensors)
        if index not in read and model.buffers[tensor.buffer].data is not None
    ]  # fmt: skip
    assert left == []


def test_the_name_of_a_folded_layer_means_its_convolution(small_quantized):
    model = read_flatbuffer(small_quantized.int8)
    norm = next(name for name in layer_operators(model) if name.startswith("plain_3") and "conv" not in name)
    assert chosen_operators(model, [norm]) == chosen_operators(model, ["plain_3_conv"])


def test_an_unknown_layer_is_refused_with_the_closest_name(small_quantized):
    with pytest.raises(InputError, match="Received: 'plain_3_cov'. Did you mean 'plain_3_conv'") as caught:
        in_float(small_quantized, "int8", "plain_3_cov")
    assert "\n" not in str(caught.value)


def test_float_operators_must_be_exactly_those_that_were_named(small_quantized):
    model = in_float(small_quantized, "int8", "plain_3_conv")
    check_operators(model, "int8", float_layers=["plain_3_conv"])
    with pytest.raises(InputError, match="Received: float operator CONV_2D at .*plain_3"):
        check_operators(model, "int8")
    with pytest.raises(InputError, match="Received: int8 operator CONV_2D at .*plain_4"):
        check_operators(model, "int8", float_layers=["plain_3_conv", "plain_4_conv"])
