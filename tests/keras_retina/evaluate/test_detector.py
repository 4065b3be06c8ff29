"""AP of a Keras detector on a folder, on a split and on a tf.data, and the callback that puts it into the logs."""

from __future__ import annotations

import csv
import math
import re
import shutil

import numpy as np
import pytest

from keras_retina.data.images import read_image
from keras_retina.data.labelled import labelled_images
from keras_retina.data.own import detector_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate import detector
from keras_retina.evaluate.coco import coco_metrics, results_of_image
from keras_retina.evaluate.detector import CocoAP, evaluate_detector
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes import yxyx_to_xywh

NAMES = ("disc", "square")


def as_tf_data(dataset, layout="yxyx") -> tf.data.Dataset:
    def generate():
        for record in dataset.records:
            boxes = yxyx_to_xywh(record.boxes) if layout == "xywh" else record.boxes
            yield read_image(record.path), {"boxes": boxes, "classes": record.classes}

    signature = (
        tf.TensorSpec([None, None, 3], tf.uint8),
        {"boxes": tf.TensorSpec([None, 4], tf.float32), "classes": tf.TensorSpec([None], tf.int32)},
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


@pytest.fixture(scope="module")
def perfect(tiny_coco):
    """A stand-in for the network that knows every label, in pixels of the network input."""
    dataset = load_dataset(tiny_coco, "val")

    def detect_function(model, spec, **limits):
        known = []
        for record in dataset.records:
            scale = np.array([spec.height / record.height, spec.width / record.width] * 2, np.float32)
            known.append((record.boxes * scale, record.classes))
        waiting = iter(known * 50)

        def detect(images: np.ndarray) -> dict[str, np.ndarray]:
            found = [next(waiting) for _ in images]
            boxes, classes = np.zeros((len(images), 9, 4), np.float32), np.zeros((len(images), 9), np.int32)
            for row, (some, labels) in enumerate(found):
                boxes[row, : len(some)], classes[row, : len(some)] = some, labels
            count = np.array([len(some) for some, _ in found])
            return {"boxes": boxes, "classes": classes, "scores": np.ones((len(images), 9)), "count": count}

        return detect

    return detect_function


@pytest.mark.parametrize("kind", ["folder", "text", "split", "tf.data", "tf.data xywh"])
def test_all_kinds_of_data_give_the_same_ap(kind, perfect, tiny_coco, tiny_detector, monkeypatch):
    monkeypatch.setattr(detector, "detect_function", perfect)
    split = load_dataset(tiny_coco, "val")
    data = {"folder": tiny_coco, "text": str(tiny_coco), "split": split, "tf.data": as_tf_data(split)}
    options = {}
    if kind == "tf.data xywh":
        data[kind], options = as_tf_data(split, "xywh"), {"box_format": "xywh"}
    found = evaluate_detector(*tiny_detector, data[kind], **options)
    everything = [
        result
        for one in split.records
        for result in results_of_image(
            one, split.category_ids, boxes=one.boxes, scores=np.ones(len(one.boxes)), classes=one.classes
        )
    ]
    assert found == coco_metrics(split, everything)
    assert found["AP"] == 100.0 and set(found["per_class"]) == set(NAMES)


def test_a_folder_is_read_in_the_order_of_the_detectors_classes(tiny_coco):
    images = labelled_images(tiny_coco, ("square", "disc"))
    assert images.split.class_names == ("square", "disc") and images.split.split == "val"
    assert labelled_images(tiny_coco, NAMES, split="train").split.split == "train"


def test_labels_of_other_classes_are_named_beside_those_of_the_detector(tiny_coco, tmp_path):
    message = "classes, circle, disc. Received: labels of disc, square. Is this the right data?"
    with pytest.raises(InputError, match=re.escape(message)):
        labelled_images(tiny_coco, ("circle", "disc"))
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_coco, damaged)
    shutil.rmtree(damaged / "images")
    with pytest.raises(InputError) as refused:  # the classes are right, so the reason is another one
        labelled_images(damaged, NAMES)
    assert "right data" not in str(refused.value)


