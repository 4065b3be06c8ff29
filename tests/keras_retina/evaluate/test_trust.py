"""What may be expected of a detector is measured where it agrees with the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Record
from keras_retina.evaluate.trust import FEW, HOLD, SMALLEST_SPREAD, Findings, _fit, matched, measure_trust, one_to_one
from keras_retina.geometry.boxes import iou

BOX, HALF = (0, 0, 10, 10), (0, 0, 10, 6)  # IoU 0.6


def pair(labels, found, crowd=False):
    boxes = np.array([box for box, _ in labels], np.float32).reshape(-1, 4)
    classes = np.array([index for _, index in labels], np.int32)
    record = Record(1, Path("a.jpg"), "a.jpg", 100, 100, boxes, classes, np.full([len(labels)], crowd))
    places = np.array([one[0] for one in found], np.float32).reshape(-1, 4)
    kinds, scores = np.array([one[1] for one in found], np.int64), np.array([one[2] for one in found], np.float64)
    return record, Findings(places, kinds, scores)


def test_the_greatest_worth_chooses_first_and_nothing_is_chosen_twice():
    assert one_to_one(np.array([[0.9, 0.8], [0.95, 0.1], [0.0, 0.0]])).tolist() == [1, 0, -1]
    assert one_to_one(np.zeros([2, 0])).tolist() == [-1, -1]
    assert one_to_one(np.zeros([0, 2])).tolist() == []


def test_a_label_has_the_sure_and_well_placed_finding_of_its_class():
    # IoU x score: 1.0 x 0.5 against 0.6 x 0.9 of the same class; the other class lies right and does not count.
    record, findings = pair([(BOX, 0)], [(BOX, 0, 0.5), (HALF, 0, 0.9), (BOX, 1, 0.9)])
    assert matched(record, findings, overlap=iou(record.boxes, findings.boxes)).tolist() == [1]


def test_crowds_have_no_finding_of_their_own():
    record, findings = pair([(BOX, 0)], [(BOX, 0, 0.9)], crowd=True)
    assert matched(record, findings, overlap=iou(record.boxes, findings.boxes)).tolist() == [-1]


def test_what_is_right_at_a_score_comes_back_from_the_curve():
    # Of the findings with a score of 0.8, three of four are right; of those with 0.2, one of four.
    pairs = [pair([(BOX, 0)], [(BOX, 0, 0.8)])] * 300 + [pair([], [(BOX, 0, 0.8)])] * 100
    pairs += [pair([(BOX, 0)], [(BOX, 0, 0.2)])] * 100 + [pair([], [(BOX, 0, 0.2)])] * 300
    trust = measure_trust(pairs, 1)
    probed = Findings(np.zeros([2, 4]), np.array([0, 0]), np.array([0.8, 0.2]))
    assert trust.is_object(probed) == pytest.approx([0.75, 0.25], abs=0.005)


def test_a_class_is_judged_where_some_label_is_alone():
    # Without a label nothing is said of the class: of those on a label, two of three are right.
    pairs = [pair([(BOX, 0)], [(BOX, 0, 0.5)])] * 200 + [pair([(BOX, 1)], [(BOX, 0, 0.5)])] * 100
    trust = measure_trust(pairs + [pair([], [(BOX, 0, 0.5)])] * 300, 2)
    probed = Findings(np.zeros([1, 4]), np.array([0]), np.array([0.5]))
    assert trust.is_class(probed) == pytest.approx([2 / 3], abs=0.005)
    assert trust.is_object(probed) == pytest.approx([1 / 3], abs=0.005)
    assert trust.found[0] == pytest.approx(2 / 3, abs=0.005)  # all 200 labels are found, each with 2 / 3
    assert trust.found[1] == 0


def test_the_usual_overlap_is_the_median_and_the_spread_reaches_to_the_lowest_tenth():
    pairs = [pair([(BOX, 0)], [(BOX, 0, 0.9)])] * 80 + [pair([(BOX, 0)], [(HALF, 0, 0.9)])] * 20
    trust = measure_trust(pairs, 1)
    assert (trust.overlap[0], trust.spread[0]) == (1, pytest.approx(0.4))
    alike = measure_trust(pairs[:80], 1)
    assert alike.spread[0] == SMALLEST_SPREAD


def test_a_class_with_few_right_findings_is_treated_like_all_together():
    many = [pair([(BOX, 0)], [(BOX, 0, 0.9)])] * 100 + [pair([], [(BOX, 0, 0.3)])] * 100
    few = [pair([(BOX, 1)], [(HALF, 1, 0.9)])] * (FEW - 1)
    trust = measure_trust(many + few, 2)
    assert trust.overlap.tolist() == [1, 1]
    assert trust.is_object.slope[1] != 8.0
    alone = measure_trust(many, 1)
    assert trust.is_object.slope[0] == alone.is_object.slope[0]


def test_what_lies_in_a_crowd_counts_neither_as_right_nor_as_wrong():
    sure = [pair([(BOX, 0)], [(BOX, 0, 0.9)])] * 30
    crowd = [pair([(BOX, 0)], [(BOX, 0, 0.9)], crowd=True)] * 30
    assert measure_trust(sure + crowd, 1).is_object.slope == measure_trust(sure, 1).is_object.slope


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 40, 900])
def test_the_fit_ends_where_all_findings_are_right_or_none(right, count):
    # The likeliest curve: where its slope and offset change the loss no more.
    scores = np.random.default_rng(0).random(count)
    slope, offset = _fit(scores, np.full([count], right))
    expected = 1 / (1 + np.exp(-(slope * scores + offset)))
    assert abs(((expected - right) * scores).sum() + HOLD * (slope - 8)) < 1e-3
    assert abs((expected - right).sum() + HOLD * (offset + 4)) < 1e-3


@pytest.mark.parametrize("pairs", [[], [pair([], [])], [pair([(BOX, 0)], [])]])
def test_a_detector_that_finds_nothing_is_not_trusted(pairs):
    trust = measure_trust(pairs, 2)
    assert trust.found.tolist() == [0, 0]
    assert np.isfinite(trust.is_object.slope).all() and np.isfinite(trust.spread).all()
