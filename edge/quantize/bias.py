"""Moves the biases of a quantized network so that every channel has the mean that it has in float.

Rounded kernels and clipped ranges shift the mean of what a convolution computes, each channel its own way, and the
shifts of all layers add up. A bias has 32 bits, so it can take a shift back. The convolutions are corrected one after
the other in the order of execution, each behind earlier layers that are corrected already: what they could not take
back is then part of what the later ones take back. Every layer runs twice, before and after its correction, on the kept
values of the layers that it reads.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2 and appendix
D, with calibration images.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.quantize.feature_values import keeping_interpreter, run_on
from edge.quantize.parts import Values, run_operators
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_quantization, tensor_type, write_flatbuffer
from edge.tflite.layer_names import feature_maps
from keras_retina.model.spec import DetectorSpec

logger = logging.getLogger(__name__)

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
EDGE = 4  # steps: a value that is so far from a limit in float is not cut off in int8
LEAST_VALUES = 64  # of a channel: fewer give no mean


@dataclass
class FloatValues:
    """What one feature map has in the float network, on all images together.

    Attributes:
        total: sum of the values that count, by channel.
        count: how many they are, by channel.
        counted: for each image which values count, as packed bits. They are chosen by the float value alone: if the
            int8 one had a say, those whose error goes to one side would be missing.
    """

    total: np.ndarray
    count: np.ndarray
    counted: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray, *, low: float, high: float) -> None:
        """Adds the values `[..., channels]` of an image, of which those between `low` and `high` count."""
        rows = values.reshape(-1, values.shape[-1])
        inside = (rows > low) & (rows < high)
        self.total = self.total + np.where(inside, rows, 0.0).sum(axis=0, dtype=np.float64)
        self.count = self.count + inside.sum(axis=0)
        self.counted.append(np.packbits(inside))

    def shift_of(self, received: Iterable[np.ndarray]) -> np.ndarray:
        """Returns by channel how far the mean of `received`, values for each image, is below the float mean.

        It is 0 for a channel with fewer than LEAST_VALUES.
        """
        total = np.zeros_like(self.total)
        for values, bits in zip(received, self.counted, strict=True):
            rows = values.reshape(-1, values.shape[-1])
            inside = np.unpackbits(bits, count=rows.size).reshape(rows.shape).astype(bool)
            total += np.where(inside, rows, 0.0).sum(axis=0, dtype=np.float64)
        return np.where(self.count < LEAST_VALUES, 0.0, (self.total - total) / np.maximum(self.count, 1))


def correct_biases(
    model: schema.ModelT, float_network: bytes, *, samples: Iterable[list[np.ndarray]], spec: DetectorSpec
) -> int:
    """Adds to each bias of a quantized network what its channel misses in the mean; returns how many were corrected.

    Values near the limits of a range are left out of the means: the range or a ReLU may cut them off. Nothing is
    corrected, with a warning, in a network that runs with a delegate only.

    Args:
        model: int8 up to the heads, with camera bytes as input; changed in place.
        float_network: of the same weights, with scaled float pixels as input.
        samples: calibration inputs, each `[float32 [1, H, W, 3]]`.
    """
    images = [image for (image,) in samples]
    if not images:
        return 0
    try:
        keeping_interpreter(write_flatbuffer(model))
    except RuntimeError as error:
        # Of random weights, for instance, whose maps have ranges that fit no kernel but those of a delegate.
        logger.warning(f"int8: the biases are only rounded, since LiteRT cannot keep the maps of this network: {error}")
        return 0
    expected = float_values(model, float_network, images=images)
    graph = model.subgraphs[0]
    known: list[Values] = [{int(graph.inputs[0]): spec.unscale(image)} for image in images]
    groups = _groups_in_order(model, set(expected))
    for number, group in enumerate(groups):
        convolutions = list(group.convolutions.values())
        received = run_operators(model, convolutions, known) if convolutions else []
        for name, operator in group.convolutions.items():
            values = _dequantized(model, [one[int(operator.outputs[0])] for one in received], operator)
            _add_to_bias(model, int(operator.inputs[2]), expected[name].shift_of(values))
        made = run_operators(model, group.operators, known)
        needed = {int(index) for later in groups[number + 1 :] for one in later.operators for index in one.inputs}
        known = [{index: value for index, value in (old | new).items() if index in needed}
                 for old, new in zip(known, made, strict=True)]  # fmt: skip
    return len(expected)


def float_values(model: schema.ModelT, float_network: bytes, *, images: Iterable[np.ndarray]) -> dict[str, FloatValues]:
    """Returns by the name of its feature map what each convolution with a bias has in the float network."""
    parent = read_flatbuffer(float_network)
    places = {name: int(operator.outputs[0]) for name, operator in feature_maps(parent).items()}
    limits = {
        name: _limits(model, int(operator.outputs[0]))
        for name, operator in feature_maps(model).items()
        if name in places and operator_name(model, operator) in CONVOLUTIONS and _has_bias(operator)
    }
    found: dict[str, FloatValues] = {}
    interpreter = keeping_interpreter(float_network)
    for image in images:
        run_on(interpreter, image)
        for name, (low, high) in limits.items():
            values = interpreter.get_tensor(places[name])
            channels = values.shape[-1]
            one = found.setdefault(name, FloatValues(np.zeros(channels), np.zeros(channels, np.int64)))
            one.add(values, low=low, high=high)
    return found


def _dequantized(
    model: schema.ModelT, values: Iterable[np.ndarray], operator: schema.OperatorT
) -> Iterator[np.ndarray]:
    tensor = model.subgraphs[0].tensors[operator.outputs[0]]
    scale, zero_point = tensor_quantization(tensor) or (1.0, 0)
    return ((one.astype(np.float32) - zero_point) * scale for one in values)


@dataclass
class _Group:
    """Operators that run one after the other, and which of them are corrected first; those read none of the group."""

    operators: list[schema.OperatorT] = field(default_factory=list)
    convolutions: dict[str, schema.OperatorT] = field(default_factory=dict)


def _groups_in_order(model: schema.ModelT, names: set[str]) -> list[_Group]:
    """Returns all operators in groups, so that those of a group read only it and groups before it."""
    depth_of: dict[int, int] = {}
    by_output = {int(operator.outputs[0]): name for name, operator in feature_maps(model).items()}
    groups: dict[int, _Group] = {}
    for operator in model.subgraphs[0].operators:  # in order of execution
        depth = max((depth_of.get(int(index), 0) for index in operator.inputs), default=0)
        name = by_output.get(int(operator.outputs[0]))
        if name in names:
            depth += 1
            groups.setdefault(depth, _Group()).convolutions[name] = operator
        groups.setdefault(depth, _Group()).operators.append(operator)
        depth_of |= {int(index): depth for index in operator.outputs}
    return [groups[depth] for depth in sorted(groups)]


def _has_bias(operator: schema.OperatorT) -> bool:
    return len(operator.inputs) > 2 and operator.inputs[2] >= 0


def _limits(model: schema.ModelT, index: int) -> tuple[float, float]:
    """Returns between which values of a feature map nothing is cut off."""
    tensor = model.subgraphs[0].tensors[index]
    scale, zero_point = tensor_quantization(tensor) or (1.0, 0)
    stored = np.iinfo(tensor_type(tensor))
    return (stored.min + EDGE - zero_point) * scale, (stored.max - EDGE - zero_point) * scale


def _add_to_bias(model: schema.ModelT, index: int, values: np.ndarray) -> None:
    bias = model.subgraphs[0].tensors[index]
    stored = np.dtype(tensor_type(bias))
    before = np.frombuffer(bytes(model.buffers[bias.buffer].data), stored)
    limits = np.iinfo(stored)
    steps = before + np.round(values / bias.quantization.scale.astype(np.float64))
    data = np.clip(steps, limits.min, limits.max).astype(stored)
    model.buffers.append(schema.BufferT(data=data.view(np.uint8)))
    bias.buffer = len(model.buffers) - 1
