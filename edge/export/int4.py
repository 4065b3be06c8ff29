"""The int4 format: an int8 network whose kernels have 4 bits, half of their bytes.

LiteRT unpacks them before it computes, so such a file is smaller and not faster.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import constant_values, operator_name
from edge.tflite.layer_names import feature_maps
from edge.tflite.writer import drop_unused_buffers

LARGEST = 7
FRACTIONS = np.linspace(0.5, 1.0, 26)  # of the largest weight, that the largest step may stand for


def take_four_bit_kernels(model: schema.ModelT, parent: schema.ModelT) -> None:
    """Gives the convolutions of an int8 network kernels of 15 values for each output channel, packed two in a byte.

    The step of each channel has the least square error. Depthwise kernels, a hundredth of the bytes, keep 8 bits.

    Args:
        model: changed in place.
        parent: the float network that it was made from.
    """
    twins = feature_maps(parent)
    graph = model.subgraphs[0]
    packed: dict[int, np.ndarray] = {}  # by buffer: the steps of the channels
    for name, operator in feature_maps(model).items():
        if operator_name(model, operator) != "CONV_2D":
            continue
        kernel = graph.tensors[operator.inputs[1]]
        if kernel.type == schema.TensorType.INT8:
            values = constant_values(parent, int(twins[name].inputs[1]))
            if values is None:
                raise ValueError(f"{name}: the float network has no kernel of its own here.")
            steps, stored = rounded(values)
            kernel.type = schema.TensorType.INT4
            kernel.quantization.scale = steps.astype(np.float32)
            model.buffers.append(schema.BufferT(data=nibbles(stored)))
            kernel.buffer = len(model.buffers) - 1
            packed[kernel.buffer] = steps
        rescale_bias(model, operator, packed[kernel.buffer])
    drop_unused_buffers(model)


def rounded(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the step of each output channel (the first axis), and the kernel in steps."""
    rows = kernel.reshape(len(kernel), -1).astype(np.float64)
    largest = np.maximum(np.abs(rows).max(axis=1), 1e-8)
    best_error, best = np.full(len(rows), np.inf), largest / LARGEST
    for fraction in FRACTIONS:
        steps = fraction * largest / LARGEST
        taken = np.clip(np.round(rows / steps[:, None]), -LARGEST, LARGEST) * steps[:, None]
        error = ((rows - taken) ** 2).sum(axis=1)
        best = np.where(error < best_error, steps, best)
        best_error = np.minimum(error, best_error)
    return best, np.clip(np.round(rows / best[:, None]), -LARGEST, LARGEST).astype(np.int8).reshape(kernel.shape)


def nibbles(values: np.ndarray) -> np.ndarray:
    """Packs values of -8 to 7, the first one into the low half of a byte."""
    flat = values.ravel().astype(np.uint8) & 15
    flat = np.pad(flat, (0, flat.size % 2))
    return flat[0::2] | (flat[1::2] << 4)


def rescale_bias(model: schema.ModelT, operator: schema.OperatorT, steps: np.ndarray) -> None:
    """Writes the bias in the scale of the input times the new steps."""
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return
    graph = model.subgraphs[0]
    activation, bias = graph.tensors[operator.inputs[0]], graph.tensors[operator.inputs[2]]
    scales = steps * float(activation.quantization.scale[0])
    data = bytes(model.buffers[bias.buffer].data)
    values = np.frombuffer(data, np.int32) * bias.quantization.scale.astype(np.float64)
    limits = np.iinfo(np.int32)
    stored = np.clip(np.round(values / scales), limits.min, limits.max).astype(np.int32)
    model.buffers.append(schema.BufferT(data=stored.view(np.uint8)))
    bias.buffer = len(model.buffers) - 1
    bias.quantization.scale = scales.astype(np.float32)
