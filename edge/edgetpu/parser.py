"""Whether the compiler, version 16, can open a file at all: it embeds a TFLite of the middle of 2021."""

from __future__ import annotations

from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

from edge.tflite.graph import Graph, Operator

NEWEST_VERSION = {
    **{"ABS": 4, "ADD": 4, "ARG_MAX": 3, "ARG_MIN": 3, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4},
    **{"BATCH_TO_SPACE_ND": 3, "BIDIRECTIONAL_SEQUENCE_LSTM": 3, "BIDIRECTIONAL_SEQUENCE_RNN": 3, "BROADCAST_TO": 3},
    **{"CAST": 4, "CONCATENATION": 3, "CONV_2D": 5, "DEPTH_TO_SPACE": 2, "DEPTHWISE_CONV_2D": 6, "DEQUANTIZE": 5},
    **{"DIV": 2, "EMBEDDING_LOOKUP": 3, "EQUAL": 3, "FAKE_QUANT": 2, "FILL": 3, "FLOOR_DIV": 2, "FULLY_CONNECTED": 9},
    **{"GATHER": 5, "GATHER_ND": 3, "GREATER": 2, "GREATER_EQUAL": 2, "L2_NORMALIZATION": 2, "LEAKY_RELU": 2},
    **{"LESS": 2, "LESS_EQUAL": 2, "LOG_SOFTMAX": 2, "LOGISTIC": 3, "LSTM": 4, "MAX_POOL_2D": 3, "MAXIMUM": 4},
    **{"MEAN": 3, "MINIMUM": 4, "MIRROR_PAD": 2, "MUL": 5, "NOT_EQUAL": 3, "PACK": 3, "PAD": 4, "PADV2": 4},
    **{"QUANTIZE": 2, "REDUCE_MAX": 3, "REDUCE_MIN": 3, "REDUCE_PROD": 2, "RELU": 3, "RELU6": 3, "RESIZE_BILINEAR": 4},
    **{"RESIZE_NEAREST_NEIGHBOR": 4, "REVERSE_V2": 3, "RNN": 3, "RSQRT": 2, "SELECT": 2, "SLICE": 5, "SOFTMAX": 3},
    **{"SPACE_TO_BATCH_ND": 3, "SPACE_TO_DEPTH": 2, "SPARSE_TO_DENSE": 3, "SPLIT": 4, "SPLIT_V": 2},
    **{"SQUARED_DIFFERENCE": 2, "SQUEEZE": 2, "STRIDED_SLICE": 6, "SUB": 5, "SUM": 2, "SVDF": 4, "TANH": 3, "TILE": 3},
    **{"TOPK_V2": 2, "TRANSPOSE": 5, "TRANSPOSE_CONV": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3},
    **{"UNIDIRECTIONAL_SEQUENCE_RNN": 3, "UNPACK": 4, "WHERE": 2},
}
"""1 for every other operator. Source: tensorflow/lite/kernels/register.cc of TensorFlow 2.9, less what the compiler is
known to refuse: CONV_2D 6, QUANTIZE 3 and TRANSPOSE_CONV 4 (edgetpu issues 631, 879, 845), EXP 2 (libedgetpu 71)."""

NEWEST_BUILTIN = schema.BuiltinOperator.ASSIGN_VARIABLE
"""The last of the operator codes of TensorFlow 2.6; GELU and the StableHLO operators came later."""

KNOWN_CUSTOM = ("TFLite_Detection_PostProcess", "PosenetDecoderOp", "Mfcc", "AudioSpectrogram", "NumericVerify")
"""The custom operators of TFLite, and Coral's own: any other stops the interpreter inside the compiler."""

SIZE_INPUTS = {
    **{"RESHAPE": (1,), "PAD": (1,), "PADV2": (1,), "MIRROR_PAD": (1,), "TILE": (1,), "BROADCAST_TO": (1,)},
    **{"RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "TRANSPOSE_CONV": (0,), "TRANSPOSE": (1,)},
    **{"SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3), "SPLIT": (0,), "SPLIT_V": (1, 2), "EXPAND_DIMS": (1,)},
    **{"FILL": (0,), "RANGE": (0, 1, 2), "ONE_HOT": (1,), "TOPK_V2": (1,), "SPARSE_TO_DENSE": (1,)},
    **{"MEAN": (1,), "SUM": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "REDUCE_PROD": (1,), "REDUCE_ANY": (1,)},
    **{"BATCH_TO_SPACE_ND": (1, 2), "SPACE_TO_BATCH_ND": (1, 2), "ARG_MAX": (1,), "ARG_MIN": (1,)},
    **{"NON_MAX_SUPPRESSION_V4": (2,), "NON_MAX_SUPPRESSION_V5": (2,)},
}
"""Which inputs decide the shape of the output; when they are computed, the shape is dynamic.

NON_MAX_SUPPRESSION has as many rows as its limit says, the rest of them zeros. Source:
tensorflow/lite/kernels/non_max_suppression.cc, `Prepare`."""

DYNAMIC = (
    "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized tensors"
)
NOT_PARSED, NOT_PREPARED = "Model could not be parsed", "Model failed in Tflite interpreter"
UNKNOWN_OPERATOR = ("Didn't find op", "Op builtin_code")
ALWAYS_DYNAMIC = ("WHERE", "UNIQUE")


def refusals(graphs: Sequence[Graph]) -> list[tuple[Operator, str]]:
    """Returns each operator that stops the compiler, with what it would print; empty for a file that compiles.

    A model that was saved with a free batch size has shape 1 in its tensors and compiles.
    """
    found = [(operator, _version(operator)) for graph in graphs for operator in graph.operators]
    found += [(operator, _custom(operator)) for graph in graphs for operator in graph.operators]
    found += [(operator, _dynamic_shape(operator)) for operator in graphs[0].operators]
    return [(operator, text) for operator, text in found if text]


def rest_reason(refused: Sequence[tuple[Operator, str]]) -> str:
    """Returns what the compiler says of the model as a whole, and so of the operators that are not at fault."""
    return NOT_PARSED if any(text.startswith(UNKNOWN_OPERATOR) for _, text in refused) else NOT_PREPARED


def _version(operator: Operator) -> str:
    code = getattr(schema.BuiltinOperator, operator.name, NEWEST_BUILTIN + 1)
    if not operator.custom and code > NEWEST_BUILTIN:
        return f"Op builtin_code out of range: {operator.name}"
    if operator.version <= NEWEST_VERSION.get(operator.name, 1) or operator.custom:
        return ""
    return f"Didn't find op for builtin opcode '{operator.name}' version '{operator.version}'"


def _custom(operator: Operator) -> str:
    if not operator.custom or operator.name in KNOWN_CUSTOM:
        return ""
    if operator.name == "edgetpu-custom-op":
        return "The model was compiled for the Edge TPU before"
    return f"Encountered unresolved custom op: {operator.name}"


def _dynamic_shape(operator: Operator) -> str:
    sizes = [operator.input(position) for position in SIZE_INPUTS.get(operator.name, ())]
    computed = [size for size in sizes if size is not None and not size.constant]
    unknown = [tensor for tensor in (*operator.given, *operator.outputs) if any(side < 0 for side in tensor.shape)]
    if not computed and not unknown and operator.name not in ALWAYS_DYNAMIC:
        return ""
    tensor = unknown[0] if unknown else operator.outputs[0]
    return f"{DYNAMIC}: tensor {tensor.index} {tensor.name!r} of {operator.name}"
