"""An operator that is cut out computes what it computes in its file, so its time is that of the same work."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.benchmark.operators import fixed_operators, one_operator
from edge.detectors.open_file import example_inputs, set_inputs
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, write_flatbuffer

WITHOUT_DELEGATE = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


@pytest.mark.parametrize("name", ["float16_raw", "int8"])
def test_each_operator_alone_gives_what_it_gives_in_the_whole_file(exported, name):
    data = exported[name].read_bytes()
    model = read_flatbuffer(data)
    whole = Interpreter(
        model_content=data,
        experimental_op_resolver_type=WITHOUT_DELEGATE,
        experimental_preserve_all_tensors=True,
    )
    whole.allocate_tensors()
    set_inputs(whole, example_inputs(whole.get_input_details()))
    whole.invoke()
    operators = model.subgraphs[0].operators
    for number in range(0, len(operators), 3):  # a third: each kind is there
        outputs = [int(index) for index in operators[number].outputs]
        shapes = {int(index): list(whole.get_tensor(int(index)).shape) for index in outputs}
        small, inputs = one_operator(model, number, shapes=shapes)
        alone = Interpreter(model_content=write_flatbuffer(small), experimental_op_resolver_type=WITHOUT_DELEGATE)
        alone.allocate_tensors()
        set_inputs(alone, [whole.get_tensor(index) for index in inputs])
        alone.invoke()
        for index, detail in zip(outputs, alone.get_output_details(), strict=True):
            np.testing.assert_array_equal(alone.get_tensor(detail["index"]), whole.get_tensor(index))


def test_weights_that_are_unpacked_go_with_the_operator_that_reads_them(exported):
    model = read_flatbuffer(exported["float16_raw"].read_bytes())
    fixed = fixed_operators(model)
    operators = model.subgraphs[0].operators
    assert {operator_name(model, one) for one in operators if id(one) in fixed} == {"DEQUANTIZE"}
    number = next(place for place, one in enumerate(operators) if operator_name(model, one) == "CONV_2D")
    small, inputs = one_operator(model, number, shapes={})
    assert len(inputs) == 1
    names = [operator_name(small, one) for one in small.subgraphs[0].operators]
    assert names[-1] == "CONV_2D"
    assert set(names[:-1]) == {"DEQUANTIZE"}
