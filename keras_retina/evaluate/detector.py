"""COCO AP of a Keras detector on anything that holds labelled images, once or after every few epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_retina.data.labelled import Labelled, LabelledImages, labelled_images
from keras_retina.data.own import BoxFormat
from keras_retina.data.records import Record
from keras_retina.data.resize import resize_image
from keras_retina.evaluate.coco import Metrics, coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_images
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec

Detect = Callable[[np.ndarray], dict[str, np.ndarray]]


def evaluate_detector(
    model: keras.Model,
    spec: DetectorSpec,
    dataset: Labelled,
    *,
    split: str | None = None,
    box_format: BoxFormat = "yxyx",
    iou_threshold: float = 0.5,
    max_detections: int = 100,
) -> Metrics:
    """Measures COCO average precision of a Keras detector, with pycocotools.

    Images are resized as the detector wants it; boxes are compared in pixels of the original images.

    Args:
        model: of `retinanet`, plain, sparse or quantization-aware.
        dataset: a labelled folder, a split of `load_dataset`, or a `tf.data.Dataset` like that of `detector_batches`:
            `(uint8 image, {"boxes", "classes"})` for one image at a time, and one that ends.
        split: of a folder; by default its validation split.
        box_format: of the boxes of a `tf.data.Dataset`, see `detector_batches`.
        iou_threshold: of two boxes of a class that overlap more, the lower-scored goes.
        max_detections: most boxes of an image.

    Returns:
        `AP`, `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large` and `per_class`, a dictionary of the AP of each class;
        in percent, 0 to 100, and None where no such object is labelled.

    Raises:
        InputError: other classes than the detector's, no image, an image that cannot be read, an endless dataset.
    """
    images = labelled_images(dataset, spec.class_names, split=split, box_format=box_format)
    return measured(
        detect_function(model, spec, iou_threshold=iou_threshold, max_detections=max_detections), spec, images=images
    )


def measured(detect: Detect, spec: DetectorSpec, *, images: LabelledImages) -> Metrics:
    """Returns the COCO metrics of `detect` (see `predict_dataset`) on images that are read once."""
    records: list[Record] = []

    def inputs() -> Iterator[tuple[Record, np.ndarray]]:
        for record, image in images.read():
            records.append(record)
            yield record, resize_image(image, spec.height, width=spec.width, mode=spec.resize)

    found = predict_images(detect, spec, category_ids=images.split.category_ids, inputs=inputs())
    return coco_metrics(dataclasses.replace(images.split, records=tuple(records)), found)


class CocoAP(keras.callbacks.Callback):
    """Writes COCO `AP` and `AP50`, in percent, into the logs of `fit`, so that other callbacks can watch them.

    Put it before `ModelCheckpoint` and `EarlyStopping` in the list, and give these `monitor="AP", mode="max"`. They
    come from `tf_keras.callbacks`. AP is measured after every `every` epochs and after the last one. Until the first
    measurement the logs hold NaN, and after it the last value: `CSVLogger` finds its columns in every epoch, and no
    callback takes a repeated value for a better one. The patience of `EarlyStopping` counts epochs, so let it be a
    multiple of `every`.

    The weights are measured as they are. An optimiser that keeps an average of them (`use_ema`) puts it in at the end.

    Args:
        dataset: as in `evaluate_detector`.
        spec: of the model that is trained.
        every: epochs from one measurement to the next.
        split: of a folder; by default its validation split.
        box_format: of the boxes of a `tf.data.Dataset`, see `detector_batches`.

    Raises:
        InputError: `every` below 1, or a dataset that `evaluate_detector` refuses.
    """

    def __init__(
        self,
        dataset: Labelled,
        spec: DetectorSpec,
        *,
        every: int = 1,
        split: str | None = None,
        box_format: BoxFormat = "yxyx",
    ) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"CocoAP: expected every of 1 or more. Received: every={every}. For each epoch: 1.")
        self.spec, self.every = spec, every
        self._images = labelled_images(dataset, spec.class_names, split=split, box_format=box_format)
        self._last = {"AP": float("nan"), "AP50": float("nan")}

    def set_model(self, model: keras.Model) -> None:
        """Is called by Keras: the model of `fit`."""
        super().set_model(model)
        self._detect = detect_function(model, self.spec)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Is called by Keras: measures when it is time, and adds to the logs."""
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params.get("epochs"):
            found = measured(self._detect, self.spec, images=self._images)
            self._last = {name: found[name] or 0.0 for name in self._last}
        if logs is not None:
            logs.update(self._last)
