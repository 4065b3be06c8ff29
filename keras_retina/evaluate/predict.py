"""Detections of a Keras model on a split, through the same reading and resizing that a device uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from keras_retina.data.reading.record_image import read_record_image
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import resize_image, resize_transform
from keras_retina.evaluate.coco import EVALUATION_SCORE_THRESHOLD, results_of_image
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes import clip
from keras_retina.geometry.nms import detections, fast_detections
from keras_retina.model.spec import DetectorSpec

BATCH = 8


def network_input(record: Record, spec: DetectorSpec) -> np.ndarray:
    """Returns the image as uint8 `[height, width, 3]` of the network input."""
    return resize_image(read_record_image(record), spec.height, width=spec.width, mode=spec.resize)


def detect_function(
    model: keras.Model,
    spec: DetectorSpec,
    *,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    nms: Literal["per_class", "fast"] = "per_class",
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns detect(uint8 images `[batch, height, width, 3]`) -> the dictionary of `nms.detections` as arrays.

    `iou_threshold`, `max_detections` and `nms` are the settings of `export` in a recipe: the model is then measured
    with the suppression that its files have.
    The graph is traced for the first batch; smaller ones, as the last of a split is, are filled up with black images,
    which takes less time than tracing again. Later changes of the model's weights take effect.
    """
    anchors = tf.constant(spec.anchors())
    find = fast_detections if nms == "fast" else detections

    most = 0

    @tf.function(reduce_retracing=False, autograph=False)
    def graph(images: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = spec.scale(tf.cast(images, tf.float32))
        outputs = model(inputs, training=False)
        return find(
            outputs["classes"],
            outputs["boxes"],
            anchors=anchors,
            coder_weights=spec.coder_weights,
            score_threshold=EVALUATION_SCORE_THRESHOLD,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            clip_to=(spec.height, spec.width) if spec.clip_boxes else None,
        )

    def detect(images: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal most
        count = len(images)
        most = max(most, count)
        filled = np.pad(images, [(0, most - count), (0, 0), (0, 0), (0, 0)])
        return {name: value.numpy()[:count] for name, value in graph(tf.constant(filled)).items()}

    return detect


def predict_dataset(
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    *,
    dataset: Dataset,
    load: Callable[[Record, DetectorSpec], np.ndarray] = network_input,
) -> list[dict[str, Any]]:
    """Runs `detect` over a split and returns COCO results in pixels of the original images.

    Args:
        detect: uint8 `[batch, height, width, 3]` -> `boxes` float32 `[batch, M, 4]` in pixels of the input, `scores`
            and `classes` `[batch, M]`, and `count` `[batch]`, how many of the M rows hold.
        load: returns the network input of one record, uint8 `[height, width, 3]`.
    """
    inputs = ((record, load(record, spec)) for record in dataset.records)
    return predict_images(detect, spec, category_ids=dataset.category_ids, inputs=inputs)


def predict_images(
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    spec: DetectorSpec,
    *,
    category_ids: tuple[int, ...],
    inputs: Iterable[tuple[Record, np.ndarray]],
) -> list[dict[str, Any]]:
    """Returns what `predict_dataset` does, of records that come with their network input, uint8 `[height, width, 3]`.

    They are taken `BATCH` at a time, so they need not fit into memory.
    """
    results: list[dict[str, Any]] = []
    waiting = iter(inputs)
    while batch := list(itertools.islice(waiting, BATCH)):
        found = detect(np.stack([image for _, image in batch]))
        for row, (record, _) in enumerate(batch):
            count = int(found["count"][row])
            scale_y, scale_x = resize_transform(
                record.height, record.width, height=spec.height, width=spec.width, mode=spec.resize
            )
            boxes = found["boxes"][row, :count] / np.array([scale_y, scale_x, scale_y, scale_x], np.float32)
            boxes = clip(boxes, record.height, width=record.width)
            visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # as on a device: the rest lies beside the picture
            results += results_of_image(
                record,
                category_ids,
                boxes=boxes[visible],
                scores=found["scores"][row, :count][visible],
                classes=found["classes"][row, :count][visible],
            )
    return results
