"""Whole splits: one list from the strongest disagreement on, and the shares of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.review import SUSPICIOUS, class_shares, findings_of, review_results

BOX, FAR = (10, 10, 30, 30), (50, 50, 80, 80)  # yxyx
IDS = (3, 7)


def split(name: str, *labels: list[tuple[tuple[float, ...], int]], crowd: bool = False) -> Dataset:
    records = []
    for number, one in enumerate(labels, start=1):
        boxes = np.array([box for box, _ in one], np.float32).reshape(-1, 4)
        classes, crowds = np.array([index for _, index in one], np.int32), np.full([len(one)], crowd)
        records.append(Record(number, Path(f"{name}{number}.jpg"), f"{number}.jpg", 100, 100, boxes, classes, crowds))
    return Dataset("d", name, ("disc", "square"), IDS, tuple(records))


def result(image_id: int, box: tuple[float, ...], category: int, score: float) -> dict:
    y1, x1, y2, x2 = box
    return {"image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}


@pytest.fixture(scope="module")
def found():
    """30 images with a disc and a square that are found; in `val`, image 1 lacks its square, image 2 its finding."""
    both = [(BOX, 0), (FAR, 1)]
    train, val = split("train", *[both] * 30), split("val", both[:1], *[both] * 29)
    results = [result(n, box, IDS[index], 0.9) for n in range(1, 31) for box, index in both]
    missed = [one for one in results if not (one["image_id"] == 2 and one["category_id"] == 7)]
    return [(train, results), (val, missed)]


def test_the_list_begins_with_the_strongest_and_names_class_split_and_boxes(found):
    missing, unfound = (line for line in review_results(found).lines if line.score >= SUSPICIOUS)
    assert missing.score > unfound.score
    assert (missing.kind, missing.split, missing.record.file_name) == ("missing_label", "val", "1.jpg")
    assert (missing.label_class, missing.label_box, missing.confidence) == (None, None, 0.9)
    assert (missing.found_class, missing.found_box) == ("square", (50, 50, 80, 80))
    assert (unfound.kind, unfound.split, unfound.record.file_name) == ("unfound_label", "val", "2.jpg")
    assert (unfound.label_class, unfound.label_box) == ("square", (50, 50, 80, 80))
    assert (unfound.found_class, unfound.found_box, unfound.confidence) == (None, None, None)


def test_the_share_counts_suspicious_labels_and_what_is_found_without_one_apart(found):
    disc, square = review_results(found).classes
    assert (disc.name, disc.labels, disc.suspicious, disc.share, disc.missing) == ("disc", 60, 0, 0, 0)
    assert (square.labels, square.suspicious, square.missing) == (59, 1, 1)
    assert square.share == pytest.approx(1 / 59)
    assert review_results(found).labels == 119


def test_a_class_without_labels_has_no_share_and_crowds_are_no_labels():
    shares = class_shares([], [split("train", [(BOX, 0)], [], crowd=True)])
    assert [(one.labels, one.share) for one in shares] == [(0, None), (0, None)]


def test_images_without_findings_are_there_too():
    dataset = split("train", [(BOX, 0)], [])
    pairs = findings_of(dataset, [result(2, FAR, 7, 0.5)])
    assert [(record.file_name, len(one.scores)) for record, one in pairs] == [("1.jpg", 0), ("2.jpg", 1)]
    assert pairs[1][1].boxes.tolist() == [[50, 50, 80, 80]] and pairs[1][1].classes.tolist() == [1]


def test_no_findings_at_all_make_no_label_suspicious():
    assert review_results([(split("train", [(BOX, 0)], []), [])]).lines == ()
    assert review_results([]).lines == ()
