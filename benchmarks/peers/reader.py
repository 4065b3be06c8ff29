"""A COCO folder in memory, a constant batch and COCO results: what the detectors share, with NumPy and Pillow only.

It knows nothing of TensorFlow or of keras_retina, so that it can be imported in the virtual environment of every peer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

BATCH = 8
CLASSES, OBJECTS = 3, 12  # of the constant batch: about as many as there are blood cells in a photograph


class Split(NamedTuple):
    """One split of a COCO folder. Boxes are float32 `[n, 4]` yxyx in pixels of the upright image."""

    images: list[np.ndarray]  # uint8 [height, width, 3]
    boxes: list[np.ndarray]
    classes: list[np.ndarray]  # int32 [n], class index; `category_ids[index]` is the number in the file
    image_ids: list[int]
    category_ids: list[int]


def read_split(data: Path, split: str) -> Split:
    """Reads `annotations/<split>.json` and the images it names, decoded once. Crowds are left out."""
    file = json.loads((data / "annotations" / f"{split}.json").read_text(encoding="utf-8"))
    category_ids = sorted(category["id"] for category in file["categories"])
    labels: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in file["images"]}
    for annotation in file["annotations"]:
        if not annotation.get("iscrowd"):
            labels[annotation["image_id"]].append(annotation)
    images, boxes, classes = [], [], []
    for entry in file["images"]:
        with Image.open(data / "images" / entry["file_name"]) as opened:
            images.append(np.array(ImageOps.exif_transpose(opened).convert("RGB")))
        xywh = np.array([label["bbox"] for label in labels[entry["id"]]], np.float32).reshape(-1, 4)
        boxes.append(np.stack([xywh[:, 1], xywh[:, 0], xywh[:, 1] + xywh[:, 3], xywh[:, 0] + xywh[:, 2]], axis=1))
        indices = [category_ids.index(label["category_id"]) for label in labels[entry["id"]]]
        classes.append(np.array(indices, np.int32))
    return Split(images, boxes, classes, [entry["id"] for entry in file["images"]], category_ids)


def constant_batch(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns noise uint8 `[8, height, width, 3]`, boxes float32 `[8, 12, 4]` yxyx and classes int32 `[8, 12]`, always
    the same. The sides of the boxes are 24 to 110 pixels of 256, like those of the blood cells.
    """
    shape = np.array([height, width])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH, height, width, 3), np.uint8)
    sides = random.uniform(24, 110, (BATCH, OBJECTS, 2)) * shape / 256
    corners = random.uniform(0, 1, (BATCH, OBJECTS, 2)) * (shape - sides)
    boxes = np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)
    return images, boxes, random.integers(0, CLASSES, (BATCH, OBJECTS), np.int32)


def results_of_split(
    split: Split, detect: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> list[dict[str, Any]]:
    """Returns COCO results of `detect(image)` -> (boxes `[n, 4]` yxyx in its pixels, scores, class indices)."""
    results = []
    for image, image_id in zip(split.images, split.image_ids, strict=True):
        boxes, scores, classes = detect(image)
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, [height, width, height, width])
        for (top, left, bottom, right), score, index in zip(boxes.tolist(), scores, classes, strict=True):
            bbox = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            category = split.category_ids[int(index)]
            results.append(
                {"image_id": image_id, "category_id": category, "bbox": bbox, "score": round(float(score), 6)}
            )
    return results
