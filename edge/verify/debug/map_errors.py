"""The error of every feature map of a quantized network against the float network that it was made from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.quantize.feature_values import keeping_interpreter, run_on
from edge.tflite.flatbuffer import (
    constant_values,
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    tensor_type,
    write_flatbuffer,
)
from edge.tflite.layer_names import BETWEEN_TYPES, feature_maps
from edge.tflite.writer import Writer
from keras_retina.foundation.errors import InputError
from keras_retina.model.spec import DetectorSpec

QUANTIZED = ("int8", "int16")
TOWARDS = 1e-4  # steps of the input: above the rounding of float32, whose values of 127 have steps of 8e-6


def side_by_side(float_model: schema.ModelT, model: schema.ModelT) -> dict[str, int]:
    """Adds the quantized operators of `model` to `float_model`; returns their outputs by the name of the feature map.

    Each reads the float feature maps through a QUANTIZE of its own input scale, so its output shows the rounding of its
    inputs, weights and output alone, computed by the kernel that the device runs. Operators that are float in `model`
    are left out.
    """
    writer, source = Writer(float_model), model.subgraphs[0]
    float_maps = {name: int(operator.outputs[0]) for name, operator in feature_maps(float_model).items()}
    makers = {int(operator.outputs[0]): operator for operator in source.operators}
    names = {int(operator.outputs[0]): name for name, operator in feature_maps(model).items()}
    copies: dict[int, int] = {}
    outputs: dict[str, int] = {}

    def float_origin(index: int) -> int:
        """Returns the float feature map that a tensor of the quantized network holds."""
        maker = makers.get(index)
        while maker is not None and operator_name(model, maker) in BETWEEN_TYPES:
            index = int(maker.inputs[0])
            maker = makers.get(index)
        return float_maps.get(names.get(index, ""), int(writer.graph.inputs[0]))

    def copied_tensor(index: int) -> int:
        tensor = source.tensors[index]
        return writer.copied(tensor, model.buffers[tensor.buffer].data)

    def quantized_input(index: int) -> int:
        if index < 0:
            return index
        if index not in copies:
            copies[index] = copied_tensor(index)
            if model.buffers[source.tensors[index].buffer].data is None:
                writer.quantize(float_origin(index), copies[index], version=2)
        return copies[index]

    for name, original in feature_maps(model).items():
        output = int(original.outputs[0])
        if name not in float_maps or tensor_type(source.tensors[output]) not in QUANTIZED:
            continue
        code = model.operatorCodes[original.opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        inputs = [quantized_input(int(index)) for index in original.inputs]
        outputs[name] = copied_tensor(output)
        writer.connect(builtin, inputs, outputs=[outputs[name]], options=original.builtinOptions, version=code.version)
    return outputs


CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
LARGEST_SQNR = 200.0  # decibels, of a map without any error; JSON has no infinity


@dataclass
class Comparison:
    """Sums over all images, by channel (the last axis), of float values and of what stands in their place."""

    signal: np.ndarray = field(default_factory=lambda: np.zeros(1))
    noise: np.ndarray = field(default_factory=lambda: np.zeros(1))
    received: np.ndarray = field(default_factory=lambda: np.zeros(1))
    product: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def add(self, expected: np.ndarray, received: np.ndarray) -> None:
        """Adds the values of one image."""
        expected = expected.reshape(-1, expected.shape[-1])
        received = received.reshape(expected.shape)
        difference = expected - received
        self.signal = self.signal + _by_channel(expected, expected)
        self.noise = self.noise + _by_channel(difference, difference)
        self.received = self.received + _by_channel(received, received)
        self.product = self.product + _by_channel(expected, received)

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise ratio in decibels: each 6 dB are one bit."""
        return float(_decibels(self.signal.sum(), self.noise.sum()))

    @property
    def channel_sqnr(self) -> float:
        """Median of the SQNR of the single channels: low where one large channel takes the steps from all others."""
        return float(np.median(_decibels(self.signal, self.noise)))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; 1 for two maps of zeros."""
        norms = math.sqrt(self.signal.sum() * self.received.sum())
        return float(self.product.sum()) / norms if norms else float(self.signal.sum() == self.received.sum())


@dataclass
class MapError:
    """One feature map: how it is stored, what the float network has there, and how far off the quantized one is.

    `accumulated` is the error with that of all layers before, `local` that of this operator alone on float inputs
    (None where the operator is float). `weights` is the SQNR of the weights in decibels, None without weights.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    weights: float | None
    low: float = 0.0
    high: float = 0.0
    values: int = 0
    clipped: int = 0
    accumulated: Comparison = field(default_factory=Comparison)
    local: Comparison | None = None

    @property
    def clipped_share(self) -> float:
        """Share of the float values that lie outside the range of the quantized map."""
        return self.clipped / max(self.values, 1)


