"""How much the operators of any `.tflite` compute for one image."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from edge.tflite.graph import Graph, Operator

COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")

UNCOUNTED = (
    *("CONV_3D", "CONV_3D_TRANSPOSE", "SVDF", "RNN", "LSTM", "EMBEDDING_LOOKUP_SPARSE", "RFFT2D", "DELEGATE"),
    *("UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    *("BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM"),
    *("IF", "WHILE", "CALL", "CALL_ONCE"),
)
"""Builtin operators that may multiply matrices, or run other graphs; nothing here says how much."""


@dataclass(frozen=True)
class GraphWork:
    """Multiply-adds of each operator of a graph, in its order, None where they are not known.

    As the literature counts: activations, additions and resizing are 0. `uncounted` names the operators with None.
    """

    multiply_adds: tuple[int | None, ...]
    uncounted: dict[str, int]

    @property
    def total(self) -> int:
        """The multiply-adds of what is known."""
        return sum(value or 0 for value in self.multiply_adds)


def graph_work(graph: Graph) -> GraphWork:
    """Counts the multiply-adds of a graph for one run, from the shapes of its tensors."""
    values = tuple(operator_multiply_adds(operator) for operator in graph.operators)
    unknown = [operator.name for operator, value in zip(graph.operators, values, strict=True) if value is None]
    return GraphWork(values, dict(sorted(Counter(unknown).items())))


def operator_multiply_adds(operator: Operator) -> int | None:
    """Returns the multiply-adds of one operator; None for a custom one, a shape not known, or one of `UNCOUNTED`."""
    if operator.custom or operator.name in UNCOUNTED or operator.name.startswith(("STABLEHLO_", "BUILTIN_")):
        return None
    if operator.name not in COUNTED:
        return 0
    weights, image = (operator.input(position) for position in (1, 2 if operator.name == "TRANSPOSE_CONV" else 0))
    if weights is None or image is None or not operator.outputs:
        return None
    output = operator.outputs[0]
    shapes = (weights.shape, image.shape, output.shape)
    if not all(shapes) or any(side <= 0 for shape in shapes for side in shape):
        return None
    if operator.name == "TRANSPOSE_CONV":  # each pixel is spread over the kernel; weights [out, h, w, in]
        return image.elements * math.prod(weights.shape[:-1])
    if operator.name == "DEPTHWISE_CONV_2D":  # weights [1, h, w, out]
        return output.elements * math.prod(weights.shape[1:3])
    if operator.name == "BATCH_MATMUL":
        inner = image.shape[-2:]
        return output.elements * (inner[0] if operator.option("adjX") else inner[-1])
    return output.elements * math.prod(weights.shape[1:])  # [out, h, w, in / groups] and [out, in]
