"""Values of a cell become the boxes that were counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detectors.heads.grid import cells, means
from edge.detectors.heads.levels import anchor_free, anchored, distances
from edge.detectors.heads.levels.families import FAMILIES
from edge.detectors.heads.levels.maps import Map, Pyramid

PLACES = cells((8,), 8, width=16, offset=0.0)  # corners (0, 0) and (8, 0)
ANCHORS = np.array([[[10, 20], [30, 40], [50, 60]]] * 2, np.float32)


def decoded(values, *, scale, exponential, logits):
    scales = np.full((2, 1, 1), scale, np.float32)
    return anchored.decode(values, PLACES, anchors=ANCHORS, scales=scales, exponential=exponential, logits=logits)


def test_yolov5_reaches_half_a_cell_beyond_its_own_and_squares_sizes():
    values = np.zeros((2, 3, 7), np.float32)
    table = decoded(values, scale=2.0, exponential=False, logits=True)
    assert table.shape == (6, 7)
    assert table[4].tolist() == pytest.approx([8 + 4, 4, 30, 40, 0.5, 0.5, 0.5])  # sigmoid(0): middle, anchor itself
    values[1, 2, :4] = 50  # sigmoid 1
    assert decoded(values, scale=2.0, exponential=False, logits=True)[5, :4].tolist() == pytest.approx(
        [(1 + 1.5) * 8, 1.5 * 8, 4 * 50, 4 * 60]
    )
    shares = np.zeros((2, 3, 7), np.float32)
    assert decoded(shares, scale=2.0, exponential=False, logits=False)[0, :4].tolist() == [-4, -4, 0, 0]


def test_darknet_stays_in_its_cell_and_takes_exp_of_sizes():
    values = np.zeros((2, 3, 6), np.float32)
    values[1, 0, :4] = [50, -50, np.log(2), 0]
    assert decoded(values, scale=1.0, exponential=True, logits=True)[3, :4].tolist() == pytest.approx([16, 0, 20, 20])
    assert decoded(values, scale=1.2, exponential=True, logits=True)[3, :2].tolist() == pytest.approx([16.8, -0.8])


def test_every_family_has_three_anchors_a_level_smallest_first():
    for family in FAMILIES:
        for strides, anchors in family.anchors.items():
            levels = tuple((Map(0, "hwc", 4, 18),) for _ in strides)
            pixels, scales = anchors.of_cells(Pyramid(64, 64, strides, levels))
            assert pixels.shape == (4 * len(strides), 3, 2)
            assert scales.shape == (4 * len(strides), 1, 1)
            areas = pixels[::4].prod(axis=2).mean(axis=1)
            assert (np.diff(areas) > 0).all(), family.name


def test_distances_of_yolov8_are_means_from_the_middle_of_a_cell():
    places = cells((8,), 8, width=16)
    table = np.full((2, 64 + 2), -50.0, np.float32)
    for side, steps in enumerate([[1], [0], [1, 2], [0, 1]]):  # left 1, upper 0, right 1.5, lower 0.5
        table[1, [16 * side + step for step in steps]] = 50
    table[:, 64:] = [[0.1, 0.2], [0.7, 0.3]]
    found = distances.distances_table(table, places, bins=16, classes=2, logits=False)
    # from x 12 - 8 to 12 + 12, from y 4 to 4 + 4
    assert found[1].tolist() == pytest.approx([14, 6, 20, 4, 0.7, 0.3])
    table[:, 64:] = 0
    assert distances.distances_table(table, places, bins=16, classes=2, logits=True)[1, 4:].tolist() == [0.5, 0.5]


def test_only_scores_of_yolox_go_through_the_sigmoid():
    table = np.array([[3, 4, 5, 6, 0, 50]], np.float32)
    assert anchor_free.yolox_table(table, logits=True)[0].tolist() == pytest.approx([3, 4, 5, 6, 0.5, 1])
    assert anchor_free.yolox_table(table, logits=False) is table


def test_no_rows_are_no_boxes():
    nothing = np.zeros((0, 66), np.float32)
    assert distances.distances_table(nothing, np.zeros((0, 3)), bins=16, classes=2, logits=True).shape == (0, 6)
    assert means(np.zeros((0, 32))).shape == (0, 4)
