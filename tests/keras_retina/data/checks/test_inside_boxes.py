from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.checks.inside_boxes import MOST_BOXES, PATCH, patches, same_inside, summed
from keras_retina.data.records import Record


def one_patch(grey: np.ndarray, *corners: float) -> np.ndarray:
    """The patch of one box in pixels."""
    height, width = grey.shape
    return patches(summed(grey), np.array([corners]) / (height, width, height, width))[0]


def test_sums_are_exact_and_do_not_overflow():
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    assert summed(grey)[3, 4] == grey[:3, :4].sum(dtype=int) and summed(grey)[0, 6] == 0
    white = np.full((4105, 4105), 255, np.uint8)  # 4,297,011,375, more than 2 ** 32
    assert int(summed(white)[-1, -1]) == 255 * 4105**2


def test_a_box_of_whole_cells_has_their_means():
    grey = np.random.default_rng(1).integers(0, 256, (40, 64), np.uint8)
    expected = grey[8:24, 16:48].reshape(PATCH, 2, PATCH, 4).mean(axis=(1, 3))  # cells of 2 x 4 px
    assert np.abs(one_patch(grey, 8, 16, 24, 48) - expected).max() < 1e-3


def test_parts_of_pixels_count_as_parts():
    grey = np.zeros((8, 8), np.uint8)
    grey[0, 0], grey[0, 1] = 100, 200
    patch = one_patch(grey, 0, 0.25, 4, 4.25)  # cells of 0.5 x 0.5 px
    assert np.allclose(patch[0, :5], [100, 150, 200, 100, 0])  # 0.25..0.75, 0.75..1.25, 1.25..1.75, 1.75..2.25, ..


def test_boxes_at_the_border_and_almost_without_area_have_finite_patches():
    grey = np.full((20, 30), 80, np.uint8)
    assert np.allclose(one_patch(grey, 0, 0, 20, 30), 80)
    assert np.allclose(one_patch(grey, 19, 29, 20, 30), 80)
    assert np.isfinite(one_patch(grey, 20 - 1e-7, 5, 20, 5 + 1e-7)).all()
    assert patches(summed(grey), np.zeros((0, 4))).shape == (0, PATCH, PATCH)


def record(path: Path, picture: np.ndarray, boxes) -> Record:
    Image.fromarray(picture).save(path)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    none = np.zeros(len(boxes), bool)
    return Record(1, path, path.name, *picture.shape[:2], boxes, none.astype(np.int32), none)


def test_a_tenth_of_the_boxes_may_differ(tmp_path):
    """Two pictures with the same 20 boxes, of which one has repainted some."""
    first = np.full((100, 100), 90, np.uint8)
    boxes = [[10 * row, 20 * column, 10 * row + 8, 20 * column + 8] for row in range(10) for column in range(2)]
    records = [record(tmp_path / "first.png", first, boxes)]
    for number in range(4):
        picture = first.copy()
        for y1, x1, y2, x2 in boxes[:number]:
            picture[y1:y2, x1:x2] = 120
        records.append(record(tmp_path / f"{number}.png", picture, boxes))
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 4]])
    assert MOST_BOXES == 16  # of the 20; boxes 0 and 1 are among them, and 2 is not
    assert same_inside(records, pairs).tolist() == [True, True, False, False, False]


def test_no_pairs_and_no_boxes(tmp_path):
    assert same_inside([], np.zeros((0, 2), np.int64)).tolist() == []
    records = [record(tmp_path / f"{level}.png", np.full((9, 9), level, np.uint8), []) for level in (0, 255)]
    assert same_inside(records, np.array([[0, 1]])).tolist() == [True]  # nothing that could differ
