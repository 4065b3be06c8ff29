"""The package reads every head as a second decode does that shares nothing with it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.detectors.foreign import ForeignDetector, Preprocessing
from keras_retina.data.records import Dataset, Record

pytest.importorskip("cv2", reason="the second decode prepares photos with OpenCV")
sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "files" / "heads"))

import peer_heads
from peer_levels import LEVEL_FORMS, write_levels
from peer_networks import FORMS, NAMES, Form, write_network

SIZE = (128, 192)


def photo(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_boxes_scores_and_classes_are_those_of_the_second_decode(form, tmp_path):
    path = write_network(form, tmp_path / "network.tflite", height=SIZE[0], width=SIZE[1])
    four = form.head in ("postprocess", "yolov5-nms")
    roles = form.order or (("boxes", "scores", "classes", "count") if four else ())
    assert_same(
        path,
        peer_heads.Second(path, form.head, classes=len(NAMES), shares=form.shares, roles=roles, corners=form.corners),
    )


@pytest.mark.parametrize("form", LEVEL_FORMS, ids=lambda form: form.name)
def test_maps_for_each_level_are_read_as_the_second_decode_reads_them(form, tmp_path):
    path = write_levels(form, tmp_path / "network.tflite", height=SIZE[0], width=SIZE[1])
    second = peer_heads.Second(path, form.head, classes=len(NAMES), shares=False, anchors=form.anchors)
    assert_same(path, second)


def assert_same(path, second):
    detector = ForeignDetector(path, preprocessing=Preprocessing(head=second.head, anchors=second.anchors))
    for image in (photo(0, 120, 160), photo(1, 90, 210)):
        expected = second.detect(image)
        found = detector.detect(image, peer_heads.LEAST_SCORE)
        boxes = np.array([box for box, _, _ in expected])[:, [1, 0, 3, 2]]
        assert len(expected) > 3
        assert found.scores == pytest.approx(np.array([score for _, score, _ in expected]), abs=1e-4)
        # Equal scores, of int8 or of cells that met, may stand in either order.
        order, other = (np.lexsort((*np.round(one, 1).T, np.round(scores, 4))) for one, scores in (
            (found.boxes, found.scores), (boxes, np.array([score for _, score, _ in expected]))
        ))  # fmt: skip
        assert found.boxes[order] == pytest.approx(boxes[other], abs=0.05)
        assert found.classes[order].tolist() == [expected[place][2] for place in other]


def test_the_benchmark_compares_ap_and_sees_a_wrong_reading(tmp_path):
    records = []
    for seed in range(3):
        path = tmp_path / f"{seed}.png"
        Image.fromarray(photo(seed, 120, 160)).save(path)
        nothing = np.zeros((0, 4), np.float32)
        records.append(Record(seed, path, path.name, 120, 160, nothing, np.zeros(0, np.int32), np.zeros(0, bool)))
    dataset = Dataset("drawn", "val", ("x",), (1,), tuple(records))
    found = peer_heads.compare_form(Form("yolov8", channels_first=True), tmp_path, dataset=dataset, size=SIZE)
    assert found.agrees
    assert found.ours == pytest.approx(found.theirs, abs=0.01)
    assert 5 < found.theirs < 95
    assert "DIFFERS" in peer_heads.table([peer_heads.Compared("a", 50.0, 50.2, 3, 0.0, 0.0)])[-1]
