"""What `detect` does after the network: threshold, suppression, the same from several threads, one image at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge import runtime
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.geometry import boxes


def plain_suppression(all_boxes, scores, classes, threshold, limit):
    """The definition, one box after the other; of equal scores the lower class first, as the runtime orders them."""
    kept = []
    for index in sorted(range(len(scores)), key=lambda index: (-scores[index], classes[index])):
        rivals = [other for other in kept if classes[other] == classes[index]]
        if len(kept) < limit and (boxes.iou(all_boxes[[index]], all_boxes[rivals]) <= threshold).all():
            kept.append(index)
    return kept


@pytest.mark.parametrize("limit", [0, 1, 7, 50])
def test_suppression_over_several_blocks_equals_the_definition(monkeypatch, limit):
    monkeypatch.setattr(runtime, "NMS_BLOCK", 7)
    generator = np.random.default_rng(5)
    corners = generator.uniform(0, 60, (50, 2))
    all_boxes = np.concatenate([corners, corners + generator.uniform(5, 30, (50, 2))], axis=1).astype(np.float32)
    scores, classes = generator.integers(0, 20, 50).astype(np.float32), generator.integers(0, 2, 50)
    kept = runtime.non_maximum_suppression(all_boxes, scores, classes=classes, iou_threshold=0.3, limit=limit)
    assert kept.tolist() == plain_suppression(all_boxes, scores, classes, 0.3, limit)


@pytest.mark.parametrize("threshold", [0.0, 1e-9, 0.01, 0.3, 0.5, 0.999, 1.0, 1.5])
@pytest.mark.parametrize("quantization", [(0.0, 0), (0.07, 11), (0.0005, 0)])
def test_no_logit_whose_score_reaches_the_threshold_is_left_out(threshold, quantization):
    scale, zero_point = quantization
    stored = np.arange(-128, 128, dtype=np.int8) if scale else np.linspace(-40, 40, 20_001, dtype=np.float32)
    logits = (stored.astype(np.float32) - zero_point) * np.float32(scale) if scale else stored
    with np.errstate(over="ignore"):
        scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    passed = stored >= runtime.least_stored_logit(threshold, quantization)
    assert passed[scores >= threshold].all()
    if 0 < threshold < 1:
        assert (scores[passed] > threshold / 1.1).all()  # and hardly any other gets a sigmoid


@pytest.mark.parametrize("stem", ["float32_raw", "int8_raw"])
@pytest.mark.parametrize("threshold", [0.3, 0.03])
def test_a_raw_file_gives_what_decoding_every_anchor_gives(exported, image_paths, stem, threshold):
    detector, image = Detector(exported[stem]), read_image(image_paths[2])
    pixels, scales = detector.prepare(image)
    detector.invoke(pixels)
    logits, deltas = detector.heads()
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    decoded = boxes.decode(
        deltas, runtime.anchor_boxes(detector.description), weights=detector.description.coder_weights
    )
    rows, classes = np.nonzero(scores >= threshold)
    best = plain_suppression(decoded[rows], scores[rows, classes], classes, 0.5, 50)
    expected = np.clip(decoded[rows[best]] / [*scales, *scales], 0, [120, 160, 120, 160])
    seen = (expected[:, 2:] > expected[:, :2]).all(axis=1)
    found = detector.detect(image, threshold)
    assert len(found.scores) > 3
    assert found.scores.tolist() == scores[rows[best], classes[best]][seen].tolist()
    assert found.classes.tolist() == classes[best][seen].tolist()
    np.testing.assert_allclose(found.boxes, expected[seen], atol=1e-3)


@pytest.mark.parametrize("stem", ["float32_raw", "int8"])
def test_threads_that_share_a_detector_get_their_own_detections(exported, image_paths, stem):
    detector = Detector(exported[stem], threads=1)
    pictures = [read_image(path) for path in image_paths]
    alone = [detector.detect(picture, 0.05) for picture in pictures]
    assert len({one.scores.tobytes() for one in alone}) == len(pictures)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: detector.detect(picture, 0.05), pictures * 12))
    for number, found in enumerate(together):
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone[number % len(pictures)], name))


def test_images_are_detected_one_by_one_as_they_are_asked_for(exported, image_paths):
    detector, opened = Detector(exported["int8_raw"]), []
    pictures = (opened.append(path) or read_image(path) for path in image_paths)
    found = detector.detect_all(pictures, 0.05)
    first = next(found)
    assert opened == image_paths[:1]
    np.testing.assert_array_equal(first.boxes, detector.detect(read_image(image_paths[0]), 0.05).boxes)
    assert len(list(found)) == len(image_paths) - 1
    assert list(detector.detect_all([])) == []


@pytest.mark.parametrize("shape", [(1, 1), (10, 3000), (3000, 10)])
def test_images_of_extreme_shapes_give_boxes_inside_them(exported, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for stem in ("float32_raw", "int8"):
        found = Detector(exported[stem]).detect(image, 0.01)
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [*shape, *shape]).all()


def test_postprocess_is_detect_in_pixels_of_the_input(exported, image_paths):
    image = read_image(image_paths[3])
    for stem in ("float32_raw", "int8_raw"):
        detector = Detector(exported[stem])
        found = detector.detect(image, 0.1)
        pixels, scales = detector.prepare(image)
        detector.invoke(pixels)
        received = detector.postprocess(0.1)
        assert received.scores.tolist() == found.scores.tolist()
        expected = np.clip(received.boxes / [*scales, *scales], 0, [120, 160, 120, 160])
        np.testing.assert_allclose(found.boxes, expected, atol=1e-3)


def test_a_view_with_reversed_channels_is_read_as_what_it_shows(exported):
    """OpenCV's BGR, turned by `[..., ::-1]`, is not contiguous."""
    bgr = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    detector = Detector(exported["float32_raw"])
    for image in (bgr[..., ::-1], bgr[::2, :, ::-1]):
        expected = detector.detect(np.ascontiguousarray(image), 0.01)
        np.testing.assert_array_equal(detector.detect(image, 0.01).boxes, expected.boxes)
