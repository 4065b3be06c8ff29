"""Decoding and non-maximum suppression against loops in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edge.runtime import fast_suppression
from keras_retina.evaluate.coco import EVALUATION_SCORE_THRESHOLD, SHOW_SCORE_THRESHOLD
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry import boxes as numpy_boxes
from keras_retina.geometry import nms as decode_module
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.boxes_tf import decode
from keras_retina.geometry.nms import detections, fast_detections

WEIGHTS = (10.0, 8.0, 5.0, 4.0)
PLAIN = (1.0, 1.0, 1.0, 1.0)
ANCHORS = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [40, 40, 60, 60]], np.float32)  # the first two overlap by 90/110


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def one_image(scores: list[list[float]], anchors=ANCHORS, find=detections, **settings) -> list[tuple]:
    """Returns `(anchor, class, score)` of each detection, given scores `[A, K]` and boxes equal to the anchors."""
    logits = np.array([[[logit(score) for score in row] for row in scores]], np.float32)
    deltas = np.zeros((1, len(anchors), 4), np.float32)
    settings = {"score_threshold": SHOW_SCORE_THRESHOLD} | settings
    result = find(logits, deltas, anchors=anchors, coder_weights=PLAIN, **settings)
    rows = []
    for i in range(int(result["count"][0])):
        (anchor,) = np.flatnonzero(np.all(np.isclose(anchors, result["boxes"][0, i]), axis=1))
        rows.append((int(anchor), int(result["classes"][0, i]), round(float(result["scores"][0, i]), 4)))
    return rows


def slow_detections(logits, deltas, anchors, weights, score_threshold, iou_threshold, max_detections):
    """One image: greedy suppression class by class, then the best of all classes."""
    decoded = numpy_boxes.decode(deltas, anchors, weights=weights)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    found = []
    for class_index in range(logits.shape[1]):
        kept: list[int] = []
        for row in np.argsort(-scores[:, class_index]):
            if scores[row, class_index] <= score_threshold or len(kept) == max_detections:
                break
            if np.all(numpy_boxes.iou(decoded[row], decoded[kept]) <= iou_threshold):
                kept.append(int(row))
        found += [(scores[row, class_index], class_index, row) for row in kept]
    found = sorted(found, reverse=True)[:max_detections]
    return [(score, class_index, decoded[row]) for score, class_index, row in found]


def test_decode_equals_the_numpy_coder():
    generator = np.random.default_rng(0)
    anchors = AnchorGrid(32, 32, levels=(3, 4)).boxes()
    deltas = generator.normal(size=(2, len(anchors), 4)).astype(np.float32)
    np.testing.assert_allclose(
        decode(deltas, anchors, weights=WEIGHTS),
        numpy_boxes.decode(deltas, anchors, weights=WEIGHTS),
        rtol=1e-5,
        atol=1e-3,
    )


def test_decode_honours_the_weights_of_the_coder():
    boxes = np.array([[2, 1, 30, 9]], np.float32)
    deltas = numpy_boxes.encode(boxes, ANCHORS[:1], weights=WEIGHTS)
    np.testing.assert_allclose(decode(deltas, ANCHORS[:1], weights=WEIGHTS), boxes, atol=1e-4)
    assert np.max(np.abs(decode(deltas, ANCHORS[:1], weights=PLAIN) - boxes)) > 1


def test_of_two_overlapping_boxes_of_a_class_the_better_stays():
    assert one_image([[0.8, 0.1], [0.9, 0.1], [0.7, 0.1]]) == [(1, 0, 0.9), (2, 0, 0.7)]


def test_boxes_of_different_classes_do_not_suppress_each_other():
    assert one_image([[0.8, 0.1], [0.1, 0.9], [0.1, 0.1]]) == [(1, 1, 0.9), (0, 0, 0.8)]


def test_one_anchor_can_be_two_classes():
    assert one_image([[0.8, 0.6], [0.1, 0.1], [0.1, 0.1]]) == [(0, 0, 0.8), (0, 1, 0.6)]


def test_the_iou_threshold_is_the_most_overlap_allowed():
    assert len(one_image([[0.8], [0.9], [0.1]], iou_threshold=0.85)) == 2  # 90/110 = .82
    assert len(one_image([[0.8], [0.9], [0.1]], iou_threshold=0.8)) == 1


def test_scores_at_or_below_the_threshold_are_left_out():
    assert one_image([[0.5], [0.1], [0.4]], score_threshold=0.5) == []
    assert one_image([[0.52], [0.1], [0.4]], score_threshold=0.5) == [(0, 0, 0.52)]


def test_the_threshold_for_evaluation_keeps_what_the_one_for_showing_drops():
    assert EVALUATION_SCORE_THRESHOLD <= 0.05 < SHOW_SCORE_THRESHOLD
    scores = [[0.06], [0.01], [0.31]]
    assert [row[0] for row in one_image(scores, score_threshold=EVALUATION_SCORE_THRESHOLD)] == [2, 0]
    assert [row[0] for row in one_image(scores, score_threshold=SHOW_SCORE_THRESHOLD)] == [2]


def test_the_best_of_all_classes_are_kept_when_there_are_too_many():
    assert one_image([[0.8, 0.6], [0.1, 0.1], [0.5, 0.7]], max_detections=2) == [(0, 0, 0.8), (2, 1, 0.7)]


def test_rows_after_the_count_are_zeros():
    logits = np.full((1, 3, 2), -20, np.float32)
    logits[0, 2, 1] = 3
    result = detections(
        logits,
        np.zeros((1, 3, 4), np.float32),
        anchors=ANCHORS,
        coder_weights=PLAIN,
        score_threshold=0.3,
        max_detections=5,
    )
    assert {name: value.dtype for name, value in result.items()} == {
        "boxes": tf.float32,
        "scores": tf.float32,
        "classes": tf.int32,
        "count": tf.int32,
    }
    assert result["count"].numpy().tolist() == [1]
    assert result["classes"].numpy().tolist() == [[1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(result["boxes"][0, 1:], np.zeros((4, 4)))
    np.testing.assert_array_equal(result["scores"][0, 1:], np.zeros(4))


def test_boxes_are_pixels_and_not_clipped():
    anchors = np.array([[-20, -10, 700, 900]], np.float32)
    result = detections(
        np.full((1, 1, 1), 2.0, np.float32),
        np.zeros((1, 1, 4), np.float32),
        anchors=anchors,
        coder_weights=PLAIN,
        score_threshold=0.3,
    )
    np.testing.assert_allclose(result["boxes"][0, 0], anchors[0])


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_in_a_graph_equals_greedy_suppression_in_numpy(seed: int):
    generator = np.random.default_rng(seed)
    anchors = AnchorGrid(64, 64, levels=(3, 5), scales=(1.0,)).boxes()  # 252: all of them are candidates
    logits = generator.normal(-2, 1.5, (3, len(anchors), 4)).astype(np.float32)
    logits[1] = -30  # an image without detections between others
    deltas = generator.normal(0, 1, (3, len(anchors), 4)).astype(np.float32)
    limits = {"score_threshold": 0.05, "iou_threshold": 0.4, "max_detections": 60}

    named = {"anchors": anchors, "coder_weights": WEIGHTS, **limits}
    result = tf.function(lambda *outputs: detections(*outputs, **named))(logits, deltas)
    for image in range(3):
        expected = slow_detections(logits[image], deltas[image], anchors, WEIGHTS, **limits)
        count = int(result["count"][image])
        assert count == len(expected)
        assert count == (0 if image == 1 else 60)
        for i, (score, class_index, box) in enumerate(expected):
            assert int(result["classes"][image, i]) == class_index
            assert float(result["scores"][image, i]) == pytest.approx(score, rel=1e-4)
            np.testing.assert_allclose(result["boxes"][image, i], box, rtol=1e-4, atol=1e-3)


def test_candidates_are_the_anchors_with_the_best_scores_of_any_class(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode_module, "CANDIDATES", 2)
    anchors = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(4)], np.float32)
    scores = [[0.5, 0.1], [0.6, 0.4], [0.1, 0.9], [0.55, 0.3]]
    assert one_image(scores, anchors) == [(2, 1, 0.9), (1, 0, 0.6), (1, 1, 0.4)]


def test_half_precision_outputs_of_a_mixed_precision_model_are_decoded_in_full_precision():
    anchors = AnchorGrid(64, 64, levels=(3, 3), scales=(1.0,), ratios=(1.0,)).boxes()
    logits = np.random.default_rng(0).normal(size=(1, 64, 2)).astype(np.float16)
    deltas = np.zeros((1, 64, 4), np.float16)
    half = detections(logits, deltas, anchors=anchors, coder_weights=PLAIN, score_threshold=0.3)
    full = detections(
        logits.astype(np.float32), deltas.astype(np.float32), anchors=anchors, coder_weights=PLAIN, score_threshold=0.3
    )
    assert half["boxes"].dtype == half["scores"].dtype == tf.float32
    np.testing.assert_array_equal(half["boxes"], full["boxes"])


def test_fast_suppression_is_by_any_class_and_an_anchor_has_only_its_best():
    scores = [[0.8, 0.6], [0.1, 0.9], [0.7, 0.6]]
    assert one_image(scores) == [(1, 1, 0.9), (0, 0, 0.8), (2, 0, 0.7), (2, 1, 0.6)]
    assert one_image(scores, find=fast_detections) == [(1, 1, 0.9), (2, 0, 0.7)]
    assert one_image(scores, find=fast_detections, max_detections=1) == [(1, 1, 0.9)]


def test_fast_suppression_takes_as_few_as_there_are():
    assert one_image([[0.2, 0.1]] * 3, find=fast_detections) == []
    nowhere = fast_detections(
        np.zeros((2, 0, 3)), np.zeros((2, 0, 4)), anchors=np.zeros((0, 4)), coder_weights=PLAIN, score_threshold=0.01
    )
    assert nowhere["count"].numpy().tolist() == [0, 0]
    assert nowhere["boxes"].shape == (2, 100, 4)


@pytest.mark.parametrize("limit", [5, 300])
def test_fast_suppression_is_that_of_the_exported_files(limit):
    """The oracle is what a device does with a raw file."""
    generator = np.random.default_rng(8)
    anchors = AnchorGrid(32, 32, levels=(3, 4)).boxes()
    logits = generator.normal(-1, 1, (2, len(anchors), 3)).astype(np.float32)
    deltas = generator.normal(0, 0.5, (2, len(anchors), 4)).astype(np.float32)
    found = fast_detections(
        logits,
        deltas,
        anchors=anchors,
        coder_weights=WEIGHTS,
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=limit,
    )
    for image in range(2):
        boxes = decode(deltas[image], anchors, weights=WEIGHTS).numpy()
        scores = tf.sigmoid(logits[image]).numpy()
        rows, classes = np.nonzero(scores > 0.05)
        kept = fast_suppression(boxes[rows], scores[rows, classes], rows=rows, iou_threshold=0.5, limit=limit)
        count = int(found["count"][image])
        assert count == len(kept) <= limit
        np.testing.assert_array_equal(found["classes"][image, :count], classes[kept])
        np.testing.assert_allclose(found["scores"][image, :count], scores[rows, classes][kept], atol=1e-6)
        np.testing.assert_allclose(found["boxes"][image, :count], boxes[rows[kept]], atol=1e-3)
        assert not found["scores"].numpy()[image, count:].any()


@pytest.mark.parametrize("find", [detections, fast_detections])
def test_boxes_are_clipped_before_their_overlaps_where_that_is_asked_for(find):
    """Whole, they overlap by 100 of 160; inside an input of 10 x 4 pixels both are the same box."""
    anchors = np.array([[0, -6, 10, 4], [0, -6, 10, 10]], np.float32)
    logits = np.array([[[2.0], [1.0]]], np.float32)
    settings = {"coder_weights": PLAIN, "score_threshold": 0.3, "anchors": anchors}
    whole = find(logits, np.zeros((1, 2, 4), np.float32), **settings, iou_threshold=0.7)
    clipped = find(logits, np.zeros((1, 2, 4), np.float32), **settings, iou_threshold=0.7, clip_to=(10, 4))
    assert whole["count"][0] == 2 and clipped["count"][0] == 1
    np.testing.assert_array_equal(clipped["boxes"][0, 0], [0, 0, 10, 4])
