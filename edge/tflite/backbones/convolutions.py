"""The convolutions of a `.tflite` as float arrays, whatever precision the file stores them in, and what they read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.runtime import check_network
from edge.tflite.flatbuffer import IDENTIFIER, constant_values, operator_name, read_flatbuffer, tensor_type
from keras_retina.foundation.errors import InputError
from keras_retina.model.weights.make import FoldedConvolution

IMAGE = -1
"""Stands for the input of the file among the convolutions that come before another one."""


@dataclass(frozen=True)
class PlacedConvolution:
    """A convolution with constant weights, and its place in the graph.

    `before` are the numbers of the convolutions whose outputs reach it without another one between, or `IMAGE`; `reads`
    and `writes` are tensors of the file. `is_rounded` is true of an operator with 8-bit weights.
    """

    folded: FoldedConvolution
    stride: int
    before: frozenset[int]
    reads: int
    writes: int
    is_rounded: bool


def folded_convolutions(data: bytes, source: str) -> list[FoldedConvolution]:
    """Returns each convolution with constant weights in the order of the file; `source` is named in errors.

    float16 weights behind DEQUANTIZE and 8-bit weights, with one scale or one a channel, become float32.

    Raises:
        InputError: no `.tflite`.
    """
    return [one.folded for one in placed_convolutions(data, source)]


def placed_convolutions(data: bytes, source: str) -> list[PlacedConvolution]:
    """Returns each convolution with constant weights in the order of the file, and which ones it follows.

    Raises:
        InputError: no `.tflite`, a damaged one, or one with weights of a type that is not read.
    """
    if data[4:8] != IDENTIFIER:
        raise InputError(f"{source}: expected a .tflite inside. Received: {len(data)} bytes without the mark TFL3.")
    try:
        check_network(data)
        return _placed(read_flatbuffer(data))
    except Exception as error:  # whatever wrong offsets lead a reader without a verifier into
        raise InputError(
            f"{source}: expected a whole .tflite with float or 8-bit weights. Received: "
            f"{' '.join(f'{type(error).__name__}: {error}'.split())[:200]}. Convert or download it again."
        ) from error


def _placed(model: schema.ModelT) -> list[PlacedConvolution]:
    graph = model.subgraphs[0]
    stored = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator_name(model, operator) == "DEQUANTIZE"
    }
    found: list[PlacedConvolution] = []
    last = {int(index): frozenset({IMAGE}) for index in graph.inputs}  # tensor -> the convolutions that it comes from
    for operator in graph.operators:
        name, indices = operator_name(model, operator), [int(index) for index in operator.inputs]
        sources = frozenset[int]().union(*(last.get(index, frozenset()) for index in indices))
        if name in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            kernel = _float_values(model, stored.get(indices[1], indices[1]))
            bias = _bias(model, stored, indices=indices, outputs=None if kernel is None else _outputs(kernel, name))
            if kernel is not None and bias is not None:
                # [outputs, height, width, inputs]; a depthwise one is [1, height, width, channels].
                turned = np.ascontiguousarray(kernel.transpose((1, 2, 3, 0)))
                place = PlacedConvolution(
                    FoldedConvolution(turned, bias, name == "DEPTHWISE_CONV_2D"),
                    stride=int(operator.builtinOptions.strideH),
                    before=sources,
                    reads=indices[0],
                    writes=int(operator.outputs[0]),
                    is_rounded="int" in tensor_type(graph.tensors[indices[1]]),
                )
                sources = frozenset({len(found)})
                found.append(place)
        last.update({int(index): sources for index in operator.outputs})
    return found


def _outputs(kernel: np.ndarray, name: str) -> int:
    return int(kernel.shape[3 if name == "DEPTHWISE_CONV_2D" else 0])


def _bias(
    model: schema.ModelT, stored: dict[int, int], *, indices: list[int], outputs: int | None
) -> np.ndarray | None:
    """Returns the bias, zeros where the operator has none, and None where it is computed."""
    if len(indices) < 3 or indices[2] < 0:
        return None if outputs is None else np.zeros(outputs, np.float32)
    return _float_values(model, stored.get(indices[2], indices[2]))


def _float_values(model: schema.ModelT, index: int) -> np.ndarray | None:
    values, tensor = constant_values(model, index), model.subgraphs[0].tensors[index]
    if values is None:
        return None
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return values.astype(np.float32)
    shape = np.ones(values.ndim, int)
    shape[quantization.quantizedDimension] = len(quantization.scale)
    zero = np.reshape(quantization.zeroPoint, shape).astype(np.float64)
    return ((values - zero) * np.reshape(quantization.scale, shape)).astype(np.float32)
