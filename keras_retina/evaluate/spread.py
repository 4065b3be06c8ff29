"""How far a comparison of two detectors depends on which images a split happens to have."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import evaluated

DRAWS = 200


def ap_ratios(
    dataset: Dataset,
    detections: list[dict[str, Any]],
    parent_detections: list[dict[str, Any]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    """Returns AP / AP of the parent for as many images of the split, drawn anew with repetition: `[draws]`, sorted.

    Both detectors get the same images in each draw, so what is hard for both does not count. Draws in which the parent
    finds nothing are left out.

    Args:
        detections: in the COCO results format.

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife.
    """
    drawn = drawn_images(len(dataset.records), draws=draws, seed=seed)
    ap, parent_ap = (drawn_metrics(dataset, found, drawn)[:, 0] for found in (detections, parent_detections))
    return np.sort(ap[parent_ap > 0] / parent_ap[parent_ap > 0])


def drawn_images(images: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Returns the places of as many images of a split as it has, drawn with repetition: `[draws, images]`."""
    generator = np.random.default_rng(seed)
    return np.array([generator.integers(0, images, images) for _ in range(draws)], np.int64).reshape(draws, images)


def drawn_metrics(dataset: Dataset, detections: list[dict[str, Any]], drawn: np.ndarray) -> np.ndarray:
    """Returns AP, AP50 and AP75 in percent of each draw of the images: `[draws, 3]`.

    Images are matched once; a draw joins the matches of its images, those of an image that is drawn twice twice.

    Args:
        detections: in the COCO results format.
        drawn: places in the split, `[draws, images]` (`drawn_images`).
    """
    evaluation = _all_sizes(evaluated(dataset, detections))
    # pycocotools orders images by id.
    place_by_id = np.argsort(np.argsort([record.image_id for record in dataset.records]))
    return np.array([_metrics_of(evaluation, place_by_id[places]) for places in drawn]).reshape(-1, 3)


def _all_sizes(evaluation: COCOeval) -> COCOeval:
    """Keeps of an evaluation the objects of all sizes alone."""
    evaluation = copy.copy(evaluation)
    classes, sizes = len(evaluation.params.catIds), len(evaluation.params.areaRng)
    evaluation.params = copy.deepcopy(evaluation.params)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
    evaluation._paramsEval = copy.deepcopy(evaluation.params)
    by_class = np.array(evaluation.evalImgs, object).reshape(classes, sizes, -1)
    evaluation.evalImgs = by_class[:, 0].ravel().tolist()
    return evaluation


def _metrics_of(evaluation: COCOeval, drawn: np.ndarray) -> list[float]:
    """Returns AP, AP50 and AP75 on drawn images, given by their order by id; one may be there several times."""
    one = copy.copy(evaluation)
    by_class = np.array(evaluation.evalImgs, object).reshape(len(evaluation.params.catIds), -1)
    one.evalImgs = by_class[:, drawn].ravel().tolist()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        one.accumulate()
    precision = one.eval["precision"][:, :, :, 0, -1]  # [IoU thresholds from 0.5 in steps of 0.05, recalls, classes]
    return [_known_percent(part) for part in (precision, precision[0], precision[5])]


def _known_percent(precision: np.ndarray) -> float:
    known = precision[precision > -1]  # -1 where a class has no object
    return 100 * float(known.mean()) if known.size else 0.0
