"""The table of public detectors measures the same images for every file, and says how sure a difference is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.spread import drawn_metrics

sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "peers"))

import public_detectors


def record(image_id: int, *, name: str = "") -> Record:
    box = np.array([[10, 20, 50, 80]], np.float32)
    name = name or f"{image_id}.jpg"
    return Record(image_id, Path(name), name, 100, 100, box, np.zeros(1, np.int32), np.zeros(1, bool))


def dataset(split: str, *records: Record) -> Dataset:
    return Dataset("drawn", split, ("x",), (7,), records)


def found(image_id: int, *, shift: float = 0.0, score: float = 0.9) -> dict:
    return {"image_id": image_id, "category_id": 7, "bbox": [20 + shift, 10, 60, 40], "score": score}


def row(name: str, kind: str, **more: object) -> dict:
    shown = {"input": [1, 320, 320, 3], "bytes": 1_500_000, "AP": 50.0, "AP50": 80.0, "AP75": None}
    shown |= {"difference": 0.0, "difference_interval": None, "to_own": 0.0, "to_own_interval": None}
    return {"name": name, "kind": kind, **shown, **more}


def test_a_list_has_a_file_for_each_form_and_paths_beside_it(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text(
        "- {name: ours, files: {float: a.tflite, int8: b.tflite}}\n"
        "- {name: theirs, files: {int8: c.tflite}, labels: names.txt, class_map: 'Red=RBC', head: yolov5}\n",
        encoding="utf-8",
    )
    files = public_detectors.read_list(path)
    assert [(one.name, one.kind, one.path.name) for one in files] == [
        ("ours", "float", "a.tflite"),
        ("ours", "int8", "b.tflite"),
        ("theirs", "int8", "c.tflite"),
    ]
    assert files[0].options.given_for_foreign == []
    assert files[2].options.labels == tmp_path / "names.txt"
    assert (files[2].options.head, files[2].options.class_map) == ("yolov5", "Red=RBC")


def test_splits_are_joined_without_the_images_left_out_and_with_ids_of_their_own():
    val, test = dataset("val", record(1), record(2)), dataset("test", record(1, name="sub/9.jpg"), record(3))
    both = public_detectors.joined([val, test], {"2.jpg", "9.jpg"})
    assert [(one.image_id, one.file_name) for one in both.records] == [(1, "1.jpg"), (2, "3.jpg")]
    assert both.split == "val+test"


def test_a_draw_of_every_image_once_has_the_ap_of_the_split():
    images = dataset("test", record(1), record(2), record(3))
    detections = [found(1), found(2, shift=30, score=0.8), found(3, shift=4, score=0.7)]
    expected = coco_metrics(images, detections)["AP"]
    drawn = drawn_metrics(images, detections, np.array([[0, 1, 2], [2, 0, 1]]))[:, 0]
    assert drawn == pytest.approx([expected, expected], abs=1e-3)


def test_an_image_drawn_twice_counts_twice():
    images = dataset("test", record(1), record(2))
    drawn = drawn_metrics(images, [found(1)], np.array([[0, 0], [1, 1], [0, 1]]))[:, 0]
    assert drawn[0] == pytest.approx(100)
    assert drawn[1] == 0
    assert drawn[2] == pytest.approx(100 * 51 / 101)  # recall 0.5: 51 of 101 points have precision 1


def test_the_table_shows_the_way_to_the_first_file_and_to_the_first_detector():
    time = {"1": {"median_ms": 4.2, "share": 0.5, "low": 0.4, "high": 0.6}}
    rows = [
        row("ours", "float", ms=time),
        row("theirs", "float", ms=time, difference=-3.25, difference_interval=[-5.0, 1.0]),
        row("theirs", "int8", ms=time, to_own=-0.5, difference=2.0),
    ]
    lines = public_detectors.table(rows, [1]).splitlines()
    assert lines[2] == "| ours | float | 320 x 320 x 3 | 1.50 | 50.0 / 80.0 / 0.0 |  |  | 4.2 |"
    assert lines[3].endswith("|  | -3.2 (-5.0 to +1.0) | 4.2; 0.50 (0.40 to 0.60) |")
    assert lines[4].endswith("| -0.5 | +2.0 | 4.2; 0.50 (0.40 to 0.60) |")
