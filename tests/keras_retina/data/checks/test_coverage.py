from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.checks.coverage import WORST_KEPT, anchor_coverage, write_worst_coverage_picture
from keras_retina.data.records import Dataset, Record
from keras_retina.geometry.boxes import iou
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Anchors, Input, Model, Pyramid


def dataset(*images, path=Path("a.png")):
    """Each image: (height, width, [(class, y1, x1, y2, x2, crowd), ...])."""
    records = []
    for number, (height, width, rows) in enumerate(images):
        boxes = np.array([row[1:5] for row in rows], np.float32).reshape(-1, 4)
        classes, crowd = np.array([row[0] for row in rows], np.int32), np.array([row[5] for row in rows], bool)
        records.append(Record(number, path, path.name, height, width, boxes, classes, crowd))
    return Dataset("made", "train", ("cat", "dog", "cow"), (1, 2, 3), tuple(records))


def model(height=128, width=128, resize="stretch", **anchors):
    """Square anchors of one size a level unless told otherwise; levels 3 to 5 are the fewest that a recipe allows."""
    return Model(
        input=Input(height=height, width=width, resize=resize),
        pyramid=Pyramid(levels=(3, 5)),
        anchors=Anchors(**{"size": 2.0, "scales": (1.0,), "ratios": (1.0,), **anchors}),
    )


def test_shares_and_worst_boxes_by_hand():
    # Anchors are squares of 16, 32 and 64 px around the cells of 8, 16 and 32 px. A box that is one of them has IoU 1,
    # its half 0.5, and a box of 4 x 4 px inside one 16 / 256.
    data = dataset(
        (128, 128, [(0, 4, 4, 20, 20, False), (0, 4, 4, 12, 20, False), (1, 64, 64, 68, 68, False)]),
        (128, 128, [(1, 60, 60, 64, 64, False), (1, 60, 60, 70, 70, True)]),
        (128, 128, []),
    )
    coverage = anchor_coverage(data, model())
    assert coverage.boxes == {"cat": 2, "dog": 2, "cow": 0}  # the crowd box is not counted
    assert coverage.poor == {"cat": 0, "dog": 2, "cow": 0}  # an IoU of just 0.5 is enough
    assert [coverage.poor_share(name) for name in ("cat", "dog", "cow", None)] == [0.0, 1.0, 0.0, 0.5]
    assert [round(item.iou, 4) for item in coverage.worst] == [0.0625, 0.0625, 0.5, 1.0]
    assert [item.class_name for item in coverage.worst] == ["dog", "dog", "cat", "cat"]
    assert coverage.worst[2].box.tolist() == [4, 4, 12, 20]
    assert coverage.worst[3].box.tolist() == coverage.worst[3].anchor.tolist() == [4, 4, 20, 20]


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_every_iou_is_the_best_over_all_anchors(resize):
    generator = np.random.default_rng(0)
    corners = np.sort(generator.uniform(0, 1, (WORST_KEPT, 2, 2)), axis=1).reshape(-1, 4) * [90, 200, 90, 200]
    settings = model(256, 128, resize, scales=(1.0, 1.5), ratios=(0.5, 2.0))
    coverage = anchor_coverage(dataset((90, 200, [(0, *box, False) for box in corners])), settings)
    anchors = detector_spec(settings, ()).anchors()
    assert len(coverage.worst) == WORST_KEPT
    for item in coverage.worst:
        overlaps = iou(item.box[None], anchors)[0]
        assert item.iou == pytest.approx(overlaps.max(), abs=1e-5)
        assert item.anchor.tolist() == anchors[overlaps.argmax()].tolist()


@pytest.mark.parametrize(("resize", "expected"), [("stretch", 0.5), ("letterbox", 1.0)])
def test_boxes_are_compared_at_the_input_size(resize, expected):
    # 128 x 64 image, 16 x 16 box: stretched to 128 x 128 it is 16 x 32; letterboxed it stays.
    data = dataset((128, 64, [(0, 4, 4, 20, 20, False)]))
    (worst,) = anchor_coverage(data, model(resize=resize)).worst
    assert worst.iou == pytest.approx(expected)


def test_split_without_boxes_has_no_poor_share():
    for data in (dataset((10, 10, [])), dataset()):
        coverage = anchor_coverage(data, model())
        assert coverage.poor_share() == 0.0 and coverage.worst == ()
        assert coverage.boxes == {"cat": 0, "dog": 0, "cow": 0}


def test_only_the_worst_are_kept():
    rows = [(0, 0, 0, 10, 10 + index, False) for index in range(WORST_KEPT + 5)]
    worst = anchor_coverage(dataset((128, 128, rows)), model()).worst
    assert len(worst) == WORST_KEPT
    assert [item.iou for item in worst] == sorted(item.iou for item in worst)


def test_picture_shows_the_box_in_green_and_its_anchor_in_red(tmp_path):
    Image.new("RGB", (100, 100), (90, 90, 90)).save(tmp_path / "a.png")
    rows = [(index % 2, 70, 70, 90, 75 + index, False) for index in range(8)]
    worst = anchor_coverage(dataset((100, 100, rows), path=tmp_path / "a.png"), model()).worst
    write_worst_coverage_picture(tmp_path / "worst.png", worst, height=128, width=128, resize="stretch")
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
