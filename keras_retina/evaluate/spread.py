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
    first, second = (_all_sizes(evaluated(dataset, found)) for found in (detections, parent_detections))
    generator = np.random.default_rng(seed)
    ratios = []
    for _ in range(draws):
        drawn = generator.integers(0, len(dataset.records), len(dataset.records))
        ap, parent_ap = _ap_of(first, drawn), _ap_of(second, drawn)
        if parent_ap > 0:
            ratios.append(ap / parent_ap)
    return np.sort(np.array(ratios))


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


def _ap_of(evaluation: COCOeval, drawn: np.ndarray) -> float:
    """Returns the AP on drawn images, given by their places in the split; an image may be there several times."""
    one = copy.copy(evaluation)
    by_class = np.array(evaluation.evalImgs, object).reshape(len(evaluation.params.catIds), -1)
    one.evalImgs = by_class[:, drawn].ravel().tolist()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        one.accumulate()
    precision = one.eval["precision"][:, :, :, 0, -1]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0
