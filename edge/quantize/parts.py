"""Runs some operators of a network on values that are known already, so that a later part needs no run of the whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.tflite.flatbuffer import write_flatbuffer

Values = dict[int, np.ndarray]
"""Tensor of the whole network -> what it holds for one image."""


def run_operators(
    model: schema.ModelT, operators: Sequence[schema.OperatorT], images: Sequence[Values]
) -> list[Values]:
    """Returns for each image what the operators compute, by the tensors of the whole network.

    Args:
        operators: of the first graph, in the order of execution.
        images: the values of every tensor that the operators read and do not make.
    """
    network, inputs, outputs = part_of(model, operators)
    interpreter = Interpreter(
        model_content=network,
        num_threads=2,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    into = [details["index"] for details in interpreter.get_input_details()]
    out_of = [details["index"] for details in interpreter.get_output_details()]
    found = []
    for values in images:
        for place, index in zip(into, inputs, strict=True):
            interpreter.set_tensor(place, values[index])
        interpreter.invoke()
        found.append({index: interpreter.get_tensor(place) for place, index in zip(out_of, outputs, strict=True)})
    return found


def part_of(model: schema.ModelT, operators: Sequence[schema.OperatorT]) -> tuple[bytes, list[int], list[int]]:
    """Returns a network of these operators alone, and which tensors of the whole are its inputs and its outputs.

    Everything that an operator makes is an output.
    """
    graph = model.subgraphs[0]
    outputs = [int(index) for operator in operators for index in operator.outputs]
    read = dict.fromkeys(int(index) for operator in operators for index in operator.inputs if index >= 0)
    inputs = [index for index in read if index not in outputs and not _is_constant(model, index)]
    places = {index: place for place, index in enumerate(dict.fromkeys([*read, *outputs]))}
    buffers, tensors = [schema.BufferT()], []
    for index in places:
        tensor = copy.copy(graph.tensors[index])
        buffer = model.buffers[tensor.buffer]
        tensor.buffer = 0
        if _is_constant(model, index):
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        tensors.append(tensor)
    moved = []
    for operator in operators:
        one = copy.copy(operator)
        one.inputs = np.array([places[int(index)] if index >= 0 else -1 for index in operator.inputs], np.int32)
        one.outputs = np.array([places[int(index)] for index in operator.outputs], np.int32)
        one.intermediates = None
        moved.append(one)
    part = schema.SubGraphT(tensors=tensors, operators=moved, name=b"main")
    part.inputs = np.array([places[index] for index in inputs], np.int32)
    part.outputs = np.array([places[index] for index in outputs], np.int32)
    whole = schema.ModelT(version=3, operatorCodes=model.operatorCodes, buffers=buffers, subgraphs=[part])
    return write_flatbuffer(whole), inputs, outputs


def _is_constant(model: schema.ModelT, index: int) -> bool:
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0
