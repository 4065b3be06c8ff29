"""Worker for KerasCV's RetinaNet with its default pyramid, heads, anchors, label encoder and losses.

KERAS_CV/bin/python benchmarks/peers/keras_cv_detector.py train --weights FILE --data DIR --split val --out FILE
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from collections.abc import Callable
from pathlib import Path

import keras_cv
import numpy as np
import tensorflow as tf
from keras_cv.src.backend import keras
from reader import BATCH, CLASSES, Split, constant_batch, read_split, results_of_split
from worker import Trainer, cosine, parser, run

PYRAMID = {"P3": "block_5_add", "P4": "block_12_add", "P5": "block_16_project_BN"}  # strides 8, 16, 32
FORMAT = "xyxy"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="guide")
    made.add_argument("--batch-norm", choices=["trained", "frozen"], default="trained")
    run(made.parse_args(), constant_step, trainer=trainer)


def constant_step(arguments: argparse.Namespace) -> Callable[[], float]:
    """Returns step(), an update with the constant batch."""
    images, boxes, classes = constant_batch(arguments.size, arguments.size)
    labels = {"boxes": tf.constant(boxes[..., [1, 0, 3, 2]]), "classes": tf.constant(classes, tf.float32)}
    batch = {"images": tf.constant(images, tf.float32), "bounding_boxes": labels}
    model, _ = compiled_model(CLASSES, arguments)
    return step_function(model, tf.data.Dataset.from_tensors(batch).repeat())


def trainer(arguments: argparse.Namespace) -> Trainer:
    """Returns the training on the train split of `--data`."""
    split = read_split(arguments.data, "train")
    model, rate = compiled_model(len(split.category_ids), arguments)
    return Trainer(
        step_function(model, training_batches(split, arguments.size)),
        lambda fraction: model.optimizer.learning_rate.assign(rate(fraction)),
        lambda: results_of_split(read_split(arguments.data, arguments.split), detect_function(model, arguments.size)),
        arguments.size,
    )


def _guide() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    return keras.optimizers.SGD(0.005, momentum=0.9, global_clipnorm=10.0), lambda fraction: 0.005


def _sgd_cosine() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=10.0)
    return optimizer, lambda fraction: 0.01 * cosine(fraction, 0.1)


def _adam() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    optimizer = keras.optimizers.Adam(3e-4, global_clipnorm=10.0)
    return optimizer, lambda fraction: 3e-4 * cosine(fraction, 0.1)


OPTIMIZERS = {"guide": _guide, "sgd_cosine": _sgd_cosine, "adam": _adam}
"""name -> function that returns the optimiser and rate(share of the training).

