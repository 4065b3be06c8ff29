"""What happens between epochs: evaluation, pictures, the best weights."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import SHOW_SCORE_THRESHOLD, coco_metrics
from keras_retina.evaluate.predict import detect_function, network_input
from keras_retina.foundation.drawing import draw_boxes
from keras_retina.foundation.files.writing import replacing, write_json
from keras_retina.foundation.interruption import Preempted
from keras_retina.foundation.json_values import read_mapping
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.saving import plain_model
from keras_retina.model.spec import DetectorSpec
from keras_retina.train.checkpoints.folder import BEST, BEST_WEIGHTS
from keras_retina.train.workers.collective import predict_on_all

PICTURES = 4
IMAGE_CACHE_BYTES = 512 * 2**20  # validation images kept between evaluations


class EvaluateAveragePrecision(keras.callbacks.Callback):
    """COCO AP on a split every few epochs, with the averaged weights if the optimiser keeps an average.

    Adds `AP`, `AP50` and `evaluation_seconds` to the logs of the epoch, writes pictures with detections for TensorBoard
    and keeps the weights with the highest AP in `best.weights.h5`: those of `detector`, which shares the variables of
    the model in training.

    Args:
        detect: `detect_function` of `detector` with the suppression of the files; by default it suppresses per class.
        patience: training stops when the highest AP is so many epochs old.
        interruptible: is entered while images are looked at, which may take long and changes nothing.
        when_interrupted: is called after that was interrupted, with the weights in training back in the model.
    """

    def __init__(
        self,
        detector: keras.Model,
        spec: DetectorSpec,
        *,
        dataset: Dataset,
        every: int,
        epochs: int,
        train_dir: Path,
        writer: Any,
        patience: int | None = None,
        detect: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
        interruptible: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
        when_interrupted: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.detector, self.spec, self.dataset, self.every, self.epochs = detector, spec, dataset, every, epochs
        self.train_dir, self.writer, self.patience = train_dir, writer, patience
        self.best = read_state(train_dir).get("best_AP", -1.0)
        self._images: dict[int, np.ndarray] = {}
        self._room = IMAGE_CACHE_BYTES
        self._detect, self._interruptible, self._when_interrupted = detect, interruptible, when_interrupted

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        started = time.perf_counter()
        detect = self._detect = self._detect or detect_function(self.detector, self.spec)
        results, metrics = self._evaluate(detect, epoch + 1)
        score = metrics["AP"] or 0.0
        self._write_pictures(epoch, results)
        if logs is not None:
            logs["AP"], logs["AP50"] = score, metrics["AP50"] or 0.0
            logs["evaluation_seconds"] = time.perf_counter() - started
        if patience_is_over(read_state(self.train_dir), epoch + 1, patience=self.patience):
            self.model.stop_training = True

    def _evaluate(
        self, detect: Callable[[np.ndarray], dict[str, np.ndarray]], epochs_done: int
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Returns detections and metrics, and keeps the weights if they are the best; those in training stay."""
        trained = swap_in_average(self.model)
        try:
            with self._interruptible():
                results = predict_on_all(
                    self.model.distribute_strategy, detect, self.spec, dataset=self.dataset, load=self._load
                )
                metrics = coco_metrics(self.dataset, results)
            score = metrics["AP"] or 0.0
            if score > self.best:
                self.best = score
                save_weights(self.detector, self.train_dir / BEST_WEIGHTS)
                write_state(self.train_dir, {"best_AP": score, "best_epoch": epochs_done})
        except BaseException as error:
            restore(self.model, trained)
            if isinstance(error, (KeyboardInterrupt, Preempted)):
                self._when_interrupted()
            raise
        restore(self.model, trained)
        return results, metrics

    def _load(self, record: Any, spec: DetectorSpec) -> np.ndarray:
        image = self._images.get(record.image_id)
        if image is None:
            image = network_input(record, spec)
            if image.nbytes <= self._room:
                self._room -= image.nbytes
                self._images[record.image_id] = image
        return image

    def _write_pictures(self, epoch: int, results: list[dict[str, Any]]) -> None:
        names = dict(zip(self.dataset.category_ids, self.dataset.class_names, strict=True))
        pictures = []
        for record in self.dataset.records[:PICTURES]:
            image = self._load(record, self.spec)
            shown = [
                result
                for result in results
                if result["image_id"] == record.image_id and result["score"] >= SHOW_SCORE_THRESHOLD
            ]
            scale = np.array([self.spec.width / record.width, self.spec.height / record.height])
            if self.spec.resize == "letterbox":
                scale[:] = scale.min()
            xywh = np.array([result["bbox"] for result in shown], np.float32).reshape(-1, 4) * np.tile(scale, 2)
            boxes = np.stack([xywh[:, 1], xywh[:, 0], xywh[:, 1] + xywh[:, 3], xywh[:, 0] + xywh[:, 2]], axis=1)
            labels = [names[result["category_id"]] for result in shown]
            pictures.append(draw_boxes(image, boxes, labels=labels, scores=[result["score"] for result in shown]))
        with self.writer.as_default(step=epoch + 1):
            tf.summary.image("validation", np.stack(pictures), max_outputs=PICTURES)


def patience_is_over(state: dict[str, Any], epochs_done: int, *, patience: int | None) -> bool:
    """Tells whether the best AP of `read_state` is `patience` epochs old, also after a resume; None never ends."""
    return patience is not None and bool(state) and epochs_done - state["best_epoch"] >= patience


def swap_in_average(model: keras.Model) -> list[np.ndarray]:
    """Puts the averaged weights, if the optimiser keeps them, into the model; returns what `restore` needs."""
    if not getattr(model.optimizer, "use_ema", False):
        return []
    trained = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return trained


def restore(model: keras.Model, trained: list[np.ndarray]) -> None:
    """Undoes `swap_in_average`."""
    for variable, value in zip(model.trainable_variables, trained, strict=False):
        variable.assign(value)


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes weights, whole or not at all.

    Metrics and optimiser state are left out: their variables cannot be loaded under a MirroredStrategy.
    """
    with replacing(path) as unfinished:
        plain_model(model).save_weights(unfinished)


def read_state(train_dir: Path) -> dict[str, Any]:
    """Reads the best AP so far, an empty dictionary before the first evaluation.

    Raises:
        InputError: the file is damaged.
    """
    return read_mapping(train_dir / BEST) or {}


def write_state(train_dir: Path, state: dict[str, Any]) -> None:
    """Writes the best AP so far."""
    write_json(train_dir / BEST, state)
