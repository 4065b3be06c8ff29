"""COCO AP through pycocotools: hand-computed values, perfect and empty detections, crowds, classes without objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import STATISTICS, coco_metrics, ground_truth, results_of_image

IDS = (3, 7, 20)  # category ids of class indices 0, 1, 2


def record(image_id: int, boxes: list, classes: list[int], crowd: list[bool] | None = None) -> Record:
    return Record(
        image_id=image_id,
        path=Path(f"{image_id}.jpg"),
        file_name=f"{image_id}.jpg",
        height=200,
        width=300,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array(classes, np.int32),
        crowd=np.array(crowd or [False] * len(classes), bool),
    )


def dataset(*records: Record) -> Dataset:
    return Dataset("test", "val", ("cat", "dog", "cow"), IDS, records)


def found(record: Record, boxes: list, scores: list[float], classes: list[int]) -> list[dict]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return results_of_image(record, IDS, boxes=array, scores=np.array(scores), classes=np.array(classes))


def perfect(data: Dataset) -> list[dict]:
    return [
        result
        for one in data.records
        for result in found(one, one.boxes.tolist(), [0.9] * len(one.boxes), one.classes.tolist())
    ]


BOX, BESIDE, FAR = [10, 20, 60, 100], [10, 120, 60, 200], [120, 220, 180, 290]


@pytest.fixture
def two_classes() -> Dataset:
    return dataset(record(1, [BOX, BESIDE], [0, 1]), record(2, [FAR], [1]), record(5, [], []))


def test_perfect_detections_score_100_and_an_absent_class_scores_nothing(two_classes):
    metrics = coco_metrics(two_classes, perfect(two_classes))
    assert (metrics["AP"], metrics["AP50"], metrics["AP75"]) == (100, 100, 100)
    assert metrics["per_class"] == {"cat": 100, "dog": 100, "cow": None}


def test_no_detections_score_0_not_an_error(two_classes):
    metrics = coco_metrics(two_classes, [])
    assert (metrics["AP"], metrics["AP50"]) == (0, 0)
    assert metrics["per_class"] == {"cat": 0, "dog": 0, "cow": None}


def test_a_split_without_objects_has_no_ap():
    empty = dataset(record(1, [], []), record(2, [], []))
    for detections in ([], found(empty.records[0], [BOX], [0.9], [0])):
        metrics = coco_metrics(empty, detections)
        assert all(metrics[name] is None for name in STATISTICS)
        assert set(metrics["per_class"].values()) == {None}


def test_detections_of_class_0_alone_score_class_0_alone(two_classes):
    metrics = coco_metrics(two_classes, found(two_classes.records[0], [BOX], [0.9], [0]))
    assert metrics["per_class"] == {"cat": 100, "dog": 0, "cow": None}
    assert metrics["AP"] == 50


def test_the_right_box_of_the_wrong_class_scores_0(two_classes):
    assert coco_metrics(two_classes, found(two_classes.records[0], [BOX], [0.9], [1]))["AP"] == 0


def test_the_right_box_in_the_wrong_image_scores_0(two_classes):
    assert coco_metrics(two_classes, found(two_classes.records[2], [BOX], [0.9], [0]))["AP"] == 0


def test_ap_of_a_small_case_computed_by_hand():
    """Scores .9 hit, .8 miss, .7 hit of 2 objects: precision 1 up to recall 0.5, then 2/3 up to recall 1.

    Of the 101 recalls, 0.00 .. 0.50 are 51 at precision 1 and 0.51 .. 1.00 are 50 at 2/3.
    """
    data = dataset(record(1, [BOX, FAR], [0, 0]))
    metrics = coco_metrics(data, found(data.records[0], [BOX, BESIDE, FAR], [0.9, 0.8, 0.7], [0, 0, 0]))
    expected = 100 * (51 * 1 + 50 * 2 / 3) / 101
    assert metrics["AP50"] == pytest.approx(expected, abs=1e-3)
    assert metrics["AP"] == pytest.approx(expected, abs=1e-3)


def test_ap_counts_the_thresholds_that_the_overlap_reaches():
    """A box of 100 x 100 found as 100 x 72 has IoU 0.72: 5 of the 10 thresholds 0.50 .. 0.95."""
    data = dataset(record(1, [[0, 0, 100, 100]], [0]))
    metrics = coco_metrics(data, found(data.records[0], [[0, 0, 100, 72]], [0.9], [0]))
    assert (metrics["AP"], metrics["AP50"], metrics["AP75"]) == (50, 100, 0)


def test_objects_count_by_their_area():
    small, medium, large = [0, 0, 20, 20], [50, 0, 100, 50], [0, 100, 150, 250]
    data = dataset(record(1, [small, medium, large], [0, 0, 0]))
    metrics = coco_metrics(data, found(data.records[0], [small, large], [0.9, 0.8], [0, 0]))
    assert (metrics["AP_small"], metrics["AP_medium"], metrics["AP_large"]) == (100, 0, 100)


def test_a_detection_on_a_crowd_is_neither_right_nor_wrong():
    crowd = [0, 100, 200, 300]
    data = dataset(record(1, [BOX, crowd], [0, 0], [False, True]))
    in_crowd = [[10, 110, 60, 150], [80, 200, 120, 260]]
    detections = found(data.records[0], [*in_crowd, BOX], [0.95, 0.94, 0.9], [0, 0, 0])
    assert coco_metrics(data, detections)["AP"] == 100
    without_crowd = dataset(record(1, [BOX], [0]))
    assert coco_metrics(without_crowd, detections)["AP"] < 50


def test_the_caller_keeps_its_detections_as_they_were(two_classes):
    detections = perfect(two_classes)
    copies = [dict(detection) for detection in detections]
    assert coco_metrics(two_classes, detections) == coco_metrics(two_classes, detections)
    assert detections == copies


def test_nothing_is_printed(two_classes, capsys):
    coco_metrics(two_classes, perfect(two_classes))
    assert capsys.readouterr().out == ""


def test_ground_truth_is_coco_in_pixels_of_the_image(two_classes):
    truth = ground_truth(two_classes)
    assert [image["id"] for image in truth["images"]] == [1, 2, 5]
    assert truth["annotations"][0] == {
        "id": 1, "image_id": 1, "category_id": 3, "bbox": [20, 10, 80, 50], "area": 4000, "iscrowd": 0,
    }  # fmt: skip
    assert [annotation["id"] for annotation in truth["annotations"]] == [1, 2, 3]  # 0 would never match
    assert truth["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 20, "name": "cow"}]
