"""Runs some operators of a network on values that are known already, so that a later part needs no run of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.tflite.flatbuffer import part_of, write_flatbuffer

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
    part, inputs, outputs = part_of(model, operators)
    interpreter = Interpreter(
        model_content=write_flatbuffer(part),
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
