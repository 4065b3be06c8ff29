"""A part of a network computes what it computes inside of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.convert import float_heads
from edge.quantize.feature_values import keeping_interpreter, run_on
from edge.quantize.parts import run_operators
from edge.tflite.flatbuffer import operator_name, part_of, read_flatbuffer


@pytest.fixture(scope="module")
def whole(tiny_model, tiny_spec):
    """A float network, its graph, and every tensor for one image."""
    network = float_heads(tiny_model, tiny_spec)
    image = np.random.default_rng(0).uniform(-1, 1, (1, tiny_spec.height, tiny_spec.width, 3)).astype(np.float32)
    interpreter = keeping_interpreter(network)
    run_on(interpreter, image)
    return read_flatbuffer(network), interpreter.get_tensor


def test_every_operator_alone_gives_its_outputs(whole):
    model, value = whole
    checked = set()
    for operator in model.subgraphs[0].operators:
        _, inputs, outputs = part_of(model, [operator])
        assert outputs == [int(index) for index in operator.outputs]
        if not inputs or operator_name(model, operator) in checked:
            continue
        checked.add(operator_name(model, operator))
        (found,) = run_operators(model, [operator], [{index: value(index) for index in inputs}])
        for index in outputs:
            np.testing.assert_allclose(found[index], value(index), atol=1e-5)
    assert "CONV_2D" in checked and "DEPTHWISE_CONV_2D" in checked


def test_operators_after_each_other_need_only_what_none_of_them_makes(whole):
    model, value = whole
    operators = model.subgraphs[0].operators
    _, inputs, outputs = part_of(model, operators[2:6])
    assert not set(inputs) & set(outputs) and len(outputs) == 4
    images = [{index: value(index) for index in inputs}] * 2
    first, second = run_operators(model, operators[2:6], images)
    for index in outputs:
        np.testing.assert_allclose(first[index], value(index), atol=1e-5)
        assert (first[index] == second[index]).all()


def test_no_image_gives_nothing_and_a_missing_value_is_an_error(whole):
    model, _ = whole
    operator = model.subgraphs[0].operators[-1]
    assert run_operators(model, [operator], []) == []
    with pytest.raises(KeyError):
        run_operators(model, [operator], [{}])
