"""Which labels a trained detector disagrees with, and how suspicious each disagreement is.

Four kinds: a confident finding without a label, a label that nothing finds, a label whose object is found as another
class, and a label whose box lies badly around what is found. All are scored as probabilities, from how far the findings
of each class can be trusted, so they stand in one list. A class that the detector knows badly does not fill the list.

Source: Tkachenko et al., ObjectLab, 2023: an overlooked, a swapped and a badly located label are each scored in their
own way. The scores here are others: they are calibrated for each class, and each finding explains one label at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from keras_retina.data.records import Record
from keras_retina.evaluate.trust import SAME_PLACE, Findings, Trust, matched, one_to_one
from keras_retina.geometry.boxes import area, iou

Kind = Literal["missing_label", "unfound_label", "wrong_class", "loose_box"]
KINDS: tuple[Kind, ...] = ("missing_label", "unfound_label", "wrong_class", "loose_box")

NEARBY = 0.1
"""From this IoU on, a finding of the same class may belong to a label that lies badly; below it is another object."""

LOOSE = 2.0
"""Square of how many spreads under the usual overlap make even chances of a loose box."""

LEAST = 0.1
"""Disagreements below this score are not listed."""


@dataclass(frozen=True)
class Suspicion:
    """One disagreement.

    Attributes:
        score: 0..1, comparable between kinds and classes.
        label: index of the label in its record; None where one is missing.
        finding: index of the finding; None where nothing is found.
    """

    kind: Kind
    score: float
    label: int | None
    finding: int | None


def suspicions(record: Record, findings: Findings, *, trust: Trust) -> list[Suspicion]:
    """Returns the disagreements of one image with a score of at least `LEAST`: one for a label, one for a place.

    Labels of crowds are not judged, and what is found inside them needs no label.
    """
    overlap = iou(record.boxes, findings.boxes)
    own = matched(record, findings, overlap=overlap)
    judged = ~record.crowd[:, None] & ~np.isin(np.arange(len(findings.scores)), own)
    sure = trust.is_class(findings)
    own_sure = np.where(own >= 0, np.append(sure, 0)[own], 0)  # index -1 is the zero at the end
    same_class = record.classes[:, None] == findings.classes
    other = one_to_one(np.where(judged & ~same_class & (overlap >= SAME_PLACE), overlap * sure, 0))
    near = judged & same_class & (overlap >= NEARBY) & (own < 0)[:, None]
    beside = one_to_one(np.where(near, overlap * sure, 0))
    found = []
    for label in np.flatnonzero(~record.crowd):
        index = int(record.classes[label])
        explanations = []
        if other[label] >= 0:
            score = sure[other[label]] * (1 - own_sure[label])
            explanations.append(Suspicion("wrong_class", float(score), int(label), int(other[label])))
        nearest = beside[label] if own[label] < 0 else own[label]
        if nearest >= 0:
            score = sure[nearest] * looseness(overlap[label, nearest], trust.overlap[index], spread=trust.spread[index])
            explanations.append(Suspicion("loose_box", float(score), int(label), int(nearest)))
        unfound = Suspicion("unfound_label", float(trust.found[index] * (1 - own_sure[label])), int(label), None)
        found.append(_strongest(unfound, explanations))
    explained = np.concatenate([own, other, beside])
    found += _missing(record, findings, explained=explained, overlap=overlap, is_object=trust.is_object(findings))
    return [one for one in found if one.score >= LEAST]


def looseness(overlap: float, usual: float, *, spread: float) -> float:
    """Returns how probably a box lies badly, 0..1: 0 at the usual IoU, one half at `sqrt(LOOSE)` spreads below it."""
    below = max(0.0, usual - overlap) / spread
    return below**2 / (below**2 + LOOSE)


def _strongest(unfound: Suspicion, explanations: list[Suspicion]) -> Suspicion:
    """Returns the highest score, under the name of the best explanation unless that one is weak."""
    best = max(explanations, key=lambda one: one.score, default=unfound)
    if best.score < unfound.score / 2:
        return unfound
    return replace(best, score=max(best.score, unfound.score))


def _missing(
    record: Record, findings: Findings, *, explained: np.ndarray, overlap: np.ndarray, is_object: np.ndarray
) -> list[Suspicion]:
    """Scores the findings that explain no label; of several at one place, only the surest is kept."""
    uncovered = np.clip(1 - overlap.max(axis=0, initial=0) / SAME_PLACE, 0, 1)
    scores = np.where(inside(findings.boxes, record.boxes[record.crowd]) >= SAME_PLACE, 0, is_object * uncovered)
    between, taken = iou(findings.boxes, findings.boxes), explained[explained >= 0].tolist()
    found = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if scores[index] > 0 and not (between[index, taken] >= SAME_PLACE).any():
            taken.append(index)
            found.append(Suspicion("missing_label", float(scores[index]), None, index))
    return found


def inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Returns the greatest share of each box that lies in one of the regions, `[n, 4]` and `[m, 4]` to `[n]`."""
    lower = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    upper = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.prod(np.maximum(upper - lower, 0), axis=-1)
    return (shared / np.maximum(area(boxes), 1e-9)[:, None]).max(axis=1, initial=0)
