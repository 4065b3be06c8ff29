from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.checks.coverage import WORST_KEPT, anchor_coverage, write_worst_coverage_picture
from keras_retina.data.records import Dataset, Record


def dataset(*images, path=Path("a.png")):
    """Each image: (height, width, [(class, y1, x1, y2, x2, crowd), ...])."""
    records = []
    for number, (height, width, rows) in enumerate(images):
        boxes = np.array([row[1:5] for row in rows], np.float32).reshape(-1, 4)
        classes, crowd = np.array([row[0] for row in rows], np.int32), np.array([row[5] for row in rows], bool)
        records.append(Record(number, path, path.name, height, width, boxes, classes, crowd))
    return Dataset("made", "train", ("cat", "dog", "cow"), (1, 2, 3), tuple(records))


ANCHORS = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)


def test_shares_and_worst_boxes_by_hand():
    # IoU with the nearest anchor: 1; 50 / 100; 100 / 400 = 0.25; 0
    data = dataset(
        (100, 100, [(0, 0, 0, 10, 10, False), (0, 0, 0, 5, 10, False), (1, 20, 20, 30, 30, False)]),
        (100, 100, [(1, 60, 60, 70, 70, False), (1, 60, 60, 70, 70, True)]),
        (100, 100, []),
    )
    coverage = anchor_coverage(data, ANCHORS, height=100, width=100, resize="stretch")
    assert coverage.boxes == {"cat": 2, "dog": 2, "cow": 0}  # the crowd box is not counted
    assert coverage.poor == {"cat": 0, "dog": 2, "cow": 0}  # an IoU of just 0.5 is enough
    assert [coverage.poor_share(name) for name in ("cat", "dog", "cow", None)] == [0.0, 1.0, 0.0, 0.5]
    assert [round(item.iou, 4) for item in coverage.worst] == [0.0, 0.25, 0.5, 1.0]
    assert coverage.worst[1].class_name == "dog"
    assert coverage.worst[1].box.tolist() == [20, 20, 30, 30] and coverage.worst[1].anchor.tolist() == [20, 20, 40, 40]


@pytest.mark.parametrize(("resize", "expected"), [("stretch", 1.0), ("letterbox", 0.5)])
def test_boxes_are_compared_at_the_input_size(resize, expected):
    # 40 x 20 image, 20 x 20 box: stretched to 40 x 40 it is 20 x 40; letterboxed it stays 20 x 20.
    data = dataset((40, 20, [(0, 20, 0, 40, 20, False)]))
    anchors = np.array([[20, 0, 40, 40]], np.float32)
    (worst,) = anchor_coverage(data, anchors, height=40, width=40, resize=resize).worst
    assert worst.iou == pytest.approx(expected)


def test_split_without_boxes_has_no_poor_share():
    coverage = anchor_coverage(dataset((10, 10, [])), ANCHORS, height=100, width=100, resize="stretch")
    assert coverage.poor_share() == 0.0 and coverage.worst == ()


def test_only_the_worst_are_kept():
    rows = [(0, 0, 0, 10, 10 + index, False) for index in range(WORST_KEPT + 5)]
    worst = anchor_coverage(dataset((100, 100, rows)), ANCHORS, height=100, width=100, resize="stretch").worst
    assert len(worst) == WORST_KEPT
    assert [item.iou for item in worst] == sorted(item.iou for item in worst)


def test_picture_shows_the_box_in_green_and_its_anchor_in_red(tmp_path):
    Image.new("RGB", (100, 100), (90, 90, 90)).save(tmp_path / "a.png")
    rows = [(index % 2, 70, 70, 90, 75 + index, False) for index in range(8)]
    worst = anchor_coverage(
        dataset((100, 100, rows), path=tmp_path / "a.png"), ANCHORS, height=100, width=100, resize="stretch"
    ).worst
    write_worst_coverage_picture(tmp_path / "worst.png", worst, height=100, width=100, resize="stretch")
    picture = np.asarray(Image.open(tmp_path / "worst.png")).astype(int)
    assert picture.shape == (2 * 240, 6 * 240, 3)
    for index in range(8):
        row, column = divmod(index, 6)
        tile = picture[row * 240 : row * 240 + 240, column * 240 : column * 240 + 240]
        assert (np.abs(tile - [46, 204, 113]).max(axis=-1) < 5).sum() > 50
        assert (np.abs(tile - [255, 60, 60]).max(axis=-1) < 5).sum() > 50


def test_picture_without_boxes_is_blank(tmp_path):
    write_worst_coverage_picture(tmp_path / "worst.png", (), height=100, width=100, resize="stretch")
    assert (np.asarray(Image.open(tmp_path / "worst.png")) == 255).all()
