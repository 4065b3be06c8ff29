"""Every row and rule of the Edge TPU operator table, on operators made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge.edgetpu import operators as table
from edge.edgetpu.operators import DATA_TYPE, IMPRECISE, LIMITATION, MAPPED, NOT_SUPPORTED, RANK, STRIDES, VERSION
from edge.tflite.graph import Operator, Tensor

PICTURE = (1, 8, 8, 16)


def computed(shape=PICTURE, kind="int8", index=0) -> Tensor:
    return Tensor(index, f"t{index}", tuple(shape), kind)


def constant(values, kind="int32", shape=None, zero_point=0) -> Tensor:
    array = np.array(values, kind)
    return Tensor(
        90,
        "c",
        array.shape if shape is None else shape,
        kind,
        np.frombuffer(array.tobytes(), np.uint8),
        False,
        1,
        zero_point,
    )


def operator(name, inputs=None, output=None, version=1, custom=False, **options) -> Operator:
    inputs = (computed(),) if inputs is None else tuple(inputs)
    outputs = (computed(index=50) if output is None else output,)
    return Operator(0, name, version, inputs, outputs, SimpleNamespace(**options), custom)


def weights(*shape) -> Tensor:
    return constant(np.zeros(shape), "int8")


def filled(name: str, version: int = 1) -> Operator:
    """An operator of a name in the form that is mapped."""
    picture = computed()
    forms = {
        "CONV_2D": (picture, weights(16, 3, 3, 16), constant([0] * 16)),
        "DEPTHWISE_CONV_2D": (picture, weights(1, 3, 3, 16), constant([0] * 16)),
        "FULLY_CONNECTED": (computed((1, 64)), weights(10, 64), None),
        "TRANSPOSE_CONV": (constant([1, 16, 16, 8]), weights(8, 2, 2, 16), picture, constant([0] * 8)),
        "PRELU": (picture, weights(1, 1, 16)),
        "SPLIT": (constant(3), picture),
        "PAD": (picture, constant([[0, 0], [1, 1], [1, 1], [0, 0]])),
        "STRIDED_SLICE": (picture, constant([0] * 4), constant([1, 4, 4, 16]), constant([1] * 4)),
        **{name: (picture, constant([1, 2])) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")},
    }
    output = computed((1, 10), index=50) if name == "FULLY_CONNECTED" else None
    return operator(name, forms.get(name), output, version, axis=3)


@pytest.mark.parametrize("name", sorted(table.TABLE))
def test_every_operator_of_the_table_is_mapped_in_its_plain_form(name):
    assert table.status(filled(name)) == MAPPED
    assert table.status(filled(name, table.TABLE[name].version)) == MAPPED
    assert table.status(filled(name, table.TABLE[name].version + 1)) == VERSION


@pytest.mark.parametrize(
    "name", ["ARG_MIN", "BATCH_MATMUL", "DIV", "ELU", "EXP", "FLOOR_DIV", "GATHER", "GATHER_ND", "HARD_SWISH",
             "LEAKY_RELU", "SQRT", "TOPK_V2", "UNPACK", "BUILTIN_200"],
)  # fmt: skip
def test_an_operator_outside_the_table_is_not_supported(name):
    assert table.status(operator(name)) == NOT_SUPPORTED


@pytest.mark.parametrize("kind", ["float32", "float16", "int16", "int32", "int64", "bool"])
def test_an_output_of_another_type_is_named_before_anything_else(kind):
    for name in ("ADD", "DEQUANTIZE", "ARG_MAX", "CAST", "GELU"):
        assert table.status(operator(name, output=computed(kind=kind))) == DATA_TYPE


def test_custom_operators_stay_on_the_cpu():
    boxes = computed((1, 10, 4), "float32")
    assert table.status(operator("TFLite_Detection_PostProcess", output=boxes, custom=True)) == DATA_TYPE
    assert table.status(operator("ADD", custom=True)) == NOT_SUPPORTED
    without_outputs = Operator(0, "ASSIGN_VARIABLE", 1, (computed(),), ())
    assert table.status(without_outputs) == DATA_TYPE


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # Of public pairs of files (yolov5 and yolov8 of 224 to 640 pixels, and the pairs named in the changelog).
        ((1, 1600, 3, 15), (1, 4800, 15), MAPPED),
        ((1, 3136, 3, 6), (1, 9408, 6), MAPPED),
        ((1, 400, 3, 85), (1, 1200, 85), MAPPED),
        ((1, 784, 3, 85), (1, 2352, 85), LIMITATION),
        ((1, 6400, 3, 15), (1, 19200, 15), LIMITATION),
        ((1, 1600, 3, 85), (1, 4800, 85), LIMITATION),
        ((1, 6400, 3, 85), (1, 19200, 85), LIMITATION),
        ((1, 80, 80, 45), (1, 6400, 3, 15), MAPPED),
        ((1, 40, 40, 255), (1, 1600, 3, 85), MAPPED),
        ((1, 80, 80, 255), (1, 6400, 3, 85), LIMITATION),
        ((1, 144, 20, 20), (1, 144, 400), MAPPED),
        ((1, 144, 40, 40), (1, 144, 1600), LIMITATION),
        ((1, 144, 80, 80), (1, 144, 6400), LIMITATION),
        ((1, 64, 8400), (1, 4, 16, 8400), LIMITATION),
        ((1, 4, 8400, 1), (1, 1, 4, 8400), MAPPED),
        ((1, 1, 1, 1001), (1, 1001), MAPPED),
        # Heads of detectors end in two dimensions.
        ((1, 40, 40, 810), (1, 14400, 90), MAPPED),
        ((1, 80, 80, 810), (1, 57600, 90), MAPPED),
    ],
)
def test_a_reshape_of_a_large_tensor_is_mapped_where_pixels_stay(before, after, expected):
    assert table.status(operator("RESHAPE", [computed(before)], computed(after, index=50))) == expected


@pytest.mark.parametrize(("before", "after"), [("uint8", "int8"), ("int8", "uint8"), ("int8", "int8")])
def test_requantizing_between_eight_bit_types_is_mapped(before, after):
    assert table.status(operator("QUANTIZE", [computed(kind=before)], computed(kind=after))) == MAPPED


def test_quantizing_a_float_is_an_unspecified_limitation_and_casting_one_is_not_supported():
    assert table.status(operator("QUANTIZE", [computed(kind="float32")])) == LIMITATION
    assert table.status(operator("CAST", [computed(kind="float32")])) == NOT_SUPPORTED
    assert table.status(operator("CAST", output=computed(kind="float32"))) == DATA_TYPE


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), MAPPED), ((5,), MAPPED), ((4, 4), MAPPED), ((2, 3, 4), MAPPED), ((1, 2, 3, 4), MAPPED),
     ((1, 1, 2, 3, 4), MAPPED), ((2, 8, 8, 16), RANK), ((1, 2, 3, 4, 5), RANK)],
)  # fmt: skip
def test_three_dimensions_beside_leading_ones_are_mapped(shape, expected):
    assert table.status(operator("RELU", [computed(shape)], computed(shape))) == expected


def test_the_rank_is_named_before_the_type():
    assert table.status(operator("RESHAPE", output=computed((2, 3, 4, 5), "float32"))) == RANK


def test_constants_may_have_four_dimensions():
    assert table.status(operator("CONV_2D", [computed(), weights(4, 3, 3, 16), None])) == MAPPED


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_weights_and_bias_must_be_constant(name):
    good = filled(name)
    assert (
        table.status(operator(name, [good.inputs[0], computed(good.inputs[1].shape[1:])], good.outputs[0]))
        == LIMITATION
    )


def test_a_transposed_convolution_needs_a_constant_shape_and_constant_weights():
    shape, kernel, picture, bias = filled("TRANSPOSE_CONV").inputs
    assert table.status(operator("TRANSPOSE_CONV", [shape, computed((8, 2, 16)), picture, bias])) == LIMITATION
    assert table.status(operator("TRANSPOSE_CONV", [shape, kernel, picture])) == MAPPED


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_dilation_must_be_the_same_in_both_directions(name):
    inputs = filled(name).inputs
    assert table.status(operator(name, inputs, dilationHFactor=2, dilationWFactor=2)) == MAPPED
    assert table.status(operator(name, inputs, dilationHFactor=2, dilationWFactor=1)) == LIMITATION
    flat = [computed(), weights(16, 3, 1, 16), None]
    assert table.status(operator(name, flat, dilationHFactor=4, dilationWFactor=1)) == MAPPED


@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"])
def test_a_fused_activation_keeps_pooling_and_concatenation_on_the_cpu(name):
    assert table.status(operator(name, fusedActivationFunction=0)) == MAPPED
    assert table.status(operator(name, fusedActivationFunction=3)) == LIMITATION
    assert table.status(operator("ADD", fusedActivationFunction=3)) == MAPPED


def test_a_constant_is_concatenated_only_as_zero_padding_of_one_tensor():
    zeros, values = constant([[7, 7]], "int8", zero_point=7), constant([[7, 8]], "int8", zero_point=7)
    one = computed((1, 2))
    assert table.status(operator("CONCATENATION", [one, zeros])) == MAPPED
    assert table.status(operator("CONCATENATION", [one, values])) == LIMITATION
    assert table.status(operator("CONCATENATION", [one, zeros, one])) == LIMITATION
    assert table.status(operator("CONCATENATION", [one, one, one])) == MAPPED


def test_dense_layers_have_plain_weights_and_one_row():
    inputs = filled("FULLY_CONNECTED").inputs
    assert table.status(operator("FULLY_CONNECTED", inputs, computed((1, 1, 10)))) == MAPPED
    assert table.status(operator("FULLY_CONNECTED", inputs, computed((2, 10)))) == LIMITATION
    assert table.status(operator("FULLY_CONNECTED", inputs, computed((1, 10)), weightsFormat=1)) == LIMITATION


def test_prelu_has_one_slope_for_a_channel():
    assert table.status(operator("PRELU", [computed(), weights(8, 8, 16)])) == LIMITATION
    assert table.status(operator("PRELU", [computed(), computed((1, 1, 16))])) == LIMITATION


@pytest.mark.parametrize("name", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_the_batch_is_not_reduced(name):
    for axes in ([0], [-4], [0, 1, 2]):
        assert table.status(operator(name, [computed(), constant(axes)])) == LIMITATION
    assert table.status(operator(name, [computed(), constant([-1])])) == MAPPED
    assert table.status(operator(name, [computed(), computed((2,), "int32")])) == LIMITATION


def test_a_mean_over_channels_needs_a_multiple_of_four():
    assert table.status(operator("MEAN", [computed((1, 8, 8, 6)), constant([3])])) == LIMITATION
    assert table.status(operator("MEAN", [computed((1, 8, 8, 6)), constant([1, 2])])) == MAPPED
    assert table.status(operator("SUM", [computed((1, 8, 8, 6)), constant([3])])) == MAPPED


def test_a_mean_over_too_many_positions_stays_on_the_cpu():
    assert table.status(operator("MEAN", [computed((1, 64, 128, 3)), constant([1, 2])])) == MAPPED
    assert table.status(operator("MEAN", [computed((1, 256, 128, 3)), constant([1, 2])])) == LIMITATION


def test_the_batch_is_not_padded_packed_or_split():
    assert table.status(operator("PAD", [computed(), constant([[0, 0], [0, 0], [0, 0], [0, 8]])])) == MAPPED
    assert table.status(operator("PAD", [computed(), constant([[0, 1], [0, 0], [0, 0], [0, 0]])])) == LIMITATION
    assert table.status(operator("PAD", [computed(), computed((4, 2), "int32")])) == LIMITATION
    three = computed((1, 2, 16))
    assert table.status(operator("PACK", [computed((1, 16))] * 2, three, axis=1)) == MAPPED
    assert table.status(operator("PACK", [computed((1, 16))] * 2, three, axis=-3)) == LIMITATION
    parts = (computed((1, 16)), computed((1, 16)))
    options = SimpleNamespace(numSplits=2)
    for axis, expected in ((1, MAPPED), (-1, MAPPED), (0, LIMITATION), (-2, LIMITATION)):
        split = Operator(0, "SPLIT", 1, (constant(axis), computed((2, 16))), parts, options)
        assert table.status(split) == expected
    assert table.status(operator("SPLIT", [constant(0), computed()])) == MAPPED  # into one part: nothing happens


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [((6, 6), (12, 12), MAPPED), ((33, 33), (33, 33), MAPPED), ((4, 4), (32, 32), MAPPED), ((8, 8), (4, 4), MAPPED),
     ((1, 1), (33, 33), IMPRECISE), ((33, 33), (513, 513), IMPRECISE), ((4, 4), (8, 33), IMPRECISE),
     ((1, 1), (1, 1), MAPPED)],
)  # fmt: skip
def test_bilinear_interpolation_is_mapped_up_to_eightfold_and_not_from_one_pixel(before, after, expected):
    inputs, output = [computed((1, *before, 8)), constant(after)], computed((1, *after, 8))
    assert table.status(operator("RESIZE_BILINEAR", inputs, output, version=3, halfPixelCenters=True)) == expected
    assert table.status(operator("RESIZE_NEAREST_NEIGHBOR", inputs, output, version=3)) == MAPPED


def test_strided_slices_take_every_element_and_add_no_axis():
    inputs = filled("STRIDED_SLICE").inputs
    assert table.status(operator("STRIDED_SLICE", [*inputs[:3], constant([1, 2, 1, 1])])) == STRIDES
    assert table.status(operator("STRIDED_SLICE", inputs, ellipsisMask=1)) == LIMITATION
    assert table.status(operator("STRIDED_SLICE", inputs, newAxisMask=2)) == LIMITATION
    assert table.status(operator("STRIDED_SLICE", inputs, beginMask=15, endMask=15, shrinkAxisMask=1)) == MAPPED


@pytest.mark.parametrize(("length", "expected"), [(1001, MAPPED), (16_384, MAPPED), (16_385, LIMITATION)])
def test_softmax_has_a_longest_row(length, expected):
    assert table.status(operator("SOFTMAX", [computed((1, length))], computed((1, length)))) == expected


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 24, 24, 144), MAPPED), ((1, 4, 16, 1344), MAPPED), ((1, 20, 20, 256), LIMITATION)]
)
def test_large_tensors_are_not_transposed(shape, expected):
    assert table.status(operator("TRANSPOSE", [computed(shape), constant([0, 3, 1, 2])], computed(shape))) == expected


def test_states_of_an_lstm_do_not_count():
    state = Tensor(5, "cell", (1, 20), "int16", variable=True)
    inputs = [computed((1, 28, 28)), weights(20, 28), state]
    assert table.status(operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, computed((1, 28, 20)))) == MAPPED
    assert table.status(operator("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, computed((1, 28, 20)))) == NOT_SUPPORTED
