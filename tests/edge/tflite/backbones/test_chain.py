"""A chain of convolutions in a graph: heads beside it and residual connections lead nowhere else."""

from __future__ import annotations

import numpy as np

from edge.tflite.backbones.chain import kind_and_shape, longest_chain
from edge.tflite.backbones.convolutions import IMAGE, PlacedConvolution
from keras_retina.model.weights.make import FoldedConvolution


def placed(shape: tuple[int, ...], *before: int) -> PlacedConvolution:
    folded = FoldedConvolution(np.zeros(shape, np.float32), np.zeros(shape[-1], np.float32), is_depthwise=False)
    return PlacedConvolution(folded, stride=1, before=frozenset(before), reads=0, writes=0, is_rounded=False)


STEM, SAME, LAST = (3, 3, 3, 8), (1, 1, 8, 8), (1, 1, 8, 5)
WANTED = [(False, shape) for shape in (STEM, SAME, SAME, LAST)]


def test_a_head_of_the_same_shape_and_the_way_past_a_block_are_left():
    head, past = placed(SAME, 0), placed(LAST, 2, 0, 3)  # number 1 ends; LAST reads an addition of three outputs
    convolutions = [placed(STEM, IMAGE), head, placed(SAME, 0), placed(SAME, 2), past]
    assert longest_chain(WANTED, convolutions) == [0, 2, 3, 4]


def test_the_longest_beginning_is_told_where_something_else_follows():
    convolutions = [placed(STEM, IMAGE), placed(SAME, 0), placed((3, 3, 8, 8), 1)]
    assert longest_chain(WANTED, convolutions) == [0, 1]
    assert longest_chain(WANTED, []) == []


def test_a_chain_begins_at_the_image():
    assert longest_chain(WANTED, [placed(SAME, IMAGE), placed(STEM, 0)]) == []
    assert kind_and_shape(placed(STEM, IMAGE)) == (False, STEM)
