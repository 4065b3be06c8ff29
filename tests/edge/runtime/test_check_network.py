"""A network is followed before LiteRT sees it: what LiteRT would follow without looking is refused in one line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.runtime import check_network
from edge.tflite.flatbuffer import write_flatbuffer
from edge.tflite.graph import read_graphs
from keras_retina.foundation.errors import InputError

ADD, CONV_2D, DEPTHWISE_CONV_2D, RESIZE, WHILE = 0, 3, 4, 97, 119
FLOAT, INT32 = 0, 2


def tensor(shape, buffer=0, *, kind=FLOAT, name=b"t") -> schema.TensorT:
    return schema.TensorT(shape=np.array(shape, np.int32), type=kind, buffer=buffer, name=name)


def operator(code, inputs, outputs, options=None, kind=0) -> schema.OperatorT:
    inputs, outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    return schema.OperatorT(
        opcodeIndex=code, inputs=inputs, outputs=outputs, builtinOptions=options, builtinOptionsType=kind
    )


def a_model() -> schema.ModelT:
    """input [1, 4, 4, 2] -> convolution 1 x 1 to 3 channels -> added to itself."""
    values = [np.ones(6, np.float32), np.zeros(3, np.float32)]
    buffers = [schema.BufferT(), *(schema.BufferT(data=one.view(np.uint8)) for one in values)]
    tensors = [
        tensor([1, 4, 4, 2]),
        tensor([3, 1, 1, 2], 1),
        tensor([3], 2),
        tensor([1, 4, 4, 3]),
        tensor([1, 4, 4, 3]),
    ]
    convolution = schema.Conv2DOptionsT(strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    operators = [
        operator(0, [0, 1, 2], [3], convolution, schema.BuiltinOptions.Conv2DOptions),
        operator(1, [3, 3], [4], schema.AddOptionsT(), schema.BuiltinOptions.AddOptions),
    ]
    graph = schema.SubGraphT(tensors=tensors, operators=operators, name=b"main")
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([4], np.int32)
    codes = [schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1) for code in (CONV_2D, ADD)]
    return schema.ModelT(version=3, operatorCodes=codes, buffers=buffers, subgraphs=[graph])


def refusal(model: schema.ModelT) -> str:
    with pytest.raises(ValueError) as error:
        check_network(write_flatbuffer(model))
    return str(error.value)


def test_a_sound_network_is_accepted_and_runs():
    from ai_edge_litert.interpreter import Interpreter

    data = write_flatbuffer(a_model())
    assert check_network(data) == 1
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.ones((1, 4, 4, 2), np.float32))
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(4), np.full((1, 4, 4, 3), 4.0, np.float32))


@pytest.mark.parametrize("number", [-1, -2, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("place", ["operator input", "operator output", "input", "output"])
def test_the_index_of_a_tensor_that_is_not_there_is_refused(place, number):
    model = a_model()
    graph = model.subgraphs[0]
    if place == "operator input":
        graph.operators[0].inputs[0] = number
    elif place == "operator output":
        graph.operators[0].outputs[0] = number
    elif place == "input":
        graph.inputs[0] = number
    else:
        graph.outputs[0] = number
    assert f"number {number} of a tensor, of which there are 5" in refusal(model)


def test_an_operator_or_a_buffer_that_is_not_there_is_refused():
    model = a_model()
    model.subgraphs[0].operators[1].opcodeIndex = 2
    assert "number 2 of a kind of operator" in refusal(model)
    model = a_model()
    model.subgraphs[0].tensors[1].buffer = 3
    assert "number 3 of a buffer" in refusal(model)


@pytest.mark.parametrize("data", [None, np.zeros(0, np.uint8)])
def test_a_constant_without_data_is_refused(data):
    model = a_model()
    model.buffers[1].data = data
    assert "tensor 1, which an operator reads and nothing before it computes" in refusal(model)


@pytest.mark.parametrize("size", [1, 23, 25])
def test_a_constant_with_data_of_another_size_is_refused(size):
    model = a_model()
    model.buffers[1].data = np.zeros(size, np.uint8)
    assert f"{size} bytes of data for a constant of shape [3, 1, 1, 2], which has 24" in refusal(model)


@pytest.mark.parametrize("shape", [[1, -2, 4, 3], [-(2**31)], [2**31 - 1] * 4, [65_536] * 4, [1, 2**15, 2**15, 3]])
def test_a_shape_that_is_none_or_needs_too_much_memory_is_refused(shape):
    model = a_model()
    model.subgraphs[0].tensors[3].shape = np.array(shape, np.int32)
    assert "a tensor of shape" in refusal(model)


def test_feature_maps_that_are_too_much_together_are_refused():
    model = a_model()
    for number in (0, 3, 4):
        model.subgraphs[0].tensors[number].shape = np.array([1, 2**14, 2**14], np.int32)  # a GiB each
    assert "feature maps of 3221225472 bytes at one moment" in refusal(model)


def test_operators_out_of_order_and_written_constants_are_refused():
    model = a_model()
    model.subgraphs[0].operators.reverse()
    assert "tensor 3, which an operator reads and nothing before it computes" in refusal(model)
    model = a_model()
    model.subgraphs[0].operators[1].outputs[0] = 2
    assert "tensor 2, which an operator would write over" in refusal(model)


def test_a_size_in_the_file_that_makes_a_huge_feature_map_is_refused():
    model = a_model()
    model.operatorCodes[1] = schema.OperatorCodeT(builtinCode=RESIZE, deprecatedBuiltinCode=RESIZE, version=1)
    model.buffers.append(schema.BufferT(data=np.array([60_000, 60_000], np.int32).view(np.uint8)))
    graph = model.subgraphs[0]
    graph.tensors.append(tensor([2], 3, kind=INT32))
    graph.operators[1] = operator(1, [3, 5], [4])
    assert "a tensor of shape [1, 60000, 60000, 3]" in refusal(model)


def test_a_depthwise_convolution_without_bias_is_refused():
    """LiteRT 2.1 reads the bias of one with two inputs from nowhere, and dies."""
    model = a_model()
    model.operatorCodes[0] = schema.OperatorCodeT(
        builtinCode=DEPTHWISE_CONV_2D, deprecatedBuiltinCode=DEPTHWISE_CONV_2D, version=1
    )
    model.subgraphs[0].operators[0].inputs = np.array([0, 1], np.int32)
    assert "without a bias" in refusal(model)


def test_graphs_that_run_each_other_in_a_circle_are_refused(tmp_path):
    model = a_model()
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=WHILE, deprecatedBuiltinCode=WHILE, version=1))
    options = schema.WhileOptionsT(condSubgraphIndex=0, bodySubgraphIndex=0)
    model.subgraphs[0].operators[1] = operator(2, [3], [4], options, schema.BuiltinOptions.WhileOptions)
    path = tmp_path / "circle.tflite"
    path.write_bytes(write_flatbuffer(model))
    with pytest.raises(InputError, match="circle.tflite: expected a whole .tflite file. Received: .*in a circle"):
        read_graphs(path)


def test_every_cut_is_refused_and_a_shared_list_is_not_followed_without_end():
    data = write_flatbuffer(a_model())
    accepted = []
    for length in range(0, len(data), 7):
        try:
            check_network(data[:length])
            accepted.append(length)
        except ValueError:
            pass
    assert not accepted


def test_what_is_accepted_of_changed_bytes_does_not_end_the_process(tmp_path):
    """300 changed networks; those that are accepted are run in one process, which must not die."""
    data, generator, accepted = write_flatbuffer(a_model()), np.random.default_rng(0), 0
    for number in range(300):
        changed = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            changed[generator.integers(len(data))] = generator.integers(256)
        try:
            check_network(bytes(changed))
        except ValueError:
            continue
        (tmp_path / f"{number}.tflite").write_bytes(changed)
        accepted += 1
    assert 30 < accepted < 270
    program = (
        "import glob, sys\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "for path in sorted(glob.glob(sys.argv[1] + '/*.tflite')):\n"
        "    print(path, flush=True)\n"
        "    try:\n"
        "        one = Interpreter(model_path=path, num_threads=1)\n"
        "        one.allocate_tensors()\n"
        "        one.invoke()\n"
        "    except (ValueError, RuntimeError):\n"
        "        pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout.splitlines()[-1]
    assert len(ended.stdout.splitlines()) == accepted
