"""What to change in a model so that more of it runs on the Edge TPU: one line for each reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge.edgetpu import operators as statuses
from edge.tflite.graph import Operator

FOR_REASON = {
    statuses.LATER_SUBGRAPH: "Only the first run of supported operators is compiled: replace the operators with "
    "another reason that stand before these, or move them to the end of the network.",
    statuses.NOT_SUPPORTED: "Replace this operator: RELU6 for LEAKY_RELU, HARD_SWISH or ELU, convolutions for "
    "BATCH_MATMUL, or cut the network before it and compute the rest on the host.",
    statuses.VERSION: "Write an older form: one int64 or broadcast operator raises the version of all of its kind; "
    "dense layers need two-dimensional inputs.",
    statuses.DATA_TYPE: "Quantize fully to int8 or uint8, inputs and outputs included; decoding and "
    "TFLite_Detection_PostProcess are best left to the CPU at the very end.",
    statuses.LIMITATION: "Keep to the documented form: constant weights, no change of the batch axis, small tensors in "
    "TRANSPOSE and MEAN; a model input of float needs QUANTIZE on the CPU, so give it uint8.",
    statuses.STRIDES: "Take every row and drop the others with a strided convolution or a pooling instead.",
    statuses.IMPRECISE: "Enlarge in steps of two.",
    statuses.RANK: "Convert with batch size 1, and keep every tensor at three dimensions beside leading ones.",
}
UNPARSABLE = {
    "Didn't find op": "Convert with an older TensorFlow, or avoid the layer that needs the new version: a "
    "Conv2DTranspose without bias and activation, a convolution without groups.",
    "Op builtin_code": "Replace the operator by older ones, GELU by a sigmoid approximation for instance.",
    "Encountered unresolved": "Remove the custom operator, or end the network before it.",
    "Attempting to use": "Fix every size: convert with batch size 1 and constant shapes for reshape and resize.",
    "The model was compiled": "Give the file that was compiled, not the result.",
}


def advice(
    operators: Sequence[Operator], reasons: Collection[str], many_parameters: bool, large_activation: bool
) -> tuple[str, ...]:
    """Returns the lines for the reasons that occur, then those for memory and for a known failure of the compiler."""
    lines = [line for reason, line in FOR_REASON.items() if reason in reasons]
    lines += [line for start, line in UNPARSABLE.items() if any(reason.startswith(start) for reason in reasons)]
    if many_parameters:
        lines.append("The parameters do not fit and are streamed for every image: use a narrower network.")
    if large_activation:
        lines.append(
            "The largest activation does not fit at once, which is usual in the first layers: use a smaller input if "
            "the compiler ends with 'large activation tensors in model'."
        )
    if padded_sums(operators):
        lines.append(
            "Compiler 16 fails on a PAD that feeds an ADD: choose an input height and width that every level divides."
        )
    return tuple(lines)


def padded_sums(operators: Sequence[Operator]) -> list[int]:
    """Returns the positions of ADDs with a padded input, which make the compiler fail without a message."""
    padded = {operator.outputs[0].index for operator in operators if operator.name == "PAD" and operator.outputs}
    return [
        position
        for position, operator in enumerate(operators)
        if operator.name == "ADD" and any(tensor.index in padded for tensor in operator.computed)
    ]
