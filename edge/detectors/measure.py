"""The detections of one exported file on a split, and how long the file takes for an image."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.foreign import ForeignDetector
from edge.detectors.reading import Reading, open_detector
from edge.detectors.split import detect_split
from edge.runtime import EVALUATION_SCORE_THRESHOLD, Detector
from keras_retina.data.images import read_image
from keras_retina.data.reading.record_image import read_record_image
from keras_retina.data.records import Dataset, check_classes
from keras_retina.foundation.machine import machine_name

WARM_UP = 3


def detect_and_time(
    path: Path,
    dataset: Dataset,
    *,
    threads: int = 2,
    latency_runs: int = 30,
    reading: Reading | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the detections of a split in the COCO results format, and the latency of the file.

    The latency is measured alone, after the detections: `median` and `p95` in milliseconds of single-image invokes of
    the interpreter after warm-up, `threads`, `machine`; `end_to_end_median` is from the decoded image to the boxes,
    over the first `latency_runs` images of the split. `reading` (see `choose_reading`) is for a file that is not
    ours, or has other classes than the data.

    Raises:
        edge.runtime.ModelFileError: the file is no detector, or not ours and without a reading.
        RuntimeError: the interpreter could not run it.
        InputError: the detector has other classes than the data, or an image cannot be read.
    """
    reading = reading or Reading()
    detector = open_detector(path, threads, reading=reading)
    check_classes(dataset.class_names if reading.columns else detector.class_names or (), dataset, source=path)
    results = detect_split(path, dataset, reading=reading)
    latency = invoke_latency(detector, read_image(dataset.records[0].path), runs=latency_runs)
    facts = {
        "median": round(statistics.median(latency), 3),
        "p95": round(float(np.percentile(latency, 95)), 3),
        "threads": threads,
        "machine": machine_name(),
        "end_to_end_median": round(statistics.median(end_to_end_latency(detector, dataset, runs=latency_runs)), 3),
    }
    return results, facts


def invoke_latency(detector: Detector | ForeignDetector, image: np.ndarray, *, runs: int) -> list[float]:
    """Returns the milliseconds of `runs` invokes of the interpreter on one image, after warm-up."""
    pixels, _ = detector.prepare(image)
    milliseconds = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        detector.invoke(pixels)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds[WARM_UP:]


def end_to_end_latency(detector: Detector | ForeignDetector, dataset: Dataset, *, runs: int) -> list[float]:
    """Returns the milliseconds from decoded image to boxes of the first `runs` images of a split."""
    milliseconds = []
    for record in dataset.records[:runs]:
        image = read_record_image(record)
        start = time.perf_counter()
        detector.detect(image, EVALUATION_SCORE_THRESHOLD)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds
