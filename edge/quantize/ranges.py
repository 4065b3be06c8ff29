"""Chooses the range of every int8 activation from the float network, and writes it into the quantized flatbuffer.

TensorFlow's calibrator takes the smallest and largest value ever seen. One outlier then doubles the step of a whole
feature map; and since the interpreter adds in place, the first input of an ADD is logged with the range of the sum
(2.21). Here the range of least expected square error is taken: a little clipping for finer steps. The class logits are
the exception: the few high ones decide, so nothing is clipped above, and what can never be a detection is cut away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.quantize.feature_values import keeping_interpreter, run_on
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_type

HALF = 1024
SAMPLES = 40_000
FRACTIONS = np.linspace(0.3, 1.0, 15)
CHOSEN = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}  # their kernels take any output scale
LOWEST_LOGIT = -7.0  # scores under 0.001 are all the same to any detection
ROOM_ABOVE = 0.5  # logits: test images may score a little higher than any calibration image
ROOM_16_BIT = 2.0  # times the extremes: 15 bits are enough as well, and nothing is clipped on any image
QUANTIZED = {"int8", "int16"}
SHARING = {"RESHAPE", "CONCATENATION", "PAD", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}

Range = tuple[float, float]


@dataclass
class Histogram:
    """Counts of values in equal bins over [-limit, limit]; the limit doubles when a value does not fit."""

    limit: float = 1.0
    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2 * HALF))

    def add(self, values: np.ndarray) -> None:
        """Counts about SAMPLES of the values, of all channels (the last axis) alike; extremes are exact."""
        flat = values.ravel()
        stride = max(1, flat.size // SAMPLES)
        while math.gcd(stride, values.shape[-1]) > 1:
            stride += 1
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        while max(-self.low, self.high) > self.limit:
            self.limit *= 2
            merged = self.counts.reshape(HALF, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(HALF // 2), merged, np.zeros(HALF // 2)])
        self.counts += np.histogram(flat[::stride], 2 * HALF, (-self.limit, self.limit))[0]


def best_range(histogram: Histogram) -> Range:
    """Returns the range around 0 whose 255 steps give the least expected square error of rounding and clipping."""
    centres = (np.arange(2 * HALF) - HALF + 0.5) * histogram.limit / HALF
    lows, highs = histogram.low * FRACTIONS, histogram.high * FRACTIONS
    below = [(histogram.counts * np.minimum(centres - low, 0) ** 2).sum() for low in lows]
    above = [(histogram.counts * np.maximum(centres - high, 0) ** 2).sum() for high in highs]
    steps = (highs[None, :] - lows[:, None]) / 255
    errors = np.add.outer(below, above) + histogram.counts.sum() * steps**2 / 12
    row, column = np.unravel_index(np.argmin(errors), errors.shape)
    return float(lows[row]), float(highs[column])


def class_range(histogram: Histogram) -> Range:
    """Returns the range of class logits: up to the highest, which would tie if clipped, down to those that matter."""
    return max(histogram.low, LOWEST_LOGIT), max(histogram.high, 0.0) + ROOM_ABOVE


def wide_range(histogram: Histogram) -> Range:
    """Returns the range for 16 bits: the extremes, with room."""
    return histogram.low * ROOM_16_BIT, histogram.high * ROOM_16_BIT


def class_logits(model: schema.ModelT) -> set[bytes]:
    """Returns the names of the feature maps of an int8 network that share the scale of its output `classes`."""
    graph = model.subgraphs[0]
    output = {entry.name: entry.tensorIndex for entry in model.signatureDefs[0].outputs}[b"classes"]
    sources = [int(operator.inputs[0]) for operator in graph.operators if output in operator.outputs]
    owner = _scale_owners(model)
    return {graph.tensors[index].name for index in owner if owner[index] == owner[sources[0]]}


def observed_values(float_network: bytes, samples: Iterable[list[np.ndarray]]) -> dict[bytes, Histogram]:
    """Runs a float flatbuffer on calibration inputs and returns the values of each feature map by tensor name."""
    model = read_flatbuffer(float_network)
    graph = model.subgraphs[0]
    watched = {
        int(operator.outputs[0]): Histogram()
        for operator in graph.operators
        if operator_name(model, operator) in CHOSEN
    }
    interpreter = keeping_interpreter(float_network)
    for (image,) in samples:
        run_on(interpreter, image)
        for index, histogram in watched.items():
            histogram.add(interpreter.get_tensor(index))
    return {graph.tensors[index].name: histogram for index, histogram in watched.items()}


def set_ranges(model: schema.ModelT, ranges: dict[bytes, Range]) -> int:
    """Requantizes the activations of an int8 or int16 network that `ranges` names; returns how many feature maps.

    Operators that only move values (SHARING) need one scale for inputs and output, so the union of their ranges is
    taken. Biases, whose scale is that of input times weights, are requantized to keep their values.
    """
    graph = model.subgraphs[0]
    owner = _scale_owners(model)
    chosen: dict[int, Range] = {}
    for operator in graph.operators:
        index = int(operator.outputs[0])
        name = graph.tensors[index].name
        if operator_name(model, operator) in CHOSEN and name in ranges and index in owner:
            low, high = chosen.get(owner[index], (0.0, 0.0))
            chosen[owner[index]] = (min(low, ranges[name][0]), max(high, ranges[name][1]))
    for index, representative in owner.items():
        low, high = chosen.get(representative, (0.0, 0.0))
        if high > low:
            if tensor_type(graph.tensors[index]) == "int16":
                scale, zero_point = max(-low, high) / 32767, 0
            else:
                scale = (high - low) / 255
                zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
            quantization = graph.tensors[index].quantization
            quantization.scale = np.array([scale], np.float32)
            quantization.zeroPoint = np.array([zero_point], np.int64)
    for operator in graph.operators:
        if operator_name(model, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _requantize_bias(model, operator)
    return len(chosen)


def _scale_owners(model: schema.ModelT) -> dict[int, int]:
    """Maps every int8 or int16 activation to a representative of those that must have the same scale."""
    graph = model.subgraphs[0]

    def activations(indices: np.ndarray) -> list[int]:
        found = [int(index) for index in indices if index >= 0 and tensor_type(graph.tensors[index]) in QUANTIZED]
        return [index for index in found if model.buffers[graph.tensors[index].buffer].data is None]

    owner: dict[int, int] = {}
    for operator in graph.operators:  # in order of execution: inputs have owners before outputs do
        outputs = activations(operator.outputs)
        owner |= {index: index for index in outputs}
        if operator_name(model, operator) in SHARING:
            together = [owner[index] for index in [*activations(operator.inputs), *outputs] if index in owner]
            owner = {index: together[0] if mine in together else mine for index, mine in owner.items()}
    return owner


def _requantize_bias(model: schema.ModelT, operator: schema.OperatorT) -> None:
    graph = model.subgraphs[0]
    activation, weights = (graph.tensors[index].quantization for index in operator.inputs[:2])
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return
    bias = graph.tensors[operator.inputs[2]]
    scales = weights.scale.astype(np.float64) * float(activation.scale[0])
    if np.allclose(bias.quantization.scale, scales, rtol=1e-6, atol=0):
        return
    stored = np.dtype(tensor_type(bias))  # int64 beside 16-bit activations
    values = model.buffers[bias.buffer].data.view(stored) * bias.quantization.scale.astype(np.float64)
    limits = np.iinfo(stored)
    data = np.clip(np.round(values / scales), limits.min, limits.max).astype(stored)
    model.buffers.append(schema.BufferT(data=data.view(np.uint8)))
    bias.buffer = len(model.buffers) - 1
    bias.quantization.scale = scales.astype(np.float32)
