"""Our COCO evaluation against pycocotools alone on the same synthetic results, interleaved.

    python benchmarks/training/evaluation.py [--images 5000] [--rounds 3]

pycocotools gets what it would read from files: dictionaries in its own formats. Ours starts from records.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics, ground_truth

CLASSES = 80
BOXES, DETECTIONS = 7, 40  # an image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    dataset, detections = synthetic_results(arguments.images)
    truth = ground_truth(dataset)
    parts = {"pycocotools": lambda: pycocotools(truth, detections), "ours": lambda: coco_metrics(dataset, detections)}
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    scores = {}
    for _ in range(arguments.rounds):
        for name, run in parts.items():
            start = time.perf_counter()
            scores[name] = run()
            seconds[name].append(time.perf_counter() - start)
    if abs(scores["ours"]["AP"] - scores["pycocotools"]) > 1e-3:
        raise SystemExit(f"not the same work: AP {scores['ours']['AP']} and {scores['pycocotools']}")
    for name, values in seconds.items():
        print(f"{name:<12} {statistics.median(values):6.2f} s ({min(values):.2f} .. {max(values):.2f})")
    pairs = [ours / alone for alone, ours in zip(seconds["pycocotools"], seconds["ours"], strict=True)]
    print(f"ratio        {statistics.median(pairs):6.3f}   ({min(pairs):.3f} .. {max(pairs):.3f})")


def synthetic_results(images: int) -> tuple[Dataset, list[dict[str, Any]]]:
    """Returns labels and detections of which one for each object is near it and the others are anywhere."""
    generator = np.random.default_rng(0)
    records, detections = [], []
    for number in range(images):
        corners = generator.uniform(0, 400, (DETECTIONS, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(8, 200, (DETECTIONS, 2))], axis=1)
        classes = generator.integers(0, CLASSES, DETECTIONS)
        records.append(
            Record(
                number,
                Path(f"{number}.jpg"),
                f"{number}.jpg",
                640,
                640,
                boxes[:BOXES].astype(np.float32),
                classes[:BOXES].astype(np.int32),
                np.zeros(BOXES, bool),
            )  # fmt: skip
        )
        found = boxes + generator.normal(0, 4, boxes.shape)
        scores = generator.uniform(0.05, 1, DETECTIONS)
        for (y1, x1, y2, x2), label, score in zip(found.tolist(), classes.tolist(), scores.tolist(), strict=True):
            detections.append(
                {"image_id": number, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            )
    names = tuple(f"class {index}" for index in range(CLASSES))
    return Dataset("synthetic", "val", names, tuple(range(1, CLASSES + 1)), tuple(records)), detections


def pycocotools(truth: dict[str, Any], detections: list[dict[str, Any]]) -> float:
    """Returns the AP in percent."""
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = truth
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes([dict(detection) for detection in detections]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0])


if __name__ == "__main__":
    main()
