"""What the Edge TPU compiler, version 16, will do with a `.tflite`, said without the compiler.

Checked against public models and their compiled forms: docs/how_it_works/edge_tpu.md says how.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge.edgetpu import operators as statuses
from edge.edgetpu.operators import EIGHT_BITS, LATER_SUBGRAPH, MAPPED, status
from edge.edgetpu.parser import refusals, rest_reason
from edge.tflite.graph import Graph, Operator, Tensor, read_graphs


def supported_partitions(operators: Sequence[Operator], supported: Sequence[bool]) -> list[list[int]]:
    """Returns the positions of every run of supported operators, in the order TFLite finds them.

    A run takes every operator whose inputs are ready, so parallel branches belong to it and an operator behind an
    unsupported one does not. Runs of either kind take turns; the kind of the first operator begins.

    Source: tensorflow/lite/graph_info.cc, `PartitionGraphIntoIndependentNodeSubsets`.
    """
    made = {tensor.index for operator in operators for tensor in operator.outputs}
    waiting = list(range(len(operators)))
    partitions: list[list[int]] = []
    while waiting:
        taken = _take(operators, supported, waiting=waiting, made=made)
        if not taken:  # operators that wait for each other
            break
        if supported[taken[0]]:
            partitions.append(taken)
        chosen = set(taken)
        waiting = [position for position in waiting if position not in chosen]
    return partitions


def _take(operators: Sequence[Operator], supported: Sequence[bool], *, waiting: list[int], made: set[int]) -> list[int]:
    """Takes one run out of `waiting`; its outputs leave `made`, the tensors that are still to come."""
    taken: list[int] = []
    left = list(waiting)
    grown = True
    while grown:
        grown, behind = False, []
        for position in left:
            operator = operators[position]
            ready = not any(tensor.index in made for tensor in operator.computed)
            if ready and (not taken or supported[position] == supported[taken[0]]):
                taken.append(position)
                made.difference_update(tensor.index for tensor in operator.outputs)
                grown = True
            else:
                behind.append(position)
        left = behind
    return taken


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
    "TRANSPOSE, RESHAPE and MEAN; a model input of float needs QUANTIZE on the CPU, so give it uint8.",
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
    operators: Sequence[Operator], reasons: Collection[str], *, parameters: int, large_activation: bool
) -> tuple[str, ...]:
    """Returns the lines for the reasons that occur, then those for memory and for a known failure of the compiler."""
    lines = [line for reason, line in FOR_REASON.items() if reason in reasons]
    lines += [line for start, line in UNPARSABLE.items() if any(reason.startswith(start) for reason in reasons)]
    if parameters > PARAMETER_MEMORY:
        devices = -(-parameters // PARAMETER_MEMORY)
        lines.append(
            "The parameters do not fit and are streamed for every image: use a narrower network, or a pipeline of at "
            f"least {devices} Edge TPUs, edgetpu_compiler -n {devices}, which pycoral's PipelinedModelRunner runs. "
            "Operators on the CPU come last in it."
        )
    if large_activation:
        lines.append(
            "The largest activation does not fit at once, which is usual in the first layers: use a smaller input if "
            "the compiler ends with 'large activation tensors in model', or let it leave out the last operators: "
            "keras-retina edgetpu --search."
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


PARAMETER_MEMORY = 8_074_035  # 7.7 MiB, what compiler logs show as used + remaining for small inputs
ACTIVATION_MEMORY = statuses.TILES * statuses.NARROW_MEMORY_OF_A_TILE  # bytes; 4 x 4 tiles
SIZES = ("int32", "int64")  # shapes and axes, and biases, which are counted by channel
WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


@dataclass(frozen=True)
class OperatorPrediction:
    """`output` is the name of its first output tensor, `reason` the status text of the compiler's log."""

    index: int
    op: str
    output: str
    status: Literal["mapped", "cpu"]
    reason: str
    subgraph: int = 0


