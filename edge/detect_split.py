"""Detections of one file over a split, image by image from disk as a device does, shared out to several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge.runtime import EVALUATION_SCORE_THRESHOLD, Detector, ModelFileError
from keras_retina.data.images import read_image
from keras_retina.data.packed_image import ImageFile, PackedImage
from keras_retina.data.records import Dataset
from keras_retina.errors import InputError
from keras_retina.evaluate import results_of_image

WORTH_A_PROCESS = 40  # images; fewer do not make up for the start of a process


def detect_split(path: Path, dataset: Dataset, processes: int | None = None) -> list[dict[str, Any]]:
    """Returns the detections of a split in the COCO results format, in the order of its records.

    Each process has an interpreter of one thread; by default there are as many as the machine has cores, fewer for a
    small split. They are started as programs, not forked: TensorFlow's threads would not survive a fork.

    Raises:
        ModelFileError: the file is no detector of ours.
        InputError: an image cannot be read.
        RuntimeError: an interpreter could not run the file, or its process was killed.
    """
    images = [record.path for record in dataset.records]
    if processes is None:
        processes = min(os.cpu_count() or 1, len(images) // WORTH_A_PROCESS)
    if processes <= 1:
        found = detect_images(path, images)
    else:
        shares = [[images[index] for index in share] for share in np.array_split(np.arange(len(images)), processes)]
        with ThreadPoolExecutor(processes) as waiting:
            parts = waiting.map(lambda share: _detect_in_process(path, share), shares)
            found = [image for part in parts for image in part]
    results: list[dict[str, Any]] = []
    for record, image in zip(dataset.records, found, strict=True):
        boxes = np.array(image["boxes"], np.float32).reshape(-1, 4)
        scores, classes = np.array(image["scores"], np.float32), np.array(image["classes"], np.int32)
        results += results_of_image(record, dataset.category_ids, boxes, scores, classes)
    return results


def detect_images(path: Path, images: Sequence[ImageFile]) -> list[dict[str, list]]:
    """Returns `boxes` (yxyx, pixels of the image), `scores` and `classes` of each image, as lists."""
    detector = Detector(path, threads=1)
    rows = []
    for image in images:
        found = detector.detect(read_image(image), EVALUATION_SCORE_THRESHOLD)
        rows.append(
            {"boxes": found.boxes.tolist(), "scores": found.scores.tolist(), "classes": found.classes.tolist()}
        )
    return rows


def _detect_in_process(path: Path, images: Sequence[ImageFile]) -> list[dict[str, list]]:
    """Runs `main` of this module in a new process and returns what it found."""
    task = json.dumps({"model": str(path), "images": [_place(image) for image in images]})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-m", "edge.detect_split"]
    ended = subprocess.run(command, input=task, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise RuntimeError(f"{path.name}: its process ended with {ended.returncode}: {lines[-1] if lines else ''}")
    answer = json.loads(ended.stdout)
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
    """Reads `{"model", "images"}` from standard input and prints `{"error", "reason", "images"}`."""
    task = json.load(sys.stdin)
    answer: dict[str, Any] = {"error": None, "reason": "", "images": []}
    try:
        answer["images"] = detect_images(Path(task["model"]), [_image_at(place) for place in task["images"]])
    except (InputError, ModelFileError) as error:
        answer |= {"error": type(error).__name__, "reason": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
