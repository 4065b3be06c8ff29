"""Operators stand where the writer was put, LiteRT runs them, and only buffers that nothing needs are emptied."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.tflite.flatbuffer import constant_values, operator_name, read_flatbuffer, tensor_type, write_flatbuffer
from edge.tflite.writer import Operator, Writer, drop_unused_buffers


def doubling() -> schema.ModelT:
    """A graph `x` -> MUL by 2 -> `y`, float32 [3]."""
    model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    model.subgraphs = [schema.SubGraphT(tensors=[], operators=[], name=b"main")]
    writer = Writer(model)
    x, y, two = writer.tensor("x", [3]), writer.tensor("y", [3]), writer.constant([2], np.float32, name="two")
    writer.connect(Operator.MUL, [x, two], outputs=[y], options=schema.MulOptionsT())
    model.subgraphs[0].inputs, model.subgraphs[0].outputs = np.array([x], np.int32), np.array([y], np.int32)
    return model


def names(model: schema.ModelT) -> list[str]:
    return [operator_name(model, operator) for operator in model.subgraphs[0].operators]


def run(model: schema.ModelT, values: list[float]) -> list[float]:
    interpreter = Interpreter(model_content=write_flatbuffer(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array(values, np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()


def test_operators_at_the_end_follow_each_other():
    model = doubling()
    graph, writer = model.subgraphs[0], Writer(model)
    less = writer.arithmetic(Operator.SUB, 1, right=writer.constant([5], np.float32), shape=[3])
    graph.outputs = np.array([writer.add(Operator.RELU, [less], shape=[3])], np.int32)
    assert names(model) == ["MUL", "SUB", "RELU"]
    assert run(model, [1.0, 3.0, -1.0]) == [0.0, 1.0, 0.0]


def test_operators_in_front_run_before_all_others_in_the_order_they_were_added():
    model = doubling()
    graph, writer = model.subgraphs[0], Writer.front(model)
    pixels, floats = writer.tensor("image", [3]), writer.tensor("floats", [3])
    writer.connect(Operator.RELU, [pixels], outputs=[floats])
    writer.connect(Operator.ADD, [floats, writer.constant([1], np.float32)], outputs=[0], options=schema.AddOptionsT())
    graph.inputs = np.array([pixels], np.int32)
    assert names(model) == ["RELU", "ADD", "MUL"]
    assert run(model, [-4.0, 0.0, 3.0]) == [2.0, 2.0, 8.0]


@pytest.mark.parametrize(
    ("place", "order", "result"),
    [(Writer.before, ["MUL", "RELU", "SUB"], [-1.0, 1.0]), (Writer.behind, ["MUL", "SUB", "RELU"], [0.0, 1.0])],
)
def test_an_operator_stands_before_or_behind_another(place, order, result):
    model = doubling()
    graph, writer = model.subgraphs[0], Writer(model)
    less = writer.arithmetic(Operator.SUB, 1, right=writer.constant([1], np.float32), shape=[3])
    graph.outputs = np.array([less], np.int32)
    subtract = graph.operators[1]
    if place == Writer.before:
        subtract.inputs[0] = place(model, subtract).add(Operator.RELU, [1], shape=[3])
    else:
        graph.outputs = np.array([place(model, subtract).add(Operator.RELU, [less], shape=[3])], np.int32)
    assert names(model) == order
    assert run(model, [-1.0, 1.0, 1.0])[:2] == result


def test_the_neighbour_must_be_in_the_graph():
    with pytest.raises(ValueError, match="not in list"):
        Writer.before(doubling(), schema.OperatorT())


def test_a_version_is_that_very_one_and_without_it_whatever_the_file_has():
    model = doubling()
    writer = Writer(model)
    stored = writer.tensor("stored", [3], kind="int8")
    writer.quantize(1, stored)
    writer.quantize(1, stored, version=2)
    writer.quantize(1, stored, version=2)
    writer.quantize(1, stored)
    operators = model.subgraphs[0].operators[1:]
    versions = [model.operatorCodes[operator.opcodeIndex].version for operator in operators]
    assert versions == [1, 2, 2, 1]
    assert len(model.operatorCodes) == 3  # MUL and two of QUANTIZE


def test_a_code_above_127_and_a_custom_one_are_found_again():
    model = doubling()
    for _ in range(2):
        Writer(model).add(Operator.BROADCAST_TO, [1], shape=[3])  # 130: older readers see 127 instead
        for name in ("one", "other"):
            Writer(model).connect_custom(name, [1], outputs=[1], options=b"options")
    codes = model.operatorCodes[1:]
    assert [(code.deprecatedBuiltinCode, code.builtinCode, code.customCode) for code in codes] == [
        (127, 130, None), (32, 32, b"one"), (32, 32, b"other")
    ]  # fmt: skip
    assert names(model)[1:] == ["BROADCAST_TO", "one", "other"] * 2
    assert bytes(model.subgraphs[0].operators[2].customOptions) == b"options"


@pytest.mark.parametrize(
    ("values", "kind", "name"),
    [([[1, 2], [3, 4]], np.int32, "int32"), (5, np.float32, "float32"), ([], np.float16, "float16"),
     ([2**40], np.int64, "int64")],
)  # fmt: skip
def test_a_constant_has_shape_type_and_bytes_of_its_values(values, kind, name):
    model = doubling()
    tensor = model.subgraphs[0].tensors[Writer(model).constant(values, kind, name="c")]
    expected = np.array(values, kind)
    assert (tuple(tensor.shape), tensor_type(tensor), tensor.name) == (expected.shape, name, b"c")
    assert bytes(model.buffers[tensor.buffer].data) == expected.tobytes()


def test_a_copied_tensor_shares_no_buffer_with_the_first():
    model = doubling()
    first = model.subgraphs[0].tensors[2]
    copied = model.subgraphs[0].tensors[Writer(model).copied(first, np.frombuffer(b"abcd", np.uint8))]
    assert copied.name == first.name and copied.buffer != first.buffer
    assert bytes(model.buffers[first.buffer].data) == np.float32(2).tobytes()
    assert bytes(model.buffers[copied.buffer].data) == b"abcd"


def test_only_constants_that_nothing_needs_are_emptied():
    model = doubling()
    graph, writer = model.subgraphs[0], Writer(model)
    unread, returned = writer.constant([1], np.float32), writer.constant([3], np.float32)
    graph.outputs = np.array([1, returned], np.int32)
    graph.operators[0].inputs = np.array([*graph.operators[0].inputs, -1], np.int32)  # -1: an input that is left out
    model.buffers.append(schema.BufferT(data=np.frombuffer(b"described", np.uint8)))
    model.metadata = [schema.MetadataT(name=b"m", buffer=len(model.buffers) - 1)]
    before = [buffer.data for buffer in model.buffers]
    emptied = graph.tensors[unread].buffer
    drop_unused_buffers(model)
    for number, (buffer, data) in enumerate(zip(model.buffers, before, strict=True)):
        assert buffer.data is (None if number == emptied else data)
    assert before[emptied] is not None


def test_nothing_is_emptied_of_a_file_without_constants_or_operators():
    model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    model.subgraphs = [schema.SubGraphT(tensors=[], operators=[], outputs=np.array([], np.int32))]
    drop_unused_buffers(model)
    assert [buffer.data for buffer in model.buffers] == [None]


def with_values_behind() -> bytes:
    """The file of `doubling` with the constant behind the flatbuffer, as writers of large files put it."""
    model = doubling()
    place = model.subgraphs[0].tensors[2].buffer
    values, model.buffers[place].data = model.buffers[place].data.tobytes(), None
    model.buffers[place].offset = model.buffers[place].size = 2**20  # as long in the file as the numbers that follow
    length = len(write_flatbuffer(model))
    model.buffers[place].offset, model.buffers[place].size = length, len(values)
    return write_flatbuffer(model) + values


def test_values_behind_the_flatbuffer_are_read_and_written_inside():
    data = with_values_behind()
    model = read_flatbuffer(data)
    np.testing.assert_array_equal(constant_values(model, 2), np.float32([2]))
    assert run(model, [1.0, 2.0, 3.0]) == [2.0, 4.0, 6.0]


def test_values_behind_the_end_of_the_file_are_refused():
    with pytest.raises(ValueError, match="ends at byte"):
        read_flatbuffer(with_values_behind()[:-1])
