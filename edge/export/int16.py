"""The `int16` format: int8 weights and 16-bit activations (TFLite 16x8), for networks that 8 bits are too few for.

Camera bytes are scaled in float at the input and quantized behind. LiteRT also runs a QUANTIZE from uint8 to int16, but
a zero point cannot be 127.5: every pixel would be off by half a grey level, a hundred times what 16 bits round.
"""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import constant_values, operator_name, tensor_type
from edge.tflite.layer_names import feature_maps, layers_in
from edge.tflite.writer import Operator, Writer
from keras_retina.foundation.errors import InputError
from keras_retina.model.spec import DetectorSpec

# TensorFlow 2.21 refuses to quantize the first; it quantizes the second, and LiteRT 2.3 then ends the whole process.
WITHOUT_INT16 = {"HARD_SWISH": "hard-swish", "SQUARED_DIFFERENCE": "layer normalization"}


def refuse_without_int16(float_model: schema.ModelT) -> None:
    """Raises InputError, naming the layer, for an operator of a float network that has no 16-bit kernel."""
    for name, operator in feature_maps(float_model).items():
        kind = operator_name(float_model, operator)
        if kind in WITHOUT_INT16:
            raise InputError(
                "int16 export: expected operators with 16-bit activations. "
                f"Received: {kind} ({WITHOUT_INT16[kind]}) of layer {layers_in(name)[0]!r}. "
                "Leave int16 out of export.formats, or choose a backbone without it."
            )


def take_camera_bytes(model: schema.ModelT, spec: DetectorSpec) -> None:
    """Puts the pixel scaling, CAST, SUB and MUL, before a network of float pixels `[1, H, W, 3]`; input uint8 then."""
    graph = model.subgraphs[0]
    scaled = int(graph.inputs[0])
    shape = [int(side) for side in graph.tensors[scaled].shape]
    graph.tensors[scaled].name = b"scaled_image"
    writer = Writer.front(model)
    pixels = writer.tensor("image", shape, kind="uint8")
    floats, centred = writer.tensor("float_image", shape), writer.tensor("centred_image", shape)
    mean = writer.constant([spec.pixel_mean], np.float32, name="pixel_mean")
    factor = writer.constant([1 / spec.pixel_scale], np.float32, name="pixel_factor")
    writer.connect(Operator.CAST, [pixels], outputs=[floats], options=schema.CastOptionsT())
    writer.connect(Operator.SUB, [floats, mean], outputs=[centred], options=schema.SubOptionsT())
    writer.connect(Operator.MUL, [centred, factor], outputs=[scaled], options=schema.MulOptionsT())
    graph.inputs = np.array([pixels], np.int32)
    for entry in model.signatureDefs[0].inputs:
        entry.tensorIndex = pixels


def join_scales(model: schema.ModelT) -> None:
    """Removes every QUANTIZE from int16 to int16: the ranges that are set later give both sides one scale."""
    graph = model.subgraphs[0]
    same: dict[int, int] = {}
    operators = []
    for operator in graph.operators:
        operator.inputs = np.array([same.get(int(index), int(index)) for index in operator.inputs], np.int32)
        if operator_name(model, operator) == "QUANTIZE" and tensor_type(graph.tensors[operator.inputs[0]]) == "int16":
            same[int(operator.outputs[0])] = int(operator.inputs[0])
        else:
            operators.append(operator)
    graph.operators = operators


def own_biases(model: schema.ModelT, float_model: schema.ModelT) -> None:
    """Gives every convolution a bias of its own, from the float network, in the scale of its input times its weights.

    TensorFlow 2.21 writes one 64-bit bias for all calls of a shared layer, right for the input scale of one of them.
    """
    graph, writer = model.subgraphs[0], Writer(model)
    float_maps = feature_maps(float_model)
    for name, operator in feature_maps(model).items():
        if operator_name(model, operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or len(operator.inputs) < 3:
            continue
        activation, weights, bias = (graph.tensors[index] for index in operator.inputs)
        values = constant_values(float_model, int(float_maps[name].inputs[2]))
        scales = weights.quantization.scale.astype(np.float64) * float(activation.quantization.scale[0])
        stored = np.round(values / scales).astype(np.int64)
        own = writer.copied(bias, stored.view(np.uint8))
        graph.tensors[own].quantization = copy.copy(bias.quantization)
        graph.tensors[own].quantization.scale = scales.astype(np.float32)
        operator.inputs = np.array([*operator.inputs[:2], own], np.int32)
