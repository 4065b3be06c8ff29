"""The second quantizer: ai-edge-quantizer, Google's for LiteRT, in place of TensorFlow's and of what we add to it.

It works on a finished float network: ranges are the least and the greatest value of each feature map on the calibration
images, and rounding is to the nearest. `export.quantizer: ai_edge` chooses it. The channels are equalized as for the
other quantizer, because that is done to the float network.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.export.convert import (
    Samples,
    balanced_model,
    check_input_quantization,
    check_operators,
    convert_heads,
    float_heads,
)
from edge.export.int16 import take_camera_bytes
from edge.tflite.flatbuffer import read_flatbuffer, tensor_quantization, write_flatbuffer
from edge.tflite.writer import Writer
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec

ACTIVATION_BITS = {"int8": 8, "int4": 8, "int16": 16}


def ai_edge_heads(model: keras.Model, spec: DetectorSpec, *, kind: str, samples: Samples | None = None) -> bytes:
    """Converts the detector like `convert_heads`, with the other quantizer.

    Raises:
        InputError: as `convert_heads` and `ai_edge_network`.
        ValueError: `int8`, `int16` or `int4` without samples.
    """
    if kind == "dynamic":
        network = ai_edge_network(convert_heads(model, spec, kind="float32"), spec, kind=kind)
    elif samples is None:
        raise ValueError(f"{kind} export: expected calibration inputs. Received: samples=None. Pass a function.")
    else:
        network = ai_edge_network(float_heads(balanced_model(model, samples), spec), spec, kind=kind, samples=samples)
    if kind in ("int8", "int4"):
        check_input_quantization(network, spec)
    check_operators(network, kind)
    if kind == "int16":
        take_camera_bytes(network, spec)
    return write_flatbuffer(network)


def ai_edge_network(
    float_network: bytes, spec: DetectorSpec, *, kind: str, samples: Samples | None = None
) -> schema.ModelT:
    """Quantizes a float network; the heads stay float32 outputs behind a DEQUANTIZE each.

    Args:
        float_network: takes pixels scaled as for training. `dynamic` takes any input, and leaves it as it is.
        kind: `int8` and `int4` take uint8 pixels then, `int16` the same scaled floats. Kernels have 4 bits in `int4`,
            but for depthwise ones, and 8 in all others.
        samples: calibration inputs, each `[float32 [1, H, W, 3]]`; none for `dynamic`.

    Raises:
        InputError: the package is not installed, or it has no such form of an operator of the network.
    """
    recipes, quantizers, algorithms = _package()
    manager = recipes.RecipeManager()
    everything = {"regex": ".*", "operation_name": "*"}
    if kind == "dynamic":
        manager.add_dynamic_config(**everything, num_bits=8)
    else:
        manager.add_static_config(**everything, activation_num_bits=ACTIVATION_BITS[kind], weight_num_bits=8)
        if kind == "int4":
            manager.add_static_config(".*", "CONV_2D", activation_num_bits=8, weight_num_bits=4)
        for end in ("OUTPUT",) if kind != "int16" else ("INPUT", "OUTPUT"):
            manager.add_quantization_config(".*", end, algorithm_key=algorithms.AlgorithmName.NO_QUANTIZE)
    quantizer = quantizers.Quantizer(bytearray(float_network), manager.get_quantization_recipe())
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            ranges = _calibrated(quantizer, float_network, spec, samples=samples) if samples else None
            found = quantizer.quantize(ranges, enable_progress_report=False).quantized_model
    except InputError:  # of a calibration image
        raise
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{kind} export: expected a network that ai-edge-quantizer has a {kind} form of. Received: "
            f"{' '.join(str(error).split())[:300]}. Use export.quantizer: tensorflow."
        ) from error
    network = read_flatbuffer(bytes(found))
    if kind in ("int8", "int4"):
        _take_unsigned(network)
    return network


def _package() -> tuple[Any, Any, Any]:
    try:
        from ai_edge_quantizer import algorithm_manager, quantizer, recipe_manager
    except ImportError as error:
        raise InputError(
            f"export.quantizer: expected the package ai-edge-quantizer. Received: {error}. "
            "Run: pip install 'keras-retina[ai_edge]'"
        ) from error
    return recipe_manager, quantizer, algorithm_manager


def _calibrated(quantizer: Any, float_network: bytes, spec: DetectorSpec, *, samples: Samples) -> dict[str, Any]:
    """Returns the ranges; the input has all that a camera can show, whatever the images have."""
    network = read_flatbuffer(float_network)
    signature = network.signatureDefs[0]
    name = signature.inputs[0].name.decode()
    ranges = quantizer.calibrate({signature.signatureKey.decode(): [{name: image} for (image,) in samples()]})
    image = network.subgraphs[0].tensors[signature.inputs[0].tensorIndex].name.decode()
    darkest, brightest = spec.scale(np.array([0, 255]))
    ranges[image] |= {"min": np.full_like(ranges[image]["min"], darkest)}
    ranges[image] |= {"max": np.full_like(ranges[image]["max"], brightest)}
    return ranges


def _take_unsigned(network: schema.ModelT) -> None:
    """Puts a QUANTIZE from uint8 before an int8 input: the same scale, a zero point 128 higher."""
    graph = network.subgraphs[0]
    inner = int(graph.inputs[0])
    scale, zero_point = tensor_quantization(graph.tensors[inner]) or (0.0, 0)
    writer = Writer.front(network)
    pixels = writer.tensor("image", [int(side) for side in graph.tensors[inner].shape], kind="uint8")
    graph.tensors[pixels].quantization = schema.QuantizationParametersT(
        scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point + 128], np.int64)
    )
    graph.tensors[inner].name = b"signed_image"
    writer.quantize(pixels, inner)
    graph.inputs = np.array([pixels], np.int32)
    for entry in network.signatureDefs[0].inputs:
        entry.tensorIndex = pixels
