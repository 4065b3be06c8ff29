"""Every order of outputs that clients know is understood, the surest sign first, and no other four outputs are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from edge.detectors.heads.postprocess import OPERATOR_ORDER, OTHER_ORDER, fits, output_roles
from edge.tflite.flatbuffer import read_flatbuffer

SHAPES = {"boxes": [1, 9, 4], "classes": [1, 9], "scores": [1, 9], "count": [1]}
NAMES = {"boxes": "location", "classes": "category", "scores": "score", "count": "number of detections"}


@pytest.fixture
def model(exported):
    return read_flatbuffer(exported["float32"].read_bytes())


def reorder(model, order):
    """Puts the outputs of an exported file, which are in the operator's order, into another one."""
    graph = model.subgraphs[0]
    graph.outputs = np.array([graph.outputs[OPERATOR_ORDER.index(role)] for role in order], np.int32)
    return [SHAPES[role] for role in order]


def hide_operator(model):
    next(code for code in model.operatorCodes if code.customCode).customCode = b"Other_PostProcess"


@pytest.mark.parametrize("order", list(permutations(OPERATOR_ORDER)))
def test_the_operator_tells_any_order_whatever_signature_and_metadata_say(model, order):
    model.signatureDefs[0].outputs[0].name = b"output_9"
    wrong = [NAMES[role] for role in reversed(order)]
    assert output_roles(model, reorder(model, order), metadata_names=wrong) == (
        order,
        "the operator TFLite_Detection_PostProcess",
    )


@pytest.mark.parametrize("order", list(permutations(OPERATOR_ORDER)))
def test_without_it_the_signature_tells_any_order(model, order):
    hide_operator(model)
    assert output_roles(model, reorder(model, order), metadata_names=()) == (order, "the signature output_0..3")


@pytest.mark.parametrize("order", list(permutations(OPERATOR_ORDER)))
def test_without_both_the_metadata_tells_any_order(model, order):
    hide_operator(model)
    model.signatureDefs = None
    names = [NAMES[role] for role in order]
    assert output_roles(model, reorder(model, order), metadata_names=names) == (order, "the names in the metadata")


@pytest.mark.parametrize("order", list(permutations(OPERATOR_ORDER)))
def test_without_all_of_them_two_orders_are_known_by_their_shapes(model, order):
    hide_operator(model)
    model.signatureDefs = None
    found = output_roles(model, reorder(model, order), metadata_names=("a", "b", "c", "d"))
    like = [[SHAPES[role] for role in known] for known in (OPERATOR_ORDER, OTHER_ORDER)]
    shapes = [SHAPES[role] for role in order]
    assert (found is not None) == (shapes in like)
    if order in (OPERATOR_ORDER, OTHER_ORDER):
        assert found is not None
        assert found[0] == order


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [[1, 1000]],
        [[1, 9, 4], [1, 9]],
        [[1, 9, 4], [1, 9], [1, 9]],
        [[1, 9, 5], [1, 9], [1, 9], [1]],
        [[1, 9, 4], [1, 8], [1, 9], [1]],
        [[2, 9, 4], [2, 9], [2, 9], [2]],
        [[1, 9, 4], [1, 9], [1, 9], [9]],
    ],
)
def test_other_shapes_are_no_detector(shapes):
    assert not fits(OPERATOR_ORDER, shapes)
    assert fits(OPERATOR_ORDER, [SHAPES[role] for role in OPERATOR_ORDER])