@dataclass(frozen=True)
class Prediction:
    """`parameter_bytes` is a lower bound: the compiler pads weights. `partitions` counts what `-a` would compile.

    Bytes are those of the operators that are mapped, and of all when none is.
    """

    verdict: Literal["maps", "partial", "unparsable"]
    problem: str
    subgraphs: int
    partitions: int
    operators: tuple[OperatorPrediction, ...]
    parameter_bytes: int
    parameter_memory_bytes: int
    largest_activation_bytes: int
    largest_activation: str
    activation_memory_bytes: int
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` writes."""
        return asdict(self)


def predict(path: str | Path) -> Prediction:
    """Predicts the outcome of `edgetpu_compiler FILE` without options, for any `.tflite`.

    Raises:
        InputError: the file is missing, no `.tflite`, cut off or damaged.
    """
    graphs = read_graphs(Path(path))
    main = graphs[0].operators
    refused = refusals(graphs)
    reasons, partitions = (refused_reasons(main, refused), 0) if refused else placed_reasons(main)
    operators = [_operator(operator, reason) for operator, reason in zip(main, reasons, strict=True)]
    operators += _other_subgraphs(graphs, rest_reason(refused) if refused else LATER_SUBGRAPH)
    mapped = [operator for operator, reason in zip(main, reasons, strict=True) if reason == MAPPED]
    parameters, largest = parameter_bytes(mapped or main), largest_activation(mapped or main)
    activation = largest.bytes if largest else 0
    return Prediction(
        verdict="unparsable" if refused else "maps" if len(mapped) == len(operators) else "partial",
        problem=_problem(refused),
        subgraphs=1 if mapped else 0,
        partitions=partitions,
        operators=tuple(operators),
        parameter_bytes=parameters,
        parameter_memory_bytes=PARAMETER_MEMORY,
        largest_activation_bytes=activation,
        largest_activation=largest.name if largest else "",
        activation_memory_bytes=ACTIVATION_MEMORY,
        advice=advice(
            main,
            set(reasons),
            parameters=parameters,
            large_activation=activation > ACTIVATION_MEMORY,
        ),
    )


def placed_reasons(operators: Sequence[Operator]) -> tuple[list[str], int]:
    """Returns the status text of every operator of a file that compiles, and how many runs could be mapped."""
    reasons = [status(operator) for operator in operators]
    runs = supported_partitions(operators, [reason == MAPPED for reason in reasons])
    first = set(runs[0]) if runs else set()
    later = [LATER_SUBGRAPH if reason == MAPPED and i not in first else reason for i, reason in enumerate(reasons)]
    return later, len(runs)


def refused_reasons(operators: Sequence[Operator], refused: Sequence[tuple[Operator, str]]) -> list[str]:
    """Returns what the compiler says of the operators that stop it, and of the others that it has stopped."""
    texts = {id(operator): text for operator, text in reversed(refused)}
    return [texts.get(id(operator), rest_reason(refused)) for operator in operators]


def parameter_bytes(operators: Sequence[Operator]) -> int:
    """Returns the bytes of the weights and biases of some operators, each tensor once, as a chip holds them at least.

    A bias takes 4 bytes for an output channel of a tensor with one scale, and 8 where channels have their own
    (measured: exact for dense layers of 256 to 1,024).
    """
    seen: set[int] = set()
    total = 0
    for operator in operators:
        for tensor in operator.given:
            if tensor.constant and tensor.type not in SIZES and tensor.index not in seen:
                seen.add(tensor.index)
                total += tensor.bytes
        if operator.name in WITH_BIAS and operator.outputs[0].type in EIGHT_BITS and operator.outputs[0].shape:
            scales = max((tensor.scales for tensor in operator.given if tensor.constant), default=0)
            total += operator.outputs[0].shape[-1] * (8 if scales > 1 else 4)
    return total


def largest_activation(operators: Sequence[Operator]) -> Tensor | None:
    """Returns the largest tensor that some operators read or write and that is no constant."""
    tensors = [tensor for operator in operators for tensor in (*operator.computed, *operator.outputs)]
    return max(tensors, key=lambda tensor: tensor.bytes, default=None)


def _operator(operator: Operator, reason: str, *, subgraph: int = 0) -> OperatorPrediction:
    output = operator.outputs[0].name if operator.outputs else ""
    state: Literal["mapped", "cpu"] = "mapped" if reason == MAPPED else "cpu"
    return OperatorPrediction(operator.index, operator.name, output, state, reason, subgraph)


def _other_subgraphs(graphs: Sequence[Graph], reason: str) -> list[OperatorPrediction]:
    """The compiler works on the first subgraph alone; bodies of loops and further signatures stay as they are."""
    return [
        _operator(operator, reason, subgraph=number)
        for number, graph in enumerate(graphs[1:], start=1)
        for operator in graph.operators
    ]


def _problem(refused: list[tuple[Operator, str]]) -> str:
    texts = list(dict.fromkeys(f"operator {operator.index}: {text}" for operator, text in refused))
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")