def map_errors(
    float_network: bytes, network: bytes, *, samples: Iterable[list[np.ndarray]], spec: DetectorSpec
) -> list[MapError]:
    """Runs both networks on calibration inputs and returns the error of every feature map, in order of execution.

    Args:
        float_network: of the same weights, with scaled float pixels as input (`edge.export.convert.float_heads`).
        network: quantized, with camera bytes as input; ends at the heads (a raw file).

    Raises:
        InputError: the two are not of the same model.
    """
    model, joined = read_flatbuffer(network), read_flatbuffer(float_network)
    errors = _described(model, joined)
    expected = {name: int(operator.outputs[0]) for name, operator in feature_maps(joined).items()}
    received = {name: int(operator.outputs[0]) for name, operator in feature_maps(model).items()}
    alone = side_by_side(joined, model)
    reference, quantized = keeping_interpreter(write_flatbuffer(joined)), keeping_interpreter(network)
    for (image,) in samples:
        run_on(reference, _towards_bytes(image, model, spec=spec))
        run_on(quantized, spec.unscale(image))
        for error in errors:
            values = reference.get_tensor(expected[error.name])
            error.low, error.high = min(error.low, float(values.min())), max(error.high, float(values.max()))
            error.values += values.size
            error.clipped += _outside(values, error, model=model, index=received[error.name])
            error.accumulated.add(values, _real(quantized, model, index=received[error.name]))
            if error.name in alone:
                error.local = error.local or Comparison()
                error.local.add(values, _real(reference, joined, index=alone[error.name]))
    return errors


def _described(model: schema.ModelT, float_model: schema.ModelT) -> list[MapError]:
    float_maps = feature_maps(float_model)
    errors = []
    for name, operator in feature_maps(model).items():
        if name not in float_maps:
            continue
        tensor = model.subgraphs[0].tensors[operator.outputs[0]]
        scale, zero_point = tensor_quantization(tensor) or (None, None)
        kind = operator_name(model, operator)
        weights = None
        if kind in CONVOLUTIONS:
            weights = _weights_sqnr(
                model, int(operator.inputs[1]), float_model=float_model, float_index=int(float_maps[name].inputs[1])
            )
        shape = tuple(int(side) for side in tensor.shape)
        errors.append(MapError(name, kind, shape, scale, zero_point, weights))
    known = [error.weights for error in errors if error.weights is not None]
    if set(float_maps) - {error.name for error in errors} or float(np.median(known or [0.0])) < 15:
        raise InputError(
            "debug: expected the quantized file of this model. Received: other layers or other weights. "
            "Delete the file and export again."
        )
    return errors


def _by_channel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("nc,nc->c", one, other, dtype=np.float64)  # float32 would give cosines over 1


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):  # no noise at all, or nothing but zeros
        found = 10 * np.log10(signal / noise)
    return np.clip(np.nan_to_num(found, nan=LARGEST_SQNR), -LARGEST_SQNR, LARGEST_SQNR)


def _weights_sqnr(model: schema.ModelT, index: int, *, float_model: schema.ModelT, float_index: int) -> float:
    stored, expected = constant_values(model, index), constant_values(float_model, float_index)
    if stored is None or expected is None or stored.shape != expected.shape:
        return 0.0
    compared = Comparison()
    compared.add(expected, _dequantized(stored, model.subgraphs[0].tensors[index]))
    return compared.sqnr


def _dequantized(stored: np.ndarray, tensor: schema.TensorT) -> np.ndarray:
    if stored.dtype == np.float32:
        return stored
    quantization = tensor.quantization
    shape = [1] * stored.ndim
    if len(quantization.scale) > 1:
        shape[quantization.quantizedDimension] = -1
    scale, zero_point = quantization.scale.reshape(shape), quantization.zeroPoint.reshape(shape)
    return (stored.astype(np.float32) - zero_point.astype(np.float32)) * scale


def _towards_bytes(image: np.ndarray, model: schema.ModelT, *, spec: DetectorSpec) -> np.ndarray:
    """Returns the image moved a little, a ten-thousandth of a grey level, so that it is rounded as in the file.

    (byte - 127.5) / 127.5 lies half way between two steps of the input. The file takes the same one of them always.
    """
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    if tensor_quantization(tensor) is None:  # a network of 16 bits scales its pixels in float
        return image
    scale, zero_point = tensor_quantization(tensor) or (1.0, 0)
    in_file = (spec.unscale(image).astype(np.float32) - zero_point) * scale
    return image + TOWARDS * scale * np.sign(in_file - image).astype(np.float32)


def _real(interpreter: Interpreter, model: schema.ModelT, *, index: int) -> np.ndarray:
    return _dequantized(interpreter.get_tensor(index), model.subgraphs[0].tensors[index])


def _outside(values: np.ndarray, error: MapError, *, model: schema.ModelT, index: int) -> int:
    if error.scale is None or error.zero_point is None:
        return 0
    limits = np.iinfo(tensor_type(model.subgraphs[0].tensors[index]))
    low = (limits.min - error.zero_point - 0.5) * error.scale
    high = (limits.max - error.zero_point + 0.5) * error.scale
    return int(np.count_nonzero((values < low) | (values > high)))