def test_what_cannot_be_measured_on_is_refused_in_one_line(tiny_coco, tiny_detector):
    split = load_dataset(tiny_coco, "val")
    model, spec = tiny_detector
    for data, options, message in (
        (as_tf_data(split).repeat(), {}, "expected one that ends"),
        (as_tf_data(split).batch(2), {}, "a labelled folder or single images, not training batches"),
        (detector_batches(as_tf_data(split), spec), {}, "not training batches"),
        (as_tf_data(split), {"split": "val"}, "split: expected together with a folder"),
        (load_dataset(tiny_coco, "val", classes=["square", "disc"]), {}, "expected the classes of the data"),
        (tiny_coco, {"split": "vall"}, "split='vall'. Did you mean 'val'"),
        (tiny_coco / "images", {}, "one of the known layouts were expected"),
        (3, {}, "expected a tf.data.Dataset. Received: int"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            evaluate_detector(model, spec, data, **options)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="every=0"):
        CocoAP(tiny_coco, spec, every=0)


class Watch(keras.callbacks.Callback):
    """Keeps what a callback behind `CocoAP` sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(logs["AP"])


@pytest.fixture(scope="module")
def trainable(tiny_detector):
    """A network of one weight in place of a detector, and its data."""
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse")
    return model, tiny_detector[1], (np.zeros((4, 1)), np.zeros((4, 1)))


def test_ap_is_in_the_logs_of_every_epoch_and_measured_in_some(trainable, tiny_coco, monkeypatch, tmp_path):
    model, spec, (inputs, targets) = trainable
    values = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(detector, "measured", lambda *_, **__: {"AP": next(values), "AP50": None})
    ap, watch = CocoAP(tiny_coco, spec, every=2), Watch()
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", monitor="AP", mode="max", save_best_only=True, save_weights_only=True
    )
    model.fit(inputs, targets, epochs=5, verbose=0, callbacks=[ap, watch, table, best])
    assert math.isnan(watch.seen[0]) and watch.seen[1:] == [10.0, 10.0, 30.0, 20.0]  # the last epoch is measured too
    assert sorted(path.name for path in tmp_path.glob("*.weights.h5")) == ["2.weights.h5", "4.weights.h5"]
    with (tmp_path / "log.csv").open() as file:
        assert [row["AP"] for row in csv.DictReader(file)] == ["nan", "10.0", "10.0", "30.0", "20.0"]


def test_early_stopping_waits_for_epochs(trainable, tiny_coco, monkeypatch):
    model, spec, (inputs, targets) = trainable
    values = iter([10.0, 30.0, 20.0, 25.0, 29.0])
    monkeypatch.setattr(detector, "measured", lambda *_, **__: {"AP": next(values), "AP50": 1.0})
    stop = keras.callbacks.EarlyStopping("AP", mode="max", patience=4)
    history = model.fit(
        inputs, targets, epochs=20, verbose=0, callbacks=[CocoAP(tiny_coco, spec, every=2), stop]
    ).history
    assert history["AP"][1:] == [10.0, 10.0, 30.0, 30.0, 20.0, 20.0, 25.0]


def test_the_callback_measures_the_weights_of_the_moment(tiny_detector, tiny_coco):
    model, spec = tiny_detector
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    callback = CocoAP(tiny_coco, spec)
    callback.set_params({"epochs": 9})
    callback.set_model(copy)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs["AP"] == evaluate_detector(model, spec, tiny_coco)["AP"]
    bias = copy.get_layer("classes_prediction_pointwise")
    bias.set_weights([bias.get_weights()[0] * 0, np.full_like(bias.get_weights()[1], -99.0)])
    callback.on_epoch_end(1, logs)
    assert logs["AP"] == 0.0
