"""What the Edge TPU compiler, version 16, will do with a `.tflite`, said without the compiler.

Checked against public models and their compiled forms: docs/how_it_works/edge_tpu.md says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge.edgetpu_advice import advice
from edge.edgetpu_graph import Graph, Operator, Tensor, read_graphs
from edge.edgetpu_operators import EIGHT_BITS, LATER_SUBGRAPH, MAPPED, status
from edge.edgetpu_parser import refusals, rest_reason
from edge.edgetpu_partition import supported_partitions

PARAMETER_MEMORY = 8_074_035  # 7.7 MiB, what compiler logs show as used + remaining for small inputs
ACTIVATION_MEMORY = 16 * 196_608  # bytes; 4 x 4 tiles, see edgetpu_operators
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
        advice=advice(main, set(reasons), parameters > PARAMETER_MEMORY, activation > ACTIVATION_MEMORY),
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


def _operator(operator: Operator, reason: str, subgraph: int = 0) -> OperatorPrediction:
    output = operator.outputs[0].name if operator.outputs else ""
    state: Literal["mapped", "cpu"] = "mapped" if reason == MAPPED else "cpu"
    return OperatorPrediction(operator.index, operator.name, output, state, reason, subgraph)


def _other_subgraphs(graphs: Sequence[Graph], reason: str) -> list[OperatorPrediction]:
    """The compiler works on the first subgraph alone; bodies of loops and further signatures stay as they are."""
    return [
        _operator(operator, reason, number)
        for number, graph in enumerate(graphs[1:], start=1)
        for operator in graph.operators
    ]


def _problem(refused: list[tuple[Operator, str]]) -> str:
    texts = list(dict.fromkeys(f"operator {operator.index}: {text}" for operator, text in refused))
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")
