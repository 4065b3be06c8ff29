"""A trained detector against the labels of whole splits: one list, the most suspicious first, and shares by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.predict import predict_dataset
from keras_retina.evaluate.suspicion import Kind, Suspicion, suspicions
from keras_retina.evaluate.trust import Findings, measure_trust
from keras_retina.geometry.boxes import xywh_to_yxyx
from keras_retina.model.spec import DetectorSpec

SUSPICIOUS = 0.5
"""From this score on, a label counts as suspicious in the shares of the classes."""

Box = tuple[float, float, float, float]
"""`y1, x1, y2, x2` in pixels of the upright image."""


@dataclass(frozen=True)
class Line:
    """One disagreement of the detector with the labels.

    Attributes:
        score: 0..1, comparable between kinds, classes and splits.
        record: the image, for pictures.
        label_class, label_box: None where a label is missing.
        found_class, found_box, confidence: None where nothing is found; the confidence is the score of the detector.
    """

    kind: Kind
    score: float
    split: str
    record: Record
    label_class: str | None
    label_box: Box | None
    found_class: str | None
    found_box: Box | None
    confidence: float | None


@dataclass(frozen=True)
class ClassShare:
    """One class: its labels, how many of them are suspicious, and how many more seem to be missing."""

    name: str
    labels: int
    suspicious: int
    missing: int

    @property
    def share(self) -> float | None:
        """Suspicious labels over labels, None without a label."""
        return self.suspicious / self.labels if self.labels else None


@dataclass(frozen=True)
class Review:
    """Every disagreement, the most suspicious first, and the labels that were reviewed (crowds left out)."""

    lines: tuple[Line, ...]
    classes: tuple[ClassShare, ...]

    @property
    def labels(self) -> int:
        """How many labels were reviewed."""
        return sum(one.labels for one in self.classes)


def review_datasets(
    detect: Callable[[np.ndarray], dict[str, np.ndarray]], spec: DetectorSpec, *, datasets: Sequence[Dataset]
) -> Review:
    """Runs a detector over splits and compares what it finds with their labels.

    Args:
        detect: as `predict_dataset` takes it.
        datasets: splits of one folder, of the detector's classes.
    """
    return review_results([(dataset, predict_dataset(detect, spec, dataset=dataset)) for dataset in datasets])


def review_results(found: Sequence[tuple[Dataset, list[dict[str, Any]]]]) -> Review:
    """Compares detections, in the COCO results format and pixels of the images, with the labels of their splits.

    What may be expected of the detector is measured in each split anew: it is surer where it was trained.
    """
    lines = [line for dataset, results in found for line in _compare(dataset, results)]
    lines.sort(key=lambda line: -line.score)
    return Review(tuple(lines), class_shares(lines, [dataset for dataset, _ in found]))


def class_shares(lines: Sequence[Line], datasets: Sequence[Dataset]) -> tuple[ClassShare, ...]:
    """Counts the labels of each class, and the lines with a score of at least `SUSPICIOUS`."""
    strong = [line for line in lines if line.score >= SUSPICIOUS]
    wrong = Counter(line.label_class for line in strong)
    missing = Counter(line.found_class for line in strong if line.label_class is None)
    shares = []
    for index, name in enumerate(datasets[0].class_names if datasets else ()):
        labels = sum(
            int(((record.classes == index) & ~record.crowd).sum()) for one in datasets for record in one.records
        )
        shares.append(ClassShare(name, labels, wrong[name], missing[name]))
    return tuple(shares)


def _compare(dataset: Dataset, results: list[dict[str, Any]]) -> list[Line]:
    pairs = findings_of(dataset, results)
    trust = measure_trust(pairs, len(dataset.class_names))
    return [
        _line(one, dataset=dataset, record=record, findings=findings)
        for record, findings in pairs
        for one in suspicions(record, findings, trust=trust)
    ]


def findings_of(dataset: Dataset, results: list[dict[str, Any]]) -> list[tuple[Record, Findings]]:
    """Gives each image of a split its detections."""
    index_of = {category: index for index, category in enumerate(dataset.category_ids)}
    grouped: dict[int, list[dict[str, Any]]] = {record.image_id: [] for record in dataset.records}
    for result in results:
        grouped[result["image_id"]].append(result)
    return [(record, _findings(grouped[record.image_id], index_of)) for record in dataset.records]


def _findings(results: list[dict[str, Any]], index_of: dict[int, int]) -> Findings:
    boxes = xywh_to_yxyx(np.array([result["bbox"] for result in results], np.float32).reshape(-1, 4))
    classes = np.array([index_of[result["category_id"]] for result in results], np.int64)
    return Findings(boxes, classes, np.array([result["score"] for result in results], np.float64))


def _line(one: Suspicion, *, dataset: Dataset, record: Record, findings: Findings) -> Line:
    names, label, index = dataset.class_names, one.label, one.finding
    return Line(
        kind=one.kind,
        score=round(one.score, 4),
        split=dataset.split,
        record=record,
        label_class=None if label is None else names[int(record.classes[label])],
        label_box=None if label is None else _box(record.boxes[label]),
        found_class=None if index is None else names[int(findings.classes[index])],
        found_box=None if index is None else _box(findings.boxes[index]),
        confidence=None if index is None else float(findings.scores[index]),
    )


def _box(box: np.ndarray) -> Box:
    y1, x1, y2, x2 = (round(float(value), 1) for value in box)
    return y1, x1, y2, x2
