"""COCO average precision, by pycocotools, of detections that any part of the project made."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_retina.data.records import Dataset, Record
from keras_retina.geometry.boxes import yxyx_to_xywh

STATISTICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")

Metrics = dict[str, Any]


def ground_truth(dataset: Dataset) -> dict[str, Any]:
    """Returns the labels of a split as one COCO annotation dictionary, in pixels of the upright images."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in dataset.records:
        images.append(
            {"id": record.image_id, "file_name": record.file_name, "height": record.height, "width": record.width}
        )
        for box, class_index, crowd in zip(yxyx_to_xywh(record.boxes), record.classes, record.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": dataset.category_ids[class_index],
                    "bbox": [float(value) for value in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(crowd),
                }
            )
    categories = [
        {"id": number, "name": name} for number, name in zip(dataset.category_ids, dataset.class_names, strict=True)
    ]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def coco_metrics(dataset: Dataset, detections: list[dict[str, Any]]) -> Metrics:
    """Returns AP, AP50, AP75 and AP by size in percent, and AP by class; None where the split has no such object.

    `detections` are in the COCO results format: image_id, category_id, bbox `[x, y, width, height]` in pixels of the
    image, score. An empty list scores 0, not an error.
    """
    evaluation = evaluated(dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    metrics: Metrics = {name: _percent(value) for name, value in zip(STATISTICS, evaluation.stats[:6], strict=True)}
    # precision is [IoU thresholds, recalls, classes, areas, detection limits]; -1 where a class has no object.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_category = {number: precision[:, :, index] for index, number in enumerate(evaluation.params.catIds)}
    metrics["per_class"] = {
        name: _percent(_mean_of_known(by_category[number]))
        for number, name in zip(dataset.category_ids, dataset.class_names, strict=True)
    }
    return metrics


def evaluated(dataset: Dataset, detections: list[dict[str, Any]]) -> COCOeval:
    """Returns pycocotools' evaluation with every detection matched to the labels, not yet summed up."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = ground_truth(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, _results(truth, detections), "bbox")
        evaluation.evaluate()
    return evaluation


def results_of_image(
    record: Record, category_ids: tuple[int, ...], *, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> list[dict[str, Any]]:
    """Returns the detections of one image, boxes `[n, 4]` yxyx in pixels of it, in the COCO results format."""
    return [
        {
            "image_id": record.image_id,
            "category_id": int(category_ids[class_index]),
            "bbox": [round(float(value), 3) for value in box],
            "score": round(float(score), 6),
        }
        for box, score, class_index in zip(yxyx_to_xywh(boxes), scores, classes, strict=True)
    ]


def _results(truth: COCO, detections: list[dict[str, Any]]) -> COCO:
    if detections:
        # loadRes writes into the dictionaries it is given.
        return truth.loadRes([dict(detection) for detection in detections])
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean_of_known(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _percent(value: float) -> float | None:
    return None if value < 0 else round(100.0 * float(value), 3)


EVALUATION_SCORE_THRESHOLD = 0.01
"""Low, because average precision needs the whole precision-recall curve; a shown picture needs the next one."""

SHOW_SCORE_THRESHOLD = 0.3
"""For pictures and people."""
