"""The convolutions of a `.tflite` as float arrays, whatever precision the file stores them in."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import IDENTIFIER, constant_values, operator_name, read_flatbuffer
from keras_retina.foundation.errors import InputError
from keras_retina.model.weights.make import FoldedConvolution


def folded_convolutions(data: bytes, source: str) -> list[FoldedConvolution]:
    """Returns each convolution with constant weights in the order of the file; `source` is named in errors.

    float16 weights behind DEQUANTIZE and 8-bit weights, with one scale or one a channel, become float32.

    Raises:
        InputError: no `.tflite`.
    """
    if data[4:8] != IDENTIFIER:
        raise InputError(f"{source}: expected a .tflite inside. Received: {len(data)} bytes without the mark TFL3.")
    model = read_flatbuffer(data)
    graph = model.subgraphs[0]
    stored = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator_name(model, operator) == "DEQUANTIZE"
    }
    found = []
    for operator in graph.operators:
        name = operator_name(model, operator)
        if name not in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            continue
        kernel, bias = (_float_values(model, stored.get(index, index)) for index in operator.inputs[1:3])
        if kernel is not None and bias is not None:
            is_depthwise = name == "DEPTHWISE_CONV_2D"
            # [outputs, height, width, inputs]; a depthwise one is [1, height, width, channels].
            turned = kernel.transpose((1, 2, 3, 0))
            found.append(FoldedConvolution(np.ascontiguousarray(turned), bias, is_depthwise))
    return found


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
