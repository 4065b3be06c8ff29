"""Detections of one file over a split, image by image from disk as a device does, shared out to several processes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.child import ChildError, run_module
from edge.detectors.foreign import Preprocessing
from edge.detectors.reading import Reading, open_detector
from edge.runtime import EVALUATION_SCORE_THRESHOLD, ModelFileError
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, ImageFile, PackedImage
from keras_retina.evaluate.coco import results_of_image
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.machine import usable_cores

WORTH_A_PROCESS = 40  # images; fewer do not make up for the start of a process


def detect_split(
    path: Path, dataset: Dataset, *, processes: int | None = None, reading: Reading | None = None
) -> list[dict[str, Any]]:
    """Returns the detections of a split in the COCO results format, in the order of its records.

    Each process has an interpreter of one thread; by default there are as many as the machine has cores, fewer for a
    small split. `reading` is for a file that is not ours, or has other classes than the data. A file of others is run
    in a process of its own however small the split is.

    Raises:
        ModelFileError: the file is no detector, or another one than `reading` was made for, or its process ended.
        InputError: an image cannot be read.
    """
    images = [record.path for record in dataset.records]
    reading = reading or Reading()
    in_this_one = processes == 1 or reading.preprocessing is None
    if processes is None:
        processes = max(1, min(len(usable_cores()), len(images) // WORTH_A_PROCESS))
    if processes <= 1 and in_this_one:
        found = detect_images(path, images, reading=reading)
    else:
        shares = [[images[index] for index in share] for share in np.array_split(np.arange(len(images)), processes)]
        with ThreadPoolExecutor(processes) as waiting:
            parts = waiting.map(partial(_detect_in_process, path, reading), shares)
            found = [image for part in parts for image in part]
    results: list[dict[str, Any]] = []
    for record, image in zip(dataset.records, found, strict=True):
        boxes = np.array(image["boxes"], np.float32).reshape(-1, 4)
        scores, classes = np.array(image["scores"], np.float32), np.array(image["classes"], np.int32)
        if reading.columns is not None:
            classes = _classes_of_data(classes, reading.columns, path=path)
        known = classes >= 0
        results += results_of_image(
            record, dataset.category_ids, boxes=boxes[known], scores=scores[known], classes=classes[known]
        )
    return results


def detect_images(path: Path, images: Sequence[ImageFile], *, reading: Reading) -> list[dict[str, list]]:
    """Returns `boxes` (yxyx, pixels of the image), `scores` and `classes` of each image, as lists."""
    detector = open_detector(path, 1, reading=reading)
    rows = []
    for image in images:
        found = detector.detect(read_image(image), EVALUATION_SCORE_THRESHOLD)
        rows.append({"boxes": found.boxes.tolist(), "scores": found.scores.tolist(), "classes": found.classes.tolist()})
    return rows


def _classes_of_data(classes: np.ndarray, columns: tuple[int, ...], *, path: Path) -> np.ndarray:
    """Returns the data set's index of each class of the file, -1 for none."""
    if classes.size and int(classes.max()) >= len(columns):
        raise ModelFileError(
            f"{path}: expected classes under {len(columns)}, the number of its labels. Received: {int(classes.max())}. "
            "The labels belong to another file."
        )
    return np.array(columns, np.int32)[classes]


def _detect_in_process(path: Path, reading: Reading, images: Sequence[ImageFile]) -> list[dict[str, list]]:
    """Runs `main` of this module in a new process and returns what it found."""
    steps = None if reading.preprocessing is None else dataclasses.asdict(reading.preprocessing)
    task = {"model": str(path), "images": [_place(image) for image in images], "preprocessing": steps}
    try:
        answer = run_module("edge.detectors.split", task)
    except ChildError as error:
        raise ModelFileError(
            f"{path}: expected a .tflite file that LiteRT runs. Received: {error}. Convert or download the model again."
        ) from error
    for kind in (InputError, ModelFileError):
        if answer["error"] == kind.__name__:
            raise kind(answer["reason"])
    return list(answer["images"])


def _place(image: ImageFile) -> str | list[Any]:
    """Returns what `_image_at` makes an image of, for JSON."""
    if isinstance(image, PackedImage):
        return [str(image.shard), image.offset, image.length, image.checksum, image.name]
    return str(image)


def _image_at(place: str | list[Any]) -> ImageFile:
    return Path(place) if isinstance(place, str) else PackedImage(Path(place[0]), *place[1:])


def main() -> None:
    """Reads `{"model", "images", "preprocessing"}` from standard input and prints `{"error", "reason", "images"}`."""
    task = json.load(sys.stdin)
    answer: dict[str, Any] = {"error": None, "reason": "", "images": []}
    reading = Reading(None if task["preprocessing"] is None else Preprocessing(**task["preprocessing"]))
    try:
        answer["images"] = detect_images(
            Path(task["model"]), [_image_at(place) for place in task["images"]], reading=reading
        )
    except (InputError, ModelFileError) as error:
        answer |= {"error": type(error).__name__, "reason": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
