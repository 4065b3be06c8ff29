"""COCO AP of a `.tflite` file on anything that holds labelled images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edge.detectors.split import detect_split
from edge.runtime import EVALUATION_SCORE_THRESHOLD, Detector
from keras_retina.data.labelled import Labelled, labelled_images
from keras_retina.data.own import BoxFormat
from keras_retina.evaluate.coco import Metrics, coco_metrics, results_of_image


def evaluate_tflite(
    path: str | Path,
    dataset: Labelled,
    *,
    split: str | None = None,
    box_format: BoxFormat = "yxyx",
    threads: int = 2,
) -> Metrics:
    """Measures COCO average precision of the file itself, run by LiteRT image by image as on a device.

    Args:
        path: a `.tflite` file of `export_detector` or of a run folder.
        dataset: a labelled folder, a split of `load_dataset`, or a `tf.data.Dataset` like that of `detector_batches`:
            `(uint8 image, {"boxes", "classes"})` for one image at a time, and one that ends.
        split: of a folder; by default its validation split.
        box_format: of the boxes of a `tf.data.Dataset`, see `detector_batches`.
        threads: of the interpreter, for a `tf.data.Dataset`; images on disk are shared out to processes instead.

    Returns:
        `AP`, `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large` and `per_class`, a dictionary of the AP of each class;
        in percent, 0 to 100, and None where no such object is labelled.

    Raises:
        edge.runtime.ModelFileError: the file is missing, damaged, or no detector of ours.
        InputError: other classes than the detector's, no image, an image that cannot be read, an endless dataset.
    """
    path = Path(path)
    detector = Detector(path, threads)
    images = labelled_images(dataset, detector.class_names, split=split, box_format=box_format)
    if images.split.records:
        return coco_metrics(images.split, detect_split(path, images.split))
    records, results = [], []
    for record, image in images.read():
        found = detector.detect(image, EVALUATION_SCORE_THRESHOLD)
        results += results_of_image(
            record, images.split.category_ids, boxes=found.boxes, scores=found.scores, classes=found.classes
        )
        records.append(record)
    return coco_metrics(dataclasses.replace(images.split, records=tuple(records)), results)
