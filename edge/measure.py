"""Runs one exported file over a split, image by image from disk as a device does, and times it."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.runtime import EVALUATION_SCORE_THRESHOLD, Detector
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset
from keras_retina.errors import InputError
from keras_retina.evaluate import results_of_image

WARM_UP = 3


def evaluate_tflite(
    path: Path,
    dataset: Dataset,
    threads: int = 2,
    latency_runs: int = 30,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the detections of a split in the COCO results format, and the latency of the file.

    The latency is that of single-image invokes of the interpreter after warm-up: `median` and `p95` in milliseconds,
    `threads`, `machine`; `end_to_end_median` is from the decoded image to the boxes, over the images of the split.

    Raises:
        edge.runtime.ModelFileError: the file is no detector of ours.
        RuntimeError: the interpreter could not run it.
        InputError: the detector has other classes than the data, or an image cannot be read.
    """
    detector = Detector(path, threads)
    check_classes(detector.class_names, dataset, path)
    results: list[dict[str, Any]] = []
    whole = []
    for record in dataset.records:
        image = read_image(record.path)
        start = time.perf_counter()
        found = detector.detect(image, EVALUATION_SCORE_THRESHOLD)
        whole.append(1000 * (time.perf_counter() - start))
        results += results_of_image(record, dataset.category_ids, found.boxes, found.scores, found.classes)
    latency = invoke_latency(detector, read_image(dataset.records[0].path), latency_runs)
    facts = {
        "median": round(statistics.median(latency), 3),
        "p95": round(float(np.percentile(latency, 95)), 3),
        "threads": threads,
        "machine": machine_name(),
        "end_to_end_median": round(statistics.median(whole), 3),
    }
    return results, facts


def invoke_latency(detector: Detector, image: np.ndarray, runs: int) -> list[float]:
    """Returns the milliseconds of `runs` invokes of the interpreter on one image, after warm-up."""
    pixels, _ = detector.prepare(image)
    milliseconds = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        detector.invoke(pixels)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds[WARM_UP:]


def check_classes(class_names: tuple[str, ...], dataset: Dataset, source: Path | str) -> None:
    """Raises InputError unless detector and data name the same classes in the same order and there are images."""
    if tuple(class_names) != tuple(dataset.class_names):
        raise InputError(
            f"{source}: expected the classes of the data, {list(dataset.class_names)}. "
            f"Received: {list(class_names)}. Use the data that the detector was trained on."
        )
    if not dataset.records:
        raise InputError(
            f"{dataset.name}: expected images in the split {dataset.split!r}. Received: none. Choose another split."
        )


def machine_name() -> str:
    """Returns processor, cores and system, e.g. `AMD EPYC 7B13, 2 cores, Linux x86_64`."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        name = found.group(1).strip() if found else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
