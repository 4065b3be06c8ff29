"""How far the findings of a detector can be trusted, class by class, measured where it agrees with the labels.

A score says little by itself: 0.5 is a sure finding of one class and a doubtful one of another. So the share of right
findings is fitted over the score, for each class (Platt scaling). Labels that are wrong disturb the fit little, as long
as they are few.

Sources: Platt, Probabilistic Outputs for Support Vector Machines, 1999; Northcutt et al., Confident Learning, 2021,
which compares the confidence of a class with what is usual for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_retina.data.records import Record
from keras_retina.geometry.boxes import iou

SAME_PLACE = 0.5
"""From this IoU on, a finding and a label are about the same object, as in AP50."""

FEW = 20
"""With fewer right findings of a class, all classes together say what is usual for it."""


@dataclass(frozen=True)
class Findings:
    """Detections of one image: `boxes` [n, 4] yxyx pixels of it, `classes` [n] indices, `scores` [n] in 0..1."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The share of right findings over their score, `1 / (1 + exp(-(slope * score + offset)))`; arrays [classes]."""

    slope: np.ndarray
    offset: np.ndarray

    def __call__(self, findings: Findings) -> np.ndarray:
        """Returns for each finding how probably it is right, 0..1."""
        return _logistic(self.slope[findings.classes] * findings.scores + self.offset[findings.classes])


@dataclass(frozen=True)
class Trust:
    """What may be expected of a detector on these images; arrays [classes].

    Attributes:
        is_object: how probably a finding lies on an object of its class. Objects that nobody labelled count against it.
        is_class: how probably the class of a finding is right, given that some label is there.
        found: mean of `is_class` over the labels: how well the class is found at all.
        overlap: median IoU of a label and the finding that is its own.
        spread: how far below the median the lowest tenth of these IoUs begins, over 0.
    """

    is_object: Curve
    is_class: Curve
    found: np.ndarray
    overlap: np.ndarray
    spread: np.ndarray


def matched(record: Record, findings: Findings, *, overlap: np.ndarray) -> np.ndarray:
    """Returns for each label the finding of its class that is its own, or -1; int [labels]. A crowd has none.

    Args:
        overlap: IoU, [labels, findings].
    """
    same = (record.classes[:, None] == findings.classes) & (overlap >= SAME_PLACE) & ~record.crowd[:, None]
    return one_to_one(np.where(same, overlap * findings.scores, 0))


def one_to_one(worth: np.ndarray) -> np.ndarray:
    """Gives each row a column of its own, or -1: the greatest worth [rows, columns] chooses first, 0 never."""
    left, chosen = worth.copy(), np.full([len(worth)], -1, np.int64)
    while left.size and left.max() > 0:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        chosen[row] = column
        left[row], left[:, column] = 0, 0
    return chosen


def measure_trust(images: Iterable[tuple[Record, Findings]], classes: int) -> Trust:
    """Measures all of `Trust` on labelled images and what was found in them."""
    seen: list[_Seen] = [_Seen([], [], [], [], []) for _ in range(classes)]
    labels = np.zeros([classes], np.int64)
    for record, findings in images:
        overlap = iou(record.boxes, findings.boxes)
        own = matched(record, findings, overlap=overlap)
        labels += np.bincount(record.classes[~record.crowd], minlength=classes)
        right = np.isin(np.arange(len(findings.scores)), own)
        on_label = overlap.max(axis=0, initial=0) >= SAME_PLACE
        on_crowd = overlap[record.crowd].max(axis=0, initial=0) >= SAME_PLACE
        for index, score in enumerate(findings.scores):
            if not on_crowd[index]:
                one = seen[findings.classes[index]]
                one.scores.append(float(score))
                one.right.append(bool(right[index]))
                one.on_label.append(bool(on_label[index]))
        for label in np.flatnonzero(own >= 0):
            one = seen[record.classes[label]]
            one.overlaps.append(float(overlap[label, own[label]]))
            one.own_scores.append(float(findings.scores[own[label]]))
    together = _Seen(*(sum((getattr(one, name) for one in seen), []) for name in _Seen.__annotations__))
    used = [one if sum(one.right) >= FEW else together for one in seen]
    is_object = _curve([(np.array(one.scores), np.array(one.right)) for one in used])
    is_class = _curve([_where(one) for one in used])
    median = np.array([_quantile(one.overlaps, 0.5, default=1.0) for one in used])
    lowest = np.array([_quantile(one.overlaps, 0.1, default=SAME_PLACE) for one in used])
    certain = [_as_findings(index, one.own_scores) for index, one in enumerate(seen)]
    found = np.array([is_class(one).sum() for one in certain]) / np.maximum(labels, 1)
    return Trust(is_object, is_class, found, median, np.maximum(median - lowest, SMALLEST_SPREAD))


@dataclass(frozen=True)
class _Seen:
    """Of one class: its findings, and the findings that labels of it have as their own."""

    scores: list[float]
    right: list[bool]
    on_label: list[bool]
    overlaps: list[float]
    own_scores: list[float]


def _where(one: _Seen) -> tuple[np.ndarray, np.ndarray]:
    keep = np.array(one.on_label, bool)
    return np.array(one.scores)[keep], np.array(one.right)[keep]


def _as_findings(index: int, scores: list[float]) -> Findings:
    return Findings(np.zeros([len(scores), 4], np.float32), np.full([len(scores)], index), np.array(scores, np.float64))


def _quantile(values: list[float], share: float, *, default: float) -> float:
    return float(np.quantile(values, share)) if values else default


def _curve(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> Curve:
    fitted = np.array([_fit(scores, right) for scores, right in samples]).reshape(-1, 2)
    return Curve(fitted[:, 0], fitted[:, 1])


def _fit(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns slope and offset of the likeliest logistic curve, which `USUAL_CURVE` holds weakly: Newton's method."""
    inputs = np.stack([scores, np.ones_like(scores)], axis=-1).reshape(-1, 2)

    def loss(curve: np.ndarray) -> float:
        values = inputs @ curve
        return float((np.logaddexp(0, values) - right * values).sum() + HOLD / 2 * ((curve - USUAL_CURVE) ** 2).sum())

    curve = np.array(USUAL_CURVE)
    for _ in range(NEWTON_STEPS):
        expected = _logistic(inputs @ curve)
        gradient = inputs.T @ (expected - right) + HOLD * (curve - USUAL_CURVE)
        bend = (inputs * (expected * (1 - expected))[:, None]).T @ inputs + HOLD * np.eye(2)
        step, length, before = np.linalg.solve(bend, gradient), 1.0, loss(curve)
        while length > SHORTEST and loss(curve - length * step) > before:  # a whole step may leap over the minimum
            length /= 2
        if length <= SHORTEST:
            break
        curve = curve - length * step
    return curve


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))


USUAL_CURVE = (8.0, -4.0)
"""Slope and offset without any finding: even chances at a score of 0.5."""

HOLD = 0.01
"""How strongly a fit is held to `USUAL_CURVE`, in findings; it keeps the fit finite where all are right or none."""

NEWTON_STEPS, SHORTEST = 50, 1e-6
SMALLEST_SPREAD = 0.02
"""So that a detector that hits every box alike does not call a hair's breadth suspicious."""
