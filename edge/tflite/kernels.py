"""The kernels that a `.tflite` really holds: how many weights are zero, and how many different ones there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import constant_values, operator_name, read_flatbuffer

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def file_kernels(data: bytes) -> dict[str, tuple[np.ndarray, bool]]:
    """Returns the stored kernel of each convolution, outputs first, and whether sparsity prunes it, by name.

    Values are those of the file: steps of 8 or 4 bits without their scale, the zero point being 0, or floats. A kernel
    that several operators share is there once.
    """
    model = read_flatbuffer(data)
    graph = model.subgraphs[0]
    made_by = {int(index): operator for operator in graph.operators for index in operator.outputs}
    read_by: dict[int, list[schema.OperatorT]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            read_by.setdefault(int(index), []).append(operator)

    def meets_convolution(index: int, onwards: bool) -> bool:
        nearby = read_by.get(index, []) if onwards else [made_by[index]] if index in made_by else []
        for operator in nearby:
            if operator_name(model, operator) in CONVOLUTIONS:
                return True
            following = operator.outputs if onwards else operator.inputs
            if any(meets_convolution(int(other), onwards) for other in following if other >= 0):
                return True
        return False

    kernels: dict[str, tuple[np.ndarray, bool]] = {}
    for operator in graph.operators:
        name = operator_name(model, operator)
        if name not in CONVOLUTIONS:
            continue
        weights = int(operator.inputs[1])
        if weights in made_by:  # float16 kernels are expanded by a DEQUANTIZE
            weights = int(made_by[weights].inputs[0])
        tensor, values = graph.tensors[weights], constant_values(model, weights)
        if values is None:
            continue
        is_inner = meets_convolution(int(operator.inputs[0]), False) and meets_convolution(
            int(operator.outputs[0]), True
        )
        if name == "DEPTHWISE_CONV_2D":
            values = np.moveaxis(values[0], -1, 0)  # [1, height, width, outputs]
        kernels[tensor.name.decode(errors="replace")] = (values, is_inner and name == "CONV_2D")
    return kernels


def sparsity_of_file(data: bytes) -> Sparsity:
    """Counts the zeros in the kernels of a `.tflite`."""
    return counted(list(file_kernels(data).values()))


def clusters_of_file(data: bytes) -> dict[str, int]:
    """Returns how many different values the most varied output channel of each prunable kernel holds, zero included."""
    return {
        name: max(len(np.unique(channel)) for channel in kernel)
        for name, (kernel, prunable) in file_kernels(data).items()
        if prunable
    }


@dataclass(frozen=True)
class Sparsity:
    """How many weights are zero: of those that pruning may take, and of the kernels of all convolutions."""

    prunable_zeros: int
    prunable: int
    zeros: int
    weights: int

    @property
    def share(self) -> float:
        """Zeros among the prunable weights, 0 to 1."""
        return self.prunable_zeros / max(1, self.prunable)

    @property
    def total_share(self) -> float:
        """Zeros among the weights of all convolutions, 0 to 1."""
        return self.zeros / max(1, self.weights)


def counted(kernels: list[tuple[np.ndarray, bool]]) -> Sparsity:
    """Counts the zeros of kernels, each with whether it is prunable."""
    zeros = [int(kernel.size - np.count_nonzero(kernel)) for kernel, _ in kernels]
    return Sparsity(
        prunable_zeros=sum(number for number, (_, prunable) in zip(zeros, kernels, strict=True) if prunable),
        prunable=sum(kernel.size for kernel, prunable in kernels if prunable),
        zeros=sum(zeros),
        weights=sum(kernel.size for kernel, _ in kernels),
    )
