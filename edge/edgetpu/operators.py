"""What the Edge TPU compiler, version 16, says to one operator: a row of the table for each that it can map.

Source: the operator table of Coral's "TensorFlow models on the Edge TPU" in its 2019 form and in Axis' copy of the
newest one; where they and public models with their compiled files disagree, the files decide ("measured").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.tflite.graph import Operator, Tensor

MAPPED = "Mapped to Edge TPU"
LATER_SUBGRAPH = "More than one subgraph is not supported"
NOT_SUPPORTED = "Operation not supported"
VERSION = "Operation version not supported"
DATA_TYPE = "Operation is working on an unsupported data type"
LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
STRIDES = "Only Strided-Slice with unitary strides supported"
IMPRECISE = "Image-interpolation layer won't run precisely enough on Edge TPU"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"

EIGHT_BITS = ("int8", "uint8")
NARROW_MEMORY_OF_A_TILE = 196_608  # bytes for activations; libedgetpu, beagle_chip_structures.h
TILES = 16
LARGEST_ENLARGEMENT = 8  # measured: 33 to 513 is not mapped, 6 to 48 in steps of 2 is
LARGEST_SOFTMAX = 16_384  # measured; the documentation of 2019 says 16,000
TOO_MANY_TO_AVERAGE = 256 * 128  # positions; 64 x 128 are mapped (edgetpu issue 461)

Rule = Callable[[Operator], str | None]


def no_fused_activation(operator: Operator) -> str | None:
    return LIMITATION if operator.option("fusedActivationFunction") else None


def constant_weights(operator: Operator) -> str | None:
    """Weights and bias: every input but the picture, which stands first."""
    return LIMITATION if any(not tensor.constant for tensor in operator.given[1:]) else None


def constant_transposed_weights(operator: Operator) -> str | None:
    """TRANSPOSE_CONV has its picture third: output shape, weights, picture, bias."""
    inputs = [operator.input(position) for position in (0, 1, 3)]
    return LIMITATION if any(tensor is not None and not tensor.constant for tensor in inputs) else None


def same_dilation(operator: Operator) -> str | None:
    """Where a kernel is one high or wide, there is nothing to dilate (measured: 3 x 1)."""
    weights = operator.input(1)
    if weights is None or 1 in weights.shape[1:3]:
        return None
    return None if operator.option("dilationHFactor", 1) == operator.option("dilationWFactor", 1) else LIMITATION


def constant_input_is_padding(operator: Operator) -> str | None:
    """A constant is taken for zero padding: one other input, and every value the zero point."""
    constants = [tensor for tensor in operator.given if tensor.constant]
    if not constants:
        return None
    padding = len(operator.given) == 2 and len(constants) == 1
    zero = all((tensor.values == tensor.zero_point).all() for tensor in constants)
    return None if padding and zero else LIMITATION


def default_weights_format(operator: Operator) -> str | None:
    return LIMITATION if operator.option("weightsFormat") else None


def one_dimensional_output(operator: Operator) -> str | None:
    return None if _one_dimensional(operator.outputs[0]) else LIMITATION


def one_dimensional_alpha(operator: Operator) -> str | None:
    """Keras: `shared_axes=[1, 2]`."""
    alpha = operator.input(1)
    return None if alpha is not None and alpha.constant and _one_dimensional(alpha) else LIMITATION


def not_over_the_batch(operator: Operator) -> str | None:
    """Axes of a reduction; the batch is the first axis."""
    axes = _axes(operator, 1)
    return None if axes is not None and 0 not in axes else LIMITATION


def whole_words_of_channels(operator: Operator) -> str | None:
    """A mean over channels wants a multiple of 4 of them."""
    shape, axes = _shape(operator), _axes(operator, 1) or ()
    return LIMITATION if shape and len(shape) - 1 in axes and shape[-1] % 4 else None


def few_positions(operator: Operator) -> str | None:
    shape, axes = _shape(operator), _axes(operator, 1) or ()
    reduced = int(np.prod([shape[axis] for axis in axes], dtype=np.int64)) if axes else 0
    return LIMITATION if reduced >= TOO_MANY_TO_AVERAGE else None


def batch_is_not_padded(operator: Operator) -> str | None:
    amounts = operator.input(1)
    if amounts is None or amounts.values.size != 2 * len(_shape(operator)):
        return LIMITATION
    return LIMITATION if amounts.values[:2].any() else None


def batch_is_not_split(operator: Operator) -> str | None:
    """SPLIT has its axis first; into one part it does nothing and is mapped (measured)."""
    axis, picture = operator.input(0), operator.input(1)
    if len(operator.outputs) == 1:
        return None
    if axis is None or picture is None or axis.values.size != 1:
        return LIMITATION
    return LIMITATION if int(axis.values[0]) % max(len(picture.shape), 1) == 0 else None


def batch_is_not_packed(operator: Operator) -> str | None:
    rank = max(len(operator.outputs[0].shape), 1)
    return LIMITATION if operator.option("axis") % rank == 0 else None


def precise_interpolation(operator: Operator) -> str | None:
    """Measured: one pixel cannot be spread, and a size cannot grow more than eightfold."""
    before, after = _shape(operator)[1:3], operator.outputs[0].shape[1:3]
    if len(before) != 2 or len(after) != 2 or before == after:
        return None
    spread = any(old == 1 and new > 1 for old, new in zip(before, after, strict=True))
    large = any(new > LARGEST_ENLARGEMENT * old for old, new in zip(before, after, strict=True))
    return IMPRECISE if spread or large else None


def short_rows(operator: Operator) -> str | None:
    shape = _shape(operator)
    return LIMITATION if shape and shape[-1] > LARGEST_SOFTMAX else None


def unit_strides(operator: Operator) -> str | None:
    strides = operator.input(3)
    return None if strides is not None and strides.values.size and (strides.values == 1).all() else STRIDES


def no_new_axes(operator: Operator) -> str | None:
    return LIMITATION if operator.option("ellipsisMask") or operator.option("newAxisMask") else None


def both_copies_fit_a_tile(operator: Operator) -> str | None:
    """Measured: 82,944 and 86,016 values are transposed, 102,400 are not."""
    return LIMITATION if 2 * operator.outputs[0].elements > NARROW_MEMORY_OF_A_TILE else None


def reshaped_in_place_or_in_a_tile(operator: Operator) -> str | None:
    """Inferred: what moves values between pixels has to fit the memory of one tile.

    Where the last dimension stays or grows, 102,000 values are mapped ([400,3,85] to [1200,85]), and 199,920
    ([784,3,85] to [2352,85]), 230,400 ([144,40,40] to [144,1600]), 288,000, 408,000 and more are not.

    Splitting the channels of each pixel ([40,40,255] to [1600,3,85]) leaves the pixels where they are: 408,000 values
    are mapped and 1,632,000 are not, so both copies have to fit all tiles. Heads of detectors, which end in two
    dimensions ([40,40,810] to [14400,90]), have no known limit.
    """
    before, after = _shape(operator), operator.outputs[0].shape
    values = operator.outputs[0].elements
    if not before or not after or after[-1] >= before[-1] or before[-1] % after[-1]:
        return LIMITATION if values > NARROW_MEMORY_OF_A_TILE else None
    many = 2 * values > TILES * NARROW_MEMORY_OF_A_TILE
    return LIMITATION if many and _rank(operator.outputs[0]) > 2 else None


def from_eight_bits(operator: Operator) -> str | None:
    return None if all(tensor.type in EIGHT_BITS for tensor in operator.computed) else LIMITATION


@dataclass(frozen=True)
class Row:
    """`version` is the newest that is mapped; a newer one that still parses gets `VERSION`."""

    version: int
    rules: tuple[Rule, ...] = ()


REDUCTION = (not_over_the_batch,)

TABLE: dict[str, Row] = {
    "ADD": Row(3),  # measured: 4 is not mapped
    "SUB": Row(3),
    "MUL": Row(4),
    "MAXIMUM": Row(4),
    "MINIMUM": Row(4),
    "SQUARED_DIFFERENCE": Row(2),
    "RSQRT": Row(2),
    "LOGISTIC": Row(3),
    "TANH": Row(3),
    "RELU": Row(3),
    "RELU6": Row(3),
    "RELU_N1_TO_1": Row(1),
    "PRELU": Row(1, (one_dimensional_alpha,)),
    "CONV_2D": Row(5, (constant_weights, same_dilation)),
    "DEPTHWISE_CONV_2D": Row(6, (constant_weights, same_dilation)),
    "TRANSPOSE_CONV": Row(3, (constant_transposed_weights,)),
    "FULLY_CONNECTED": Row(4, (constant_weights, default_weights_format, one_dimensional_output)),
    "LSTM": Row(4),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Row(3),
    "AVERAGE_POOL_2D": Row(3, (no_fused_activation,)),
    "MAX_POOL_2D": Row(3, (no_fused_activation,)),
    "MEAN": Row(3, (*REDUCTION, whole_words_of_channels, few_positions)),
    "SUM": Row(2, REDUCTION),
    "REDUCE_MAX": Row(3, REDUCTION),
    "REDUCE_MIN": Row(3, REDUCTION),
    "L2_NORMALIZATION": Row(2),
    "SOFTMAX": Row(3, (short_rows,)),
    "CONCATENATION": Row(3, (no_fused_activation, constant_input_is_padding)),
    "SPLIT": Row(4, (batch_is_not_split,)),
    "PACK": Row(3, (batch_is_not_packed,)),
    "PAD": Row(4, (batch_is_not_padded,)),
    "SLICE": Row(5),
    "STRIDED_SLICE": Row(6, (unit_strides, no_new_axes)),
    "RESIZE_BILINEAR": Row(4, (precise_interpolation,)),
    "RESIZE_NEAREST_NEIGHBOR": Row(4),
    "SPACE_TO_DEPTH": Row(2),
    "RESHAPE": Row(1, (reshaped_in_place_or_in_a_tile,)),
    "EXPAND_DIMS": Row(1),
    "SQUEEZE": Row(2),
    "TRANSPOSE": Row(5, (both_copies_fit_a_tile,)),
    "TILE": Row(3),
    "QUANTIZE": Row(2, (from_eight_bits,)),
}


def status(operator: Operator) -> str:
    """Returns `MAPPED` for an operator that could be mapped, else the compiler's text; its neighbours do not count."""
    if any(_rank(tensor) > 3 for tensor in (*operator.computed, *operator.outputs)):
        return RANK
    if any(tensor.type not in EIGHT_BITS for tensor in operator.outputs) or not operator.outputs:
        return DATA_TYPE
    if any(tensor.type == "int4" for tensor in operator.given):  # inferred: the compiler is older than this type
        return DATA_TYPE
    if operator.custom or operator.name not in TABLE:
        return NOT_SUPPORTED
    row = TABLE[operator.name]
    if operator.version > row.version:
        return VERSION
    for rule in (*row.rules, from_eight_bits):
        text = rule(operator)
        if text:
            return text
    return MAPPED


def _rank(tensor: Tensor) -> int:
    """Dimensions without the ones in front."""
    sides = list(tensor.shape)
    while sides and sides[0] == 1:
        del sides[0]
    return len(sides)


def _one_dimensional(tensor: Tensor) -> bool:
    return all(side == 1 for side in tensor.shape[:-1])


def _shape(operator: Operator) -> tuple[int, ...]:
    """Shape of the input that the operator works on."""
    first = operator.input(0)
    return () if first is None else first.shape


def _axes(operator: Operator, position: int) -> tuple[int, ...] | None:
    """Axes from a constant input, counted from the front; None when they are computed."""
    axes, rank = operator.input(position), len(_shape(operator))
    if axes is None or not axes.constant or not rank:
        return None
    return tuple(int(axis) % rank for axis in axes.values)
