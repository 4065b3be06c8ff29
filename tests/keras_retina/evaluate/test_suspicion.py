"""Each kind of disagreement with hand-computed scores, and the images where there is nothing to say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Record
from keras_retina.evaluate.suspicion import LOOSE, Suspicion, inside, looseness, suspicions
from keras_retina.evaluate.trust import Curve, Findings, Trust

# A score s is right with probability 1 / (1 + exp(-(10 s - 5))): one half at 0.5, 0.9933 at 1, 0.0067 at 0.
SURE = 1 / (1 + math.exp(-4))  # at a score of 0.9
DOUBTFUL = 1 / (1 + math.exp(4))  # at 0.1


@pytest.fixture
def trust() -> Trust:
    """Two classes alike; each label of the first is usually found with 0.9, of the second with 0.6."""
    curve = Curve(np.array([10.0, 10.0]), np.array([-5.0, -5.0]))
    return Trust(curve, curve, np.array([0.9, 0.6]), np.array([0.9, 0.9]), np.array([0.1, 0.1]))


def image(*labels: tuple[tuple[float, ...], int], crowd: tuple[bool, ...] | None = None) -> Record:
    boxes = np.array([box for box, _ in labels], np.float32).reshape(-1, 4)
    classes = np.array([index for _, index in labels], np.int32)
    crowds = np.array(crowd or [False] * len(labels), bool)
    return Record(1, Path("a.jpg"), "a.jpg", 100, 100, boxes, classes, crowds)


def findings(*found: tuple[tuple[float, ...], int, float]) -> Findings:
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    return Findings(boxes, np.array([one[1] for one in found], np.int64), np.array([one[2] for one in found], float))


BOX, FAR = (0, 0, 20, 20), (60, 60, 90, 90)


def test_an_image_without_labels_and_findings_says_nothing(trust):
    assert suspicions(image(), findings(), trust=trust) == []


def test_a_label_that_is_found_as_usual_is_not_listed(trust):
    assert suspicions(image((BOX, 0)), findings((BOX, 0, 0.9)), trust=trust) == []


def test_a_sure_finding_without_a_label_is_a_missing_label(trust):
    (one,) = suspicions(image(), findings((BOX, 1, 0.9)), trust=trust)
    assert one == Suspicion("missing_label", pytest.approx(SURE), None, 0)


def test_a_missing_label_is_less_suspicious_where_a_label_covers_a_part(trust):
    # IoU 0.25 with the label, half of what makes it the same place.
    found = suspicions(image((BOX, 0)), findings((BOX, 0, 0.9), ((0, 12, 20, 32), 0, 0.9)), trust=trust)
    assert [(one.kind, one.finding) for one in found] == [("missing_label", 1)]
    assert found[0].score == pytest.approx(SURE * 0.5)


def test_of_several_findings_at_one_place_the_surest_stands_for_a_missing_label(trust):
    found = suspicions(image(), findings((BOX, 0, 0.7), ((0, 0, 20, 18), 1, 0.9)), trust=trust)
    assert [(one.kind, one.finding) for one in found] == [("missing_label", 1)]


def test_a_label_that_nothing_finds_is_as_suspicious_as_its_class_is_well_found(trust):
    found = suspicions(image((BOX, 0), (FAR, 1)), findings(), trust=trust)
    assert found == [Suspicion("unfound_label", 0.9, 0, None), Suspicion("unfound_label", 0.6, 1, None)]


def test_a_label_that_is_hardly_found_is_nearly_as_suspicious(trust):
    (one,) = suspicions(image((BOX, 0)), findings((BOX, 0, 0.1)), trust=trust)
    assert one == Suspicion("unfound_label", pytest.approx(0.9 * (1 - DOUBTFUL)), 0, None)


def test_a_label_found_as_another_class_is_listed_once(trust):
    found = suspicions(image((BOX, 0)), findings((BOX, 1, 0.9), (BOX, 0, 0.1)), trust=trust)
    assert found == [Suspicion("wrong_class", pytest.approx(SURE * (1 - DOUBTFUL)), 0, 0)]


def test_a_class_that_is_found_too_leaves_no_doubt_about_the_label(trust):
    assert suspicions(image((BOX, 0)), findings((BOX, 0, 0.9), (BOX, 1, 0.6)), trust=trust) == []


def test_a_label_beside_what_is_found_is_a_loose_box_and_no_label_is_missing(trust):
    # IoU 1/3: 0.5667 below the usual 0.9 or 5.667 spreads; the score leaves half at sqrt(2) spreads.
    found = suspicions(image((BOX, 0)), findings(((0, 10, 20, 30), 0, 0.9)), trust=trust)
    spreads = (0.9 - 1 / 3) / 0.1
    assert found == [Suspicion("loose_box", pytest.approx(SURE * spreads**2 / (spreads**2 + 2), rel=1e-5), 0, 0)]


def test_a_box_that_is_found_but_fits_badly_is_loose(trust):
    # IoU 0.6, three spreads below the usual.
    found = suspicions(image((BOX, 0)), findings(((0, 0, 20, 12), 0, 0.9)), trust=trust)
    assert [(one.kind, one.label, one.finding) for one in found] == [("loose_box", 0, 0)]
    assert found[0].score == pytest.approx(SURE * 9 / 11, rel=1e-5)


def test_a_label_that_is_not_found_is_named_after_the_finding_beside_it(trust):
    # IoU 1/3; the finding is right with one half, so the label is more surely unfound than loose.
    beside = ((0, 10, 20, 30), 0, 0.5)
    assert suspicions(image((BOX, 0)), findings(beside), trust=trust) == [Suspicion("loose_box", 0.9, 0, 0)]
    # Right with one tenth: too weak to explain anything.
    (one,) = suspicions(image((BOX, 0)), findings((*beside[:2], 0.28)), trust=trust)
    assert (one.kind, one.score) == ("unfound_label", 0.9)


def test_two_labels_cannot_share_one_finding(trust):
    found = suspicions(image((BOX, 0), ((0, 0, 20, 18), 0)), findings((BOX, 0, 0.9)), trust=trust)
    assert found == [Suspicion("unfound_label", 0.9, 1, None)]


def test_a_crowd_is_not_judged_and_excuses_what_is_found_in_it(trust):
    crowded = image(((0, 0, 100, 100), 0), crowd=(True,))
    assert suspicions(crowded, findings((BOX, 0, 0.9), (FAR, 1, 0.9)), trust=trust) == []
    assert suspicions(crowded, findings(), trust=trust) == []


def test_looseness_is_nothing_at_the_usual_overlap_and_one_half_as_far_below_as_stated():
    assert looseness(0.95, 0.9, spread=0.1) == 0
    assert looseness(0.9 - math.sqrt(LOOSE) * 0.1, 0.9, spread=0.1) == pytest.approx(0.5)


def test_the_share_of_a_box_inside_regions():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 20], [5, 5, 5, 5]], np.float32)
    assert inside(boxes, np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)).tolist() == [1, 0.5, 0]
    assert inside(boxes, np.zeros([0, 4], np.float32)).tolist() == [0, 0, 0]
