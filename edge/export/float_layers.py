"""Leaves chosen Keras layers of a quantized network in float, with a DEQUANTIZE before and a QUANTIZE behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import add_tensor, constant_values, operator_code, operator_name
from edge.tflite.layer_names import FLOAT_SUFFIX, feature_maps, layer_operators
from keras_retina.foundation.errors import InputError, closest

Operator = schema.BuiltinOperator
Options = schema.BuiltinOptions


def leave_in_float(model: schema.ModelT, float_model: schema.ModelT, layers: Sequence[str]) -> None:
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
    operators: list[schema.OperatorT] = []

    def float_input(own: int, twin: int) -> int:
        values = constant_values(float_model, twin) if twin >= 0 else None
        if twin < 0 or (values is not None and values.dtype != np.float32):  # no bias, or a shape
            return own
        if values is not None:
            if twin not in constants:
                constants[twin] = add_tensor(model, _float_name(model, own), list(values.shape), values)
            return constants[twin]
        if own not in floats:
            floats[own] = leaving[own] if own in leaving else _float_copy(model, own)
            operators.append(_conversion(model, Operator.DEQUANTIZE, own, floats[own]))
        return floats[own]

    for operator in graph.operators:
        if id(operator) in chosen:
            quantized = int(operator.outputs[0])
            pairs = zip(operator.inputs, twins[id(operator)].inputs, strict=True)
            operator.inputs = np.array([float_input(int(own), int(twin)) for own, twin in pairs], np.int32)
            floats[quantized] = leaving[quantized] if quantized in leaving else _float_copy(model, quantized)
            operator.outputs = np.array([floats[quantized]], np.int32)
            operators.append(operator)
            if quantized in stored:
                operators.append(_conversion(model, Operator.QUANTIZE, floats[quantized], quantized))
        elif not (_is_dequantize(model, operator) and int(operator.inputs[0]) in floats):
            operators.append(operator)
    graph.operators = operators
    drop_unused_weights(model)


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
        entry.tensorIndex = _float_copy(model, source)
        graph.operators.append(_conversion(model, Operator.DEQUANTIZE, source, entry.tensorIndex))
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


def drop_unused_weights(model: schema.ModelT) -> None:
    """Empties the buffers of constants that no operator reads."""
    graph = model.subgraphs[0]
    read = {int(index) for operator in graph.operators for index in operator.inputs if index >= 0}
    kept = {graph.tensors[index].buffer for index in read} | {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in kept:
            buffer.data = None


def _is_dequantize(model: schema.ModelT, operator: schema.OperatorT) -> bool:
    return operator_name(model, operator) == "DEQUANTIZE"


def _float_name(model: schema.ModelT, index: int) -> str:
    return model.subgraphs[0].tensors[index].name.decode(errors="replace") + FLOAT_SUFFIX


def _float_copy(model: schema.ModelT, index: int) -> int:
    shape = [int(side) for side in model.subgraphs[0].tensors[index].shape]
    return add_tensor(model, _float_name(model, index), shape)


def _conversion(model: schema.ModelT, builtin: int, source: int, target: int) -> schema.OperatorT:
    is_quantize = builtin == Operator.QUANTIZE
    return schema.OperatorT(
        opcodeIndex=operator_code(model, builtin),
        inputs=np.array([source], np.int32),
        outputs=np.array([target], np.int32),
        builtinOptionsType=Options.QuantizeOptions if is_quantize else Options.DequantizeOptions,
        builtinOptions=schema.QuantizeOptionsT() if is_quantize else schema.DequantizeOptionsT(),
    )
