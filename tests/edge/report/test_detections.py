from __future__ import annotations

import numpy as np
import pytest

from edge.report.detections import (
    Boxes,
    ImageScore,
    choose_images,
    group_labels,
    group_results,
    match,
    matched,
    precision_recall,
    score_images,
)

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "never labelled"}]


def label(image_id, category_id, bbox, **extra):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **extra}


def found(image_id, category_id, bbox, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def truth(annotations, images=(1, 2)):
    numbered = [{**item, "id": index} for index, item in enumerate(annotations, start=1)]
    return {"images": [{"id": i} for i in images], "annotations": numbered, "categories": CATEGORIES}


def boxes(rows, categories, scores=None):
    scores = np.ones(len(rows)) if scores is None else np.array(scores)
    return Boxes(np.array(rows, np.float32).reshape(-1, 4), np.array(categories, np.int64), scores)


def precision_recall_oracle(hits, positives):
    """Interpolated precision at 101 recalls of detections sorted by score, from the definition."""
    true = np.cumsum(hits)
    precision, recall = true / np.arange(1, len(hits) + 1), true / positives
    points = []
    for target in np.linspace(0, 1, 101):
        reached = precision[recall >= target - 1e-12]
        points.append(reached.max() if reached.size else 0.0)
    return np.array(points)


def test_the_curve_is_the_interpolated_precision_over_101_recalls():
    ground_truth = truth([label(1, 3, [10 * k, 0, 8, 8]) for k in range(4)])
    results = [
        found(1, 3, [0, 0, 8, 8], 0.9),
        found(1, 3, [50, 50, 8, 8], 0.8),
        found(1, 3, [10, 0, 8, 8], 0.7),
        found(1, 3, [20, 0, 8, 8], 0.2),
    ]
    curve = precision_recall(ground_truth, results, show_score=0.3)[3]
    expected = precision_recall_oracle([1, 0, 1, 1], 4)
    reached = int((expected > 0).sum())
    np.testing.assert_allclose([point[1] for point in curve.points], expected[:reached], atol=1e-6)
    np.testing.assert_allclose([point[0] for point in curve.points], np.linspace(0, 1, 101)[:reached], atol=1e-9)
    assert curve.ap50 == pytest.approx(100 * expected.mean(), abs=1e-4)
    assert curve.shown == pytest.approx((0.5, 0.75), abs=1e-6)  # two of four found at 0.3, at 3/4 later


def test_a_class_without_labels_has_no_curve_and_one_never_found_is_flat():
    curves = precision_recall(truth([label(1, 3, [0, 0, 8, 8])]), [], show_score=0.3)
    assert list(curves) == [3]
    assert curves[3].points == () and curves[3].shown is None and curves[3].ap50 == 0.0


def test_no_detection_above_the_threshold_has_no_mark():
    results = [found(1, 3, [0, 0, 8, 8], 0.1)]
    curve = precision_recall(truth([label(1, 3, [0, 0, 8, 8])]), results, show_score=0.3)[3]
    assert curve.ap50 == pytest.approx(100.0) and curve.shown is None


def test_detections_of_other_images_and_unknown_classes_do_not_count():
    results = [found(1, 3, [0, 0, 8, 8], 0.5), found(99, 3, [0, 0, 8, 8], 0.9), found(1, 1234, [0, 0, 8, 8], 0.9)]
    curve = precision_recall(truth([label(1, 3, [0, 0, 8, 8])]), results, show_score=0.3)[3]
    assert curve.ap50 == pytest.approx(100.0)


def test_the_inputs_of_the_curve_are_not_changed():
    ground_truth, results = truth([label(1, 3, [0, 0, 8, 8])]), [found(1, 3, [0, 0, 8, 8], 0.5)]
    before = repr(ground_truth), repr(results)
    precision_recall(ground_truth, results, show_score=0.3)
    assert (repr(ground_truth), repr(results)) == before


def test_matching_takes_each_reference_once_in_order_of_score_and_only_in_the_class():
    references = boxes([[0, 0, 10, 10], [0, 20, 10, 30]], [3, 7])
    rows = [[0, 0, 10, 9], [0, 0, 10, 10], [0, 20, 10, 30], [0, 20, 10, 30]]
    detections = boxes(rows, [3, 3, 3, 7], [0.9, 0.8, 0.7, 0.6])
    assert match(detections, references).tolist() == [0, -1, -1, 1]
    assert matched(detections, references) == 2


@pytest.mark.parametrize(("width", "expected"), [(20, 0), (21, -1)])
def test_matching_needs_half_of_the_union(width, expected):
    assert match(boxes([[0, 0, 10, width]], [3]), boxes([[0, 0, 10, 10]], [3])).tolist() == [expected]


def test_nothing_matches_nothing():
    none, one = boxes([], []), boxes([[0, 0, 1, 1]], [3])
    assert match(none, none).shape == (0,) and match(none, one).shape == (0,) and match(one, none).tolist() == [-1]


def test_results_are_grouped_by_image_highest_score_first_as_yxyx():
    results = [found(1, 3, [1, 2, 10, 20], 0.2), found(1, 7, [0, 0, 4, 4], 0.9), found(2, 3, [0, 0, 1, 1], 0.5)]
    grouped = group_results(results)
    assert sorted(grouped) == [1, 2]
    np.testing.assert_array_equal(grouped[1].boxes, [[0, 0, 4, 4], [2, 1, 22, 11]])
    assert grouped[1].categories.tolist() == [7, 3] and grouped[1].scores.tolist() == [0.9, 0.2]
    assert len(grouped[1].above(0.5)) == 1


def test_labels_keep_images_without_objects_and_leave_crowds_out():
    grouped = group_labels(truth([label(1, 3, [0, 0, 4, 4]), label(1, 3, [0, 0, 9, 9], iscrowd=1)]))
    assert len(grouped[1]) == 1 and len(grouped[2]) == 0


def test_an_image_is_scored_by_its_errors_and_by_the_agreement_of_the_two_files():
    labels = {1: boxes([[0, 0, 10, 10], [0, 20, 4, 24]], [3, 3]), 2: boxes([], [])}
    first = {1: boxes([[0, 0, 10, 10], [50, 50, 60, 60], [0, 20, 4, 24]], [3, 3, 3], [0.9, 0.8, 0.1])}
    second = {1: boxes([[0, 0, 10, 10]], [3], [0.9])}
    busy, empty = score_images(labels, first, second=second, show_score=0.3)
    assert (busy.image_id, busy.objects, busy.smallest, busy.errors) == (1, 2, 4.0, 2)  # one missed, one false
    assert busy.agreement == pytest.approx(2 * 1 / (2 + 1))
    assert (empty.objects, empty.errors, empty.agreement, empty.smallest) == (0, 0, 1.0, float("inf"))
    assert score_images(labels, first, second=None, show_score=0.3)[0].agreement == 1.0


def test_images_are_chosen_by_rule_each_once():
    scored = [
        ImageScore(1, objects=9, smallest=30, errors=0, agreement=1.0),
        ImageScore(2, objects=2, smallest=30, errors=1, agreement=0.2),
        ImageScore(3, objects=2, smallest=30, errors=1, agreement=0.5),
        ImageScore(4, objects=3, smallest=30, errors=7, agreement=1.0),
        ImageScore(5, objects=1, smallest=3, errors=2, agreement=1.0),
        ImageScore(6, objects=1, smallest=20, errors=1, agreement=1.0),
        ImageScore(7, objects=1, smallest=20, errors=1, agreement=1.0),
    ]
    chosen = choose_images(scored, "Keras", second="int8")
    assert [choice.image_id for choice in chosen] == [1, 2, 3, 4, 5, 6]
    assert [choice.reason for choice in chosen][1] == "Keras and int8 differ most"
    assert choose_images(list(reversed(scored)), "Keras", second="int8") == chosen
    assert not any("differ" in choice.reason for choice in choose_images(scored, "Keras", second=None))
    assert (
        len(choose_images(scored, "Keras", second=None)) == 6
        and len(choose_images(scored, "Keras", second=None, count=2)) == 2
    )


def test_files_that_agree_everywhere_are_not_said_to_differ():
    scored = [ImageScore(index, 1, 10, 0, 1.0) for index in range(8)]
    reasons = [choice.reason for choice in choose_images(scored, "Keras", second="int8")]
    assert len(reasons) == 6 and not any("differ" in reason or "errors of" in reason for reason in reasons)


def test_few_or_no_images_are_all_shown():
    assert choose_images([], "Keras", second="int8") == []
    assert [choice.image_id for choice in choose_images([ImageScore(4, 0, float("inf"), 0, 1.0)], "a", second="b")] == [
        4
    ]
