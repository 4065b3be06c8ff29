"""Arithmetic of the report on saved detections: precision-recall curves, agreement of files, images to show."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_retina.geometry.boxes import area, iou, xywh_to_yxyx

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image: `boxes` [n, 4] yxyx pixels, `categories` [n] COCO ids, `scores` [n], highest first."""

    boxes: np.ndarray
    categories: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score: float) -> Boxes:
        """Keeps the detections that a user would be shown."""
        keep = self.scores >= score
        return Boxes(self.boxes[keep], self.categories[keep], self.scores[keep])


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class at IoU 0.5.

    Attributes:
        points: (recall, precision), both 0..1, up to the highest recall that was reached.
        shown: the last point whose detections score at least the show threshold, or None.
        ap50: mean precision over the 101 recalls, in percent: the class's AP50.
    """

    points: tuple[tuple[float, float], ...]
    shown: tuple[float, float] | None
    ap50: float


@dataclass(frozen=True)
class ImageScore:
    """How one image went at the show threshold: counts of boxes, matched at IoU 0.5 in the same class."""

    image_id: int
    objects: int
    smallest: float
    errors: int
    agreement: float


@dataclass(frozen=True)
class Choice:
    """An image for the gallery and why it is there."""

    image_id: int
    reason: str


def precision_recall(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], *, show_score: float
) -> dict[int, Curve]:
    """Returns the curve of every category id that has labelled objects, by pycocotools, 100 detections an image."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _with_defaults(ground_truth)
        truth.createIndex()
        found = COCO()
        known = set(truth.imgs)
        found.dataset = {
            "images": truth.dataset["images"],
            "categories": truth.dataset["categories"],
            "annotations": [
                {**item, "id": index, "area": item["bbox"][2] * item["bbox"][3], "iscrowd": 0}
                for index, item in enumerate(results, start=1)
                if item["image_id"] in known
            ],
        }
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.iouThrs = np.array([MATCH_IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, scores = evaluation.eval["precision"][0, :, :, 0, 0], evaluation.eval["scores"][0, :, :, 0, 0]
    recalls = evaluation.params.recThrs
    curves = {}
    for column, category in enumerate(evaluation.params.catIds):
        if precision[0, column] >= 0:  # -1 throughout: nothing of this class is labelled
            curves[int(category)] = _curve(
                recalls, precision[:, column], scores=scores[:, column], show_score=show_score
            )
    return curves


def group_results(results: list[dict[str, Any]]) -> dict[int, Boxes]:
    """Sorts a COCO results list by image, highest score first."""
    return _group(results, lambda item: item["score"])


def group_labels(ground_truth: dict[str, Any]) -> dict[int, Boxes]:
    """Sorts the labels by image, without crowds; every image is a key, also one without objects."""
    annotations = [item for item in ground_truth["annotations"] if not item.get("iscrowd")]
    return {item["id"]: NO_BOXES for item in ground_truth["images"]} | _group(annotations, lambda item: 1.0)


def match(detections: Boxes, references: Boxes) -> np.ndarray:
    """Returns for each detection the reference of its class that it finds at IoU 0.5, or -1; int [detections].

    The highest score chooses first and each reference is found once.
    """
    found = np.full([len(detections)], -1, np.int64)
    if len(detections) and len(references):
        overlap = iou(detections.boxes, references.boxes)
        overlap[detections.categories[:, None] != references.categories[None, :]] = 0
        for index, row in enumerate(overlap):
            best = int(row.argmax())
            if row[best] >= MATCH_IOU:
                overlap[:, best] = 0
                found[index] = best
    return found


def matched(detections: Boxes, references: Boxes) -> int:
    """Counts the detections that `match` gives a reference."""
    return int((match(detections, references) >= 0).sum())


def score_images(
    labels: dict[int, Boxes], first: dict[int, Boxes], *, second: dict[int, Boxes] | None, show_score: float
) -> list[ImageScore]:
    """Scores every labelled image.

    `errors` are those of the first file, missed and false; `agreement` is 2 x matched / all boxes of the two files,
    1 where both show nothing or there is no second file.
    """
    scored = []
    for image_id in sorted(labels):
        truth = labels[image_id]
        reference = first.get(image_id, NO_BOXES).above(show_score)
        hits = matched(reference, truth)
        agreement = 1.0
        if second is not None:
            other = second.get(image_id, NO_BOXES).above(show_score)
            total = len(reference) + len(other)
            agreement = 2 * matched(other, reference) / total if total else 1.0
        smallest = float(np.sqrt(area(truth.boxes).min())) if len(truth) else float("inf")
        errors = len(reference) + len(truth) - 2 * hits
        scored.append(ImageScore(image_id, len(truth), smallest, errors, agreement))
    return scored


def choose_images(scored: list[ImageScore], first: str, *, second: str | None, count: int = 6) -> list[Choice]:
    """Picks up to `count` different images by rules without chance; ties go to the smaller image id.

    Args:
        first, second: names of the two files that `score_images` compared; None when there is only one.
    """
    if not scored:
        return []
    ordered = sorted(score.errors for score in scored)
    typical = ordered[len(ordered) // 2]

    def differs(score: ImageScore) -> bool:
        return second is not None and score.agreement < 1

    rules: list[tuple[str, Callable[[ImageScore], bool], Callable[[ImageScore], float]]] = [
        ("most objects", lambda score: score.objects > 0, lambda score: -score.objects),
        (f"{first} and {second} differ most", differs, lambda score: score.agreement),
        (f"{first} and {second} differ next most", differs, lambda score: score.agreement),
        (f"most errors of {first}", lambda score: score.errors > 0, lambda score: -score.errors),
        ("smallest labelled object", lambda score: score.objects > 0, lambda score: score.smallest),
        ("typical: the median number of errors", lambda score: True, lambda score: abs(score.errors - typical)),
    ]
    rules += [("next most objects", lambda score: True, lambda score: -score.objects)] * len(rules)
    chosen: dict[int, Choice] = {}
    for reason, applies, key in rules:
        left = [score for score in scored if score.image_id not in chosen and applies(score)]
        if left and len(chosen) < count:
            best = min(left, key=lambda score: (key(score), score.image_id))
            chosen[best.image_id] = Choice(best.image_id, reason)
    return list(chosen.values())


NO_BOXES = Boxes(np.zeros([0, 4], np.float32), np.zeros([0], np.int64), np.zeros([0], np.float64))


def _group(items: Iterable[dict[str, Any]], score_of: Callable[[dict[str, Any]], float]) -> dict[int, Boxes]:
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        by_image[item["image_id"]].append(item)
    grouped = {}
    for image_id, entries in by_image.items():
        entries.sort(key=lambda item: -score_of(item))
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged model: such a box matches nothing
            corners = xywh_to_yxyx(np.array([item["bbox"] for item in entries], np.float32))
        grouped[image_id] = Boxes(
            corners,
            np.array([item["category_id"] for item in entries], np.int64),
            np.array([score_of(item) for item in entries], np.float64),
        )
    return grouped


def _curve(recalls: np.ndarray, precision: np.ndarray, *, scores: np.ndarray, show_score: float) -> Curve:
    # pycocotools fills unreached recalls with precision 0 and score 0.
    reached = np.flatnonzero((precision > 0) | (scores > 0))
    last = int(reached[-1]) + 1 if len(reached) else 0
    points = tuple((float(recalls[i]), float(precision[i])) for i in range(last))
    confident = np.flatnonzero(scores[:last] >= show_score)
    shown = points[int(confident[-1])] if len(confident) else None
    return Curve(points, shown, 100.0 * float(precision.mean()))


def _with_defaults(ground_truth: dict[str, Any]) -> dict[str, Any]:
    annotations = [
        {"area": item["bbox"][2] * item["bbox"][3], "iscrowd": 0, **item} for item in ground_truth["annotations"]
    ]
    return {**ground_truth, "annotations": annotations}
