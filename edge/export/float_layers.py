"""Leaves chosen Keras layers of a quantized network in float, with a DEQUANTIZE before and a QUANTIZE behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import constant_values, operator_name
from edge.tflite.layer_names import FLOAT_SUFFIX, feature_maps, layer_operators
from edge.tflite.writer import Writer, drop_unused_buffers
from keras_retina.foundation.errors import InputError, closest


def leave_in_float(model: schema.ModelT, float_model: schema.ModelT, *, layers: Sequence[str]) -> None:
    """Replaces the operators of `layers` in a quantized network by those of the float network it was made from.

    Between two of them the feature map stays float; elsewhere it is stored as before. A shared layer is replaced on
    all levels.

    Raises:
        InputError: a name that is no layer of the network, or of a layer that left no operator.
    """
    graph = model.subgraphs[0]
    chosen = chosen_operators(model, layers)
    float_maps = feature_maps(float_model)
    twins = {id(operator): float_maps[name] for name, operator in feature_maps(model).items()}
    leaving = {int(op.inputs[0]): int(op.outputs[0]) for op in graph.operators if _is_dequantize(model, op)}
    stored = {
        int(index)
        for operator in graph.operators
        if id(operator) not in chosen and not _is_dequantize(model, operator)
        for index in operator.inputs
    } | {int(index) for index in graph.outputs}  # a raw file ends at quantized heads, which nothing in it reads
    floats: dict[int, int] = {}  # quantized feature map -> the same in float, where there is one by now
    constants: dict[int, int] = {}

    def float_input(writer: Writer, own: int, twin: int) -> int:
        values = constant_values(float_model, twin) if twin >= 0 else None
        if twin < 0 or (values is not None and values.dtype != np.float32):  # no bias, or a shape
            return own
        if values is not None:
            if twin not in constants:
                constants[twin] = writer.constant(values, np.float32, name=_float_name(model, own))
            return constants[twin]
        if own not in floats:
            floats[own] = leaving[own] if own in leaving else _float_copy(writer, own)
            writer.dequantize(own, floats[own])
        return floats[own]

    for operator in list(graph.operators):
        if id(operator) in chosen:
            before, quantized = Writer.before(model, operator), int(operator.outputs[0])
            pairs = zip(operator.inputs, twins[id(operator)].inputs, strict=True)
            operator.inputs = np.array([float_input(before, int(own), int(twin)) for own, twin in pairs], np.int32)
            floats[quantized] = leaving[quantized] if quantized in leaving else _float_copy(before, quantized)
            operator.outputs = np.array([floats[quantized]], np.int32)
            if quantized in stored:
                Writer.behind(model, operator).quantize(floats[quantized], quantized)
        elif _is_dequantize(model, operator) and int(operator.inputs[0]) in floats:
            graph.operators.remove(operator)
    drop_unused_buffers(model)


def end_in_float(model: schema.ModelT) -> None:
    """Puts a DEQUANTIZE behind each head of a raw file that is stored in 8 bits; undoes `tails.end_at_heads`."""
    graph = model.subgraphs[0]
    makers = {int(operator.outputs[0]): operator for operator in graph.operators}
    for entry in model.signatureDefs[0].outputs:
        head = source = int(entry.tensorIndex)
        if graph.tensors[head].type == schema.TensorType.FLOAT32:
            continue
        if operator_name(model, makers[head]) == "QUANTIZE":  # to the uint8 that MediaPipe takes
            source = int(makers[head].inputs[0])
            graph.operators.remove(makers[head])
        writer = Writer(model)
        entry.tensorIndex = _float_copy(writer, source)
        writer.dequantize(source, entry.tensorIndex)
        graph.outputs = np.where(graph.outputs == head, entry.tensorIndex, graph.outputs).astype(np.int32)


def chosen_operators(model: schema.ModelT, layers: Sequence[str]) -> set[int]:
    """Returns the `id` of every operator of `layers`.

    Raises:
        InputError: a name that is no layer of the network, or of a layer that left no operator.
    """
    known = layer_operators(model)
    for layer in layers:
        if layer not in known:
            raise InputError(
                "export.float_layers: expected names of Keras layers that compute something in the file. "
                f"Received: {layer!r}. {closest(layer, known)}"
            )
    return {id(operator) for layer in layers for operator in known[layer]}


def _is_dequantize(model: schema.ModelT, operator: schema.OperatorT) -> bool:
    return operator_name(model, operator) == "DEQUANTIZE"


def _float_name(model: schema.ModelT, index: int) -> str:
    return model.subgraphs[0].tensors[index].name.decode(errors="replace") + FLOAT_SUFFIX


def _float_copy(writer: Writer, index: int) -> int:
    shape = [int(side) for side in writer.graph.tensors[index].shape]
    return writer.tensor(_float_name(writer.model, index), shape)
