"""Each decode gives the boxes that were counted by hand, and nothing for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detectors.heads import centernet, fomo, postprocess
from edge.detectors.heads.grid import Rows, cells, units_on_grid
from edge.detectors.heads.head import in_pixels, suppressed
from edge.detectors.heads.tables import nanodet, yolo, yolox


def test_yolov8_takes_every_class_of_a_row():
    rows = np.array([[20, 10, 8, 4, 0.9, 0.6], [50, 40, 10, 10, 0.1, 0.2]], np.float32)
    boxes, scores, classes = yolo.decode_yolov8(rows, 0.5)
    assert boxes.tolist() == [[8, 16, 12, 24], [8, 16, 12, 24]]
    assert scores.tolist() == pytest.approx([0.9, 0.6])
    assert classes.tolist() == [0, 1]


def test_yolov5_multiplies_by_objectness():
    rows = np.array([[20, 10, 8, 4, 0.5, 0.8, 0.1], [20, 10, 8, 4, 0.05, 1.0, 1.0]], np.float32)
    boxes, scores, classes = yolo.decode_yolov5(rows, 0.1)
    assert boxes.tolist() == [[8, 16, 12, 24]]
    assert scores.tolist() == pytest.approx([0.4])
    assert classes.tolist() == [0]


def test_rows_after_suppression_are_sorted_and_empty_ones_go():
    rows = np.array([[1, 2, 3, 4, 0.5, 1], [0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 0.9, 2]], np.float32)
    boxes, scores, classes = yolo.decode_suppressed(rows, 0.0)
    assert boxes.tolist() == [[6, 5, 8, 7], [2, 1, 4, 3]]
    assert scores.tolist() == pytest.approx([0.9, 0.5])
    assert classes.tolist() == [2, 1]


def test_yolox_decodes_on_the_corners_of_cells_and_takes_the_best_class():
    places = cells((8, 16), 16, width=16, offset=0.0)
    assert places.tolist() == [[0, 0, 8], [8, 0, 8], [0, 8, 8], [8, 8, 8], [0, 0, 16]]
    rows = np.zeros((5, 4), np.float32)
    rows[1] = [0.5, 0.25, np.log(2), 0]
    assert yolox.decode_grid(rows, places)[1].tolist() == pytest.approx([12, 2, 16, 8])
    table = np.array([[12, 2, 16, 8, 0.5, 0.2, 0.8]], np.float32)
    boxes, scores, classes = yolox.decode(table, 0.3)
    assert boxes.tolist() == [[-2, 4, 6, 20]]
    assert scores.tolist() == pytest.approx([0.4])
    assert classes.tolist() == [1]


def test_nanodet_takes_the_mean_of_each_distribution_from_its_point():
    places = cells((8,), 8, width=16)
    assert places[:, :2].tolist() == [[4, 4], [12, 4]]
    sides = np.full((4, 8), -50.0)
    for side, steps in enumerate([[1], [0], [1, 2], [0, 1]]):  # left 1, upper 0, right 1.5, lower 0.5
        sides[side, steps] = 50.0
    rows = np.zeros((2, 2 + 32), np.float32)
    rows[1] = [0.1, 0.7, *sides.ravel()]
    boxes, scores, classes = nanodet.decode(rows, places, classes=2, score_threshold=0.5)
    assert boxes[0].tolist() == pytest.approx([4 - 0, 12 - 8, 4 + 4, 12 + 12])
    assert (scores.tolist(), classes.tolist()) == ([pytest.approx(0.7)], [1])


def test_cells_of_fomo_that_touch_are_one_object_of_the_best_score():
    grid = np.zeros((6, 6, 3), np.float32)
    grid[1, 1, 1], grid[1, 2, 1], grid[2, 3, 1] = 0.6, 0.9, 0.7  # a chain, corners touch
    grid[1, 2, 2] = 0.8  # another class in the same cell
    grid[5, 5, 1] = 0.4  # too low
    boxes, scores, classes = fomo.decode(grid, 0.5, stride=8)
    assert boxes.tolist() == [[8, 8, 24, 32], [8, 16, 16, 24]]
    assert scores.tolist() == pytest.approx([0.9, 0.8])
    assert classes.tolist() == [0, 1]


def test_an_object_of_fomo_moves_to_the_left_and_gets_no_wider_as_the_original():
    grid = np.zeros((4, 4, 2), np.float32)
    grid[0, 2, 1], grid[1, 1, 1] = 0.6, 0.6
    boxes, _, _ = fomo.decode(grid, 0.5, stride=8)
    assert boxes.tolist() == [[0, 8, 16, 16]]


def test_centernet_finds_peaks_and_not_their_neighbours():
    heat = np.zeros((4, 5, 2), np.float32)
    heat[1, 2, 0], heat[1, 3, 0], heat[3, 0, 1] = 0.9, 0.8, 0.5
    size, offset = np.full((4, 5, 2), [4.0, 2.0]), np.full((4, 5, 2), [0.5, 0.25])
    boxes, scores, classes = centernet.decode(heat, size, offset=offset, stride=4, score_threshold=0.3)
    assert scores.tolist() == pytest.approx([0.9, 0.5])
    assert classes.tolist() == [0, 1]
    # centre (2.5, 1.25) cells, 4 wide and 2 high
    assert boxes[0].tolist() == [4 * (1.25 - 1), 4 * (2.5 - 2), 4 * (1.25 + 1), 4 * (2.5 + 2)]


def test_a_filled_row_of_postprocessing_is_kept_and_wrong_roles_are_noticed():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [9, 9, 9, 9]], np.float32)
    scores, labels = np.array([0.9, 0.2, 7], np.float32), np.array([2, 1, -5], np.float32)
    found = postprocess.decode(boxes, scores, classes=labels, count=2, score_threshold=0.5)
    assert [part.tolist() for part in found] == [[[0, 0, 1, 1]], [pytest.approx(0.9)], [2]]
    with pytest.raises(ValueError, match="scores"):
        postprocess.decode(boxes, scores, classes=labels, count=3, score_threshold=0.5)


@pytest.mark.parametrize(
    "decode",
    [
        lambda: yolo.decode_yolov8(np.zeros((0, 7)), 0.5),
        lambda: yolo.decode_yolov5(np.full((3, 7), 0.1), 0.5),
        lambda: yolo.decode_suppressed(np.zeros((4, 6)), 0.0),
        lambda: yolox.decode(np.zeros((3, 7)), 0.5),
        lambda: nanodet.decode(np.zeros((2, 34)), cells((8,), 8, width=16), classes=2, score_threshold=0.5),
        lambda: fomo.decode(np.zeros((3, 3, 2)), 0.5, stride=8),
        lambda: centernet.decode(
            np.zeros((3, 3, 1)), np.ones((3, 3, 2)), offset=np.zeros((3, 3, 2)), stride=4, score_threshold=0.5
        ),
    ],
)
def test_nothing_over_the_score_is_no_box_and_suppression_takes_it(decode):
    boxes, scores, classes = decode()
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))
    assert suppressed(boxes, scores, classes=classes, iou_threshold=0.5, limit=10).boxes.shape == (0, 4)


def test_shares_become_pixels_of_a_rectangle():
    boxes = np.array([[0.25, 0.5, 0.5, 1.0]], np.float32)
    assert in_pixels(boxes, "shares", height=100, width=200).tolist() == [[25, 100, 50, 200]]
    assert in_pixels(boxes, "pixels", height=100, width=200) is boxes


@pytest.mark.parametrize("per_cell", [1, 3])
@pytest.mark.parametrize(("factor", "units"), [(1.0, "pixels"), (1 / 64, "shares"), (0.0, None)])
def test_boxes_on_their_cells_are_told_from_anything_else(per_cell, factor, units):
    random = np.random.default_rng(0)
    places = np.repeat(cells((8, 16), 64, width=64), per_cell, axis=0)
    table = random.normal(size=(len(places), 7))
    table[:, :2] = (places[:, :2] + 4 * table[:, :2]) * factor if factor else table[:, :2]
    rows = Rows(table, (8, 16), per_cell, False)
    assert units_on_grid(rows, 64, width=64) == units
