"""A float network with every quantized operator beside it, fed by the float feature maps: the error of each alone."""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import operator_name, tensor_type
from edge.tflite.layer_names import BETWEEN_TYPES, feature_maps

QUANTIZED = ("int8", "int16")


def side_by_side(float_model: schema.ModelT, model: schema.ModelT) -> dict[str, int]:
    """Adds the quantized operators of `model` to `float_model`; returns their outputs by the name of the feature map.

    Each reads the float feature maps through a QUANTIZE of its own input scale, so its output shows the rounding of its
    inputs, weights and output alone, computed by the kernel that the device runs. Operators that are float in `model`
    are left out.
    """
    graph, source = float_model.subgraphs[0], model.subgraphs[0]
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
        return float_maps.get(names.get(index, ""), int(graph.inputs[0]))

    def copied_tensor(index: int) -> int:
        tensor = copy.copy(source.tensors[index])
        data = model.buffers[tensor.buffer].data
        float_model.buffers.append(schema.BufferT(data=data))
        tensor.buffer = len(float_model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def quantized_input(index: int) -> int:
        if index < 0:
            return index
        if index not in copies:
            copies[index] = copied_tensor(index)
            if model.buffers[source.tensors[index].buffer].data is None:
                operator = schema.OperatorT(
                    opcodeIndex=_code_of(float_model, schema.BuiltinOperator.QUANTIZE, version=2),
                    inputs=np.array([float_origin(index)], np.int32),
                    outputs=np.array([copies[index]], np.int32),
                    builtinOptionsType=schema.BuiltinOptions.QuantizeOptions,
                    builtinOptions=schema.QuantizeOptionsT(),
                )
                graph.operators.append(operator)
        return copies[index]

    for name, original in feature_maps(model).items():
        output = int(original.outputs[0])
        if name not in float_maps or tensor_type(source.tensors[output]) not in QUANTIZED:
            continue
        code = model.operatorCodes[original.opcodeIndex]
        operator = copy.copy(original)
        operator.opcodeIndex = _code_of(float_model, max(code.builtinCode, code.deprecatedBuiltinCode), code.version)
        operator.inputs = np.array([quantized_input(int(index)) for index in original.inputs], np.int32)
        outputs[name] = copied_tensor(output)
        operator.outputs = np.array([outputs[name]], np.int32)
        graph.operators.append(operator)
    return outputs


def _code_of(model: schema.ModelT, builtin: int, version: int) -> int:
    """Returns an operator code of just this version: an older one in the file may not take quantized tensors."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=min(builtin, 127), version=version, builtinCode=builtin)
    )
    return len(model.operatorCodes) - 1
