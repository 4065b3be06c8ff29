"""Names of Keras layers, read from what the converter leaves of them."""

from __future__ import annotations

import pytest

from edge.export.convert import float_heads
from edge.tflite.flatbuffer import operator_name, read_flatbuffer
from edge.tflite.layer_names import feature_maps, layer_operators, layers_in


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("net/add_4/add", ["add_4"]),
        ("net/act/Relu6;net/norm/FusedBatchNormV3;net/conv/Conv2D1", ["conv", "act", "norm"]),
        ("net/deep/depthwise;;net/pad/Pad1", ["deep", "pad"]),
        ("net/head/Relu6_2;net/head/BiasAdd_2;net/head/Conv2D_2;net/head/BiasAdd/ReadVariableOp", ["head"]),
        ("boxes", ["boxes"]),
    ],
)
def test_the_computing_layer_comes_first(name, layers):
    assert layers_in(name) == layers


def test_the_maps_of_the_quantized_and_the_float_network_have_the_same_names(small_quantized):
    float_names = list(feature_maps(read_flatbuffer(small_quantized.float_network)))
    assert list(feature_maps(read_flatbuffer(small_quantized.int8))) == float_names
    assert list(feature_maps(read_flatbuffer(small_quantized.int16))) == float_names
    assert {"boxes", "classes"} < set(float_names)


def test_a_norm_of_one_level_names_the_operator_of_that_level_alone(small_per_level):
    found = layer_operators(read_flatbuffer(float_heads(small_per_level.model, small_per_level.spec)))
    shared = found["boxes_0_pointwise"]
    assert len(shared) == 3
    for level in range(3):
        assert [operator in shared for operator in found[f"boxes_0_norm_{level}"]] == [True]
    assert len({id(found[f"boxes_0_norm_{level}"][0]) for level in range(3)}) == 3


def test_every_layer_with_weights_is_found(small_quantized):
    model = read_flatbuffer(small_quantized.int8)
    found = layer_operators(model)
    weighted = [layer.name for layer in small_quantized.model.layers if layer.weights]
    assert set(weighted) <= set(found)
    assert len(found["boxes_prediction_depthwise"]) == 3
    assert {operator_name(model, operator) for operator in found["pyramid_add_3"]} == {"ADD"}
