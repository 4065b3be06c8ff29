"""Stores the kernels of a float network as float16, each rounded so that its sum stays what it was.

Rounding every weight by itself turns out to matter: MobileNetV2's first depthwise kernels sum to about zero and look at
flat areas, where nine rounding errors add up instead of the pixels cancelling. That one layer made nearly all of the
difference between the float16 and the float32 file. Biases are few and stay float32.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import operator_name
from edge.tflite.writer import Writer, drop_unused_buffers
from keras_retina.foundation.errors import InputError

KERNELS = {"CONV_2D", "DEPTHWISE_CONV_2D"}
DEQUANTIZE_VERSION = 3  # the first that takes float16


def halve_kernels(model: schema.ModelT) -> int:
    """Replaces the float32 kernel of every convolution by a float16 one and a DEQUANTIZE; returns how many.

    This is the form that the TFLite converter writes and that XNNPACK and the GPU delegate fold away at load time.

    Raises:
        InputError: a weight beyond the range of float16.
    """
    graph = model.subgraphs[0]
    kernels = {int(op.inputs[1]) for op in graph.operators if operator_name(model, op) in KERNELS}
    writer = Writer.front(model)
    for index in sorted(kernels):
        kernel = graph.tensors[index]
        weights = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.float32).reshape(kernel.shape)
        name = kernel.name.decode(errors="replace")
        if not np.abs(weights).max() <= np.finfo(np.float16).max:
            raise InputError(
                f"float16 export: expected weights below 65504. Received: {np.abs(weights).max():g} in {name!r}. "
                "Leave float16 out of export.formats."
            )
        half = writer.constant(rounded_to_half(weights), np.float16, name=f"{name}/float16")
        kernel.buffer = 0  # the empty one: the values now come from the operator
        writer.dequantize(half, index, version=DEQUANTIZE_VERSION)
    drop_unused_buffers(model)
    return len(kernels)


def rounded_to_half(kernel: np.ndarray) -> np.ndarray:
    """Rounds a kernel `[outputs, height, width, inputs]` to float16, keeping the sum over height and width.

    Weights are rounded to nearest; then, the largest first, one is moved to its other neighbour wherever that brings
    the sum closer. Every weight ends at one of the two halves around it.
    """
    outputs, height, width, inputs = kernel.shape
    exact = kernel.astype(np.float64).transpose(1, 2, 0, 3).reshape(height * width, -1)  # [positions, kernels]
    half = exact.astype(np.float16)
    missing = (exact - half).sum(axis=0)
    columns = np.arange(exact.shape[1])
    for rows in np.argsort(-np.abs(exact), axis=0):
        values = half[rows, columns]
        neighbours = np.nextafter(values, np.where(missing > 0, np.inf, -np.inf).astype(np.float16))
        steps = neighbours.astype(np.float64) - values
        beside = (exact[rows, columns] - values) * steps > 0  # the exact weight lies between the two
        moved = beside & np.isfinite(steps) & (np.abs(missing - steps) < np.abs(missing))
        half[rows, columns] = np.where(moved, neighbours, values)
        missing = missing - np.where(moved, steps, 0.0)
    return half.reshape(height, width, outputs, inputs).transpose(2, 0, 1, 3)
