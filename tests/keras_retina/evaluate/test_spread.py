"""The spread of a ratio of two APs over drawn images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.spread import ap_ratios, drawn_images, drawn_metrics

BOX = np.float32([[10, 10, 40, 40]])


def dataset(images: int) -> Dataset:
    """Images with one box each; the classes take turns."""
    records = tuple(
        Record(number, Path(f"{number}.png"), f"{number}.png", 100, 100, BOX, np.array([number % 2]), np.array([False]))
        for number in range(1, images + 1)
    )
    return Dataset("drawn", "val", ("one", "two"), (1, 2), records)


def found(images) -> list[dict]:
    """The right box in each of these images."""
    return [
        {"image_id": number, "category_id": number % 2 + 1, "bbox": [10.0, 10.0, 30.0, 30.0], "score": 0.9}
        for number in images
    ]


def test_equal_detections_have_the_ratio_1_in_every_draw():
    ratios = ap_ratios(dataset(12), found(range(1, 9)), found(range(1, 9)), draws=50)
    assert len(ratios) == 50
    assert ratios == pytest.approx(np.ones(50))


def test_the_spread_lies_around_the_ratio_and_narrows_with_more_images():
    def spread(images: int) -> tuple[float, float, float]:
        data, half = dataset(images), found(range(1, images // 2 + 1))
        ratios = ap_ratios(data, half, found(range(1, images + 1)), draws=100)
        whole = coco_metrics(data, half)["AP"] / coco_metrics(data, found(range(1, images + 1)))["AP"]
        return float(ratios[5]), whole, float(ratios[-6])

    low, whole, high = spread(16)
    closer, middle, farther = spread(256)
    assert low < whole < high and closer < middle < farther
    assert farther - closer < 0.4 * (high - low)


def test_every_draw_has_the_ap_of_pycocotools_on_the_drawn_images():
    """One draw by hand: each image as often as it was drawn, under an id of its own."""
    data = dataset(6)
    drawn = np.random.default_rng(3).integers(0, 6, 6)
    records, detections = [], []
    for place, index in enumerate(drawn):
        record = data.records[index]
        records.append(
            Record(place + 1, record.path, record.file_name, 100, 100, record.boxes, record.classes, record.crowd)
        )
        if index < 4:
            detections += [{**found([index + 1])[0], "image_id": place + 1}]
    alike = Dataset("drawn", "val", data.class_names, data.category_ids, tuple(records))
    everything = [{**found([index + 1])[0], "image_id": place + 1} for place, index in enumerate(drawn)]
    expected = coco_metrics(alike, detections)["AP"] / coco_metrics(alike, everything)["AP"]
    ratios = ap_ratios(data, found(range(1, 5)), found(range(1, 7)), draws=1, seed=3)
    assert ratios == pytest.approx([expected], abs=1e-4)


def test_a_parent_that_finds_nothing_gives_no_ratio():
    assert len(ap_ratios(dataset(4), found([1]), [], draws=20)) == 0


def test_every_image_once_gives_the_ap_at_both_overlaps_and_in_the_mean():
    data = dataset(6)
    detections = found([1, 2, 3])
    detections[0]["bbox"] = [10.0, 10.0, 30.0, 18.0]  # IoU 0.6
    expected = coco_metrics(data, detections)
    (metrics,) = drawn_metrics(data, detections, np.array([range(6)]))
    assert metrics == pytest.approx([expected[name] for name in ("AP", "AP50", "AP75")], abs=1e-3)
    assert expected["AP75"] < expected["AP"] < expected["AP50"]


def test_draws_are_the_same_for_the_same_seed_and_none_are_no_rows():
    assert np.array_equal(drawn_images(5, draws=3, seed=1), drawn_images(5, draws=3, seed=1))
    assert drawn_images(5, draws=0).shape == (0, 5)
    assert drawn_metrics(dataset(5), [], drawn_images(5, draws=0)).shape == (0, 3)
    assert drawn_metrics(dataset(5), [], drawn_images(5, draws=2)).tolist() == [[0.0] * 3] * 2