`guide` is what KerasCV's guide trains with, a constant rate. Tried from the ImageNet weights on BCCD, 30 steps, it
brought the loss from 2.48 at the first step to a mean of 0.84 over the last ten; with frozen BatchNorm 2.29 to 0.82.
"""


def compiled_model(classes: int, arguments: argparse.Namespace) -> tuple[keras.Model, Callable[[float], float]]:
    """Builds the detector, input in 0 to 255, and returns it with rate(share of the training)."""
    keras.utils.set_random_seed(arguments.seed)
    model = keras_cv.models.RetinaNet(
        num_classes=classes,
        bounding_box_format=FORMAT,
        backbone=mobilenet_v2(arguments.weights, arguments.size, trains_batch_norm=arguments.batch_norm == "trained"),
        prediction_decoder=keras_cv.layers.MultiClassNonMaxSuppression(
            FORMAT, from_logits=True, iou_threshold=0.5, confidence_threshold=0.05, max_detections=100
        ),
    )
    optimizer, rate = OPTIMIZERS[arguments.optimizer]()
    # XLA, the default of Keras 3, makes depthwise convolutions on the CPU many times slower.
    model.compile(classification_loss="focal", box_loss="smoothl1", optimizer=optimizer, jit_compile=False)
    return model, rate


def mobilenet_v2(weights: Path, size: int, *, trains_batch_norm: bool) -> keras.Model:
    """Wraps MobileNetV2 of Keras, which KerasCV does not have, as a backbone with ImageNet weights."""
    source = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=str(weights))
    image = keras.layers.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    network = keras.applications.MobileNetV2(input_tensor=scaled, include_top=False, weights=None)
    backbone = keras_cv.models.Backbone(inputs=image, outputs=network.get_layer(PYRAMID["P5"]).output)
    for layer in backbone.layers[2:]:
        layer.set_weights(source.get_layer(layer.name).get_weights())
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.99  # 0.999, the default here, leaves the statistics behind in so short a training
            layer.trainable = trains_batch_norm
    backbone.pyramid_level_inputs = PYRAMID
    return backbone


def training_batches(split: Split, size: int) -> tf.data.Dataset:
    """Endless batches: flip and jittered resize by 0.75 to 1.3, as in KerasCV's guide, image by image.

    JitteredResize zooms relative to the image as it is, not to its target, so the images are brought to the size of
    detection first: crops of that size of a large photograph would show objects larger than any test image does.
    """
    flip = keras_cv.layers.RandomFlip("horizontal", bounding_box_format=FORMAT)
    resize = keras_cv.layers.JitteredResize((size, size), (0.75, 1.3), bounding_box_format=FORMAT)

    images = [fitted(image, size) for image in split.images]

    def load(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = images[index].shape[:2]
        scale = np.array([width, height] * 2, np.float32) / np.array(split.images[index].shape[1::-1] * 2)
        xyxy = split.boxes[index][:, [1, 0, 3, 2]] * scale
        return images[index], xyxy.astype(np.float32), split.classes[index].astype(np.float32)

    def sample(index: tf.Tensor) -> dict:
        image, boxes, classes = tf.numpy_function(load, [index], [tf.float32, tf.float32, tf.float32])
        labels = {"boxes": tf.ensure_shape(boxes, [None, 4]), "classes": tf.ensure_shape(classes, [None])}
        return resize(flip({"images": tf.ensure_shape(image, [None, None, 3]), "bounding_boxes": labels}))

    order = tf.data.Dataset.range(len(split.images)).shuffle(len(split.images)).repeat()
    samples = order.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    most = max(len(boxes) for boxes in split.boxes)
    shapes = {"images": [size, size, 3], "bounding_boxes": {"boxes": [most, 4], "classes": [most]}}
    padding = {"images": 0.0, "bounding_boxes": {"boxes": -1.0, "classes": -1.0}}  # -1 is no object in KerasCV
    return samples.padded_batch(BATCH, shapes, padding, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def fitted(image: np.ndarray, size: int) -> np.ndarray:
    """Returns the image as float32, resized so that its longer side is `size` pixels."""
    scale = size / max(image.shape[:2])
    sides = [max(1, round(side * scale)) for side in image.shape[:2]]
    return tf.image.resize(image, sides, antialias=True).numpy()


def step_function(model: keras.Model, batches: tf.data.Dataset) -> Callable[[], float]:
    """Returns step(), one update with the next batch, through KerasCV's own train step."""
    model.make_train_function()
    iterator = iter(batches)

    def step() -> float:
        model.reset_metrics()  # the loss of this step, not the mean of all
        return float(model.train_function(iterator)["loss"])

    return step


def detect_function(model: keras.Model, size: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns detect(image): resized with the aspect kept, as in the guide; score 0.05, IoU 0.5, 100 boxes."""

    @tf.function
    def graph(images: tf.Tensor) -> dict:
        return model.decode_predictions(model({"images": images}, training=False), images)

    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        resized = fitted(image, size)
        found = graph(tf.image.pad_to_bounding_box(resized, 0, 0, size, size)[tf.newaxis])
        count = int(found["num_detections"][0])
        scales = np.array(image.shape[:2] * 2) / np.array(resized.shape[:2] * 2)
        boxes = np.asarray(found["boxes"])[0, :count][:, [1, 0, 3, 2]] * scales
        return boxes, np.asarray(found["confidence"])[0, :count], np.asarray(found["classes"])[0, :count]

    return detect


if __name__ == "__main__":
    main()
