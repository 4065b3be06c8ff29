"""KerasCV's RetinaNet with lively random weights: its `.keras`, and what it makes of an image.

    python benchmarks/imports/keras_cv_original.py rescaling OUT

Writes OUT/checkpoint.keras and OUT/expected.npz, for check.py. `plain` takes pixels from 0 to 255 and does not clip its
anchors. Needs keras-cv, with Keras 2 where tf_keras is installed and else with Keras 3.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "0" if importlib.util.find_spec("tf_keras") is None else "1"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras_cv
import numpy as np
import tensorflow as tf
from keras_cv.src.backend import keras

OUTPUTS = 91
NO_CLASS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
SIZE, CELL = 256, 16
LOGIT_SPREAD, LOGIT_MEAN, DELTA_SPREAD = 2.0, -8.0, 1.0
LEVELS = range(3, 8)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("version", choices=["rescaling", "plain"])
    made.add_argument("out", type=Path)
    arguments = made.parse_args()
    write_original(arguments.out, rescaling=arguments.version == "rescaling")


def write_original(out: Path, *, rescaling: bool) -> None:
    """Writes the checkpoint and what the original finds."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    model = detector(rescaling)
    enliven(model, np.random.default_rng(1), scale=1.0 if rescaling else 255.0)
    image = np.random.default_rng(0).integers(0, 256, (SIZE // CELL, SIZE // CELL, 3)).astype(np.uint8)
    image = image.repeat(CELL, 0).repeat(CELL, 1)
    inputs = tf.constant(image[None].astype(np.float32))
    spread_heads(model, model(inputs, training=False))
    heads = model(inputs, training=False)
    found = {name: np.asarray(values)[0] for name, values in model.decode_predictions(heads, inputs).items()}
    anchors = np.concatenate(
        [np.asarray(level) for level in model.anchor_generator(image_shape=(SIZE, SIZE, 3)).values()]
    )
    count = int((found["confidence"] > 0).sum())
    model.save(out / "checkpoint.keras")
    order = in_our_order(len(anchors))
    np.savez(
        out / "expected.npz",
        image=image,
        logits=np.asarray(heads["classification"])[0][order],
        deltas=np.asarray(heads["box"])[0][order],
        anchors=anchors[order],
        boxes=np.clip(found["boxes"][:count], 0, SIZE),
        scores=found["confidence"][:count],
        classes=found["classes"][:count],
    )


def in_our_order(count: int) -> np.ndarray:
    """Returns the anchors with the scales of a ratio beside each other; theirs have the ratios of a scale so."""
    return np.arange(count).reshape(-1, 3, 3).transpose(0, 2, 1).ravel()


def detector(rescaling: bool) -> keras.Model:
    """Builds the detector as KerasCV does by default, or without rescaling and clipped anchors."""
    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=rescaling,
        input_shape=(SIZE, SIZE, 3),
    )
    anchors = keras_cv.layers.AnchorGenerator(
        bounding_box_format="yxyx",
        sizes=[4.0 * 2**level for level in LEVELS],
        aspect_ratios=[0.5, 1.0, 2.0],
        scales=[1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
        strides=[2**level for level in LEVELS],
        clip_boxes=False,
    )
    decoder = keras_cv.layers.NonMaxSuppression(
        bounding_box_format="yxyx", from_logits=True, confidence_threshold=0.05, max_detections=300
    )
    return keras_cv.models.RetinaNet(
        backbone=backbone,
        num_classes=OUTPUTS,
        bounding_box_format="yxyx",
        anchor_generator=None if rescaling else anchors,
        prediction_decoder=decoder,
    )


def enliven(model: keras.Model, generator: np.random.Generator, *, scale: float) -> None:
    """Gives every norm statistics, scales and offsets of its own, and the hidden convolutions enough to pass on.

    The statistics of the first norm are those of pixels up to 1 / `scale` of 255.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = tuple(layer.gamma.shape)
            factor = scale if layer.name == "conv1_bn" else 1.0
            statistics = factor * generator.normal(0, 0.1, shape), factor**2 * generator.uniform(0.5, 1.5, shape)
            layer.set_weights([generator.uniform(0.25, 0.75, shape), generator.normal(0, 0.1, shape), *statistics])
    for head in (model.classification_head, model.box_head):
        for layer in head.conv_layers:
            kernel, bias = layer.get_weights()
            layer.set_weights([generator.normal(0, np.sqrt(2 / np.prod(kernel.shape[:3])), kernel.shape), bias])


def spread_heads(model: keras.Model, outputs: dict[str, tf.Tensor]) -> None:
    """Scales the last convolutions, so that some hundred boxes are found, none of them of no class."""
    classes, boxes = model.classification_head.prediction_layer, model.box_head.prediction_layer
    kernel, bias = classes.get_weights()
    bias = np.full((len(bias) // OUTPUTS, OUTPUTS), LOGIT_MEAN)
    bias[:, NO_CLASS] = -30.0
    classes.set_weights([kernel * LOGIT_SPREAD / np.std(outputs["classification"]), bias.ravel()])
    kernel, bias = boxes.get_weights()
    boxes.set_weights(
        [kernel * DELTA_SPREAD / np.std(outputs["box"]), np.random.default_rng(2).normal(0, 0.1, bias.shape)]
    )


if __name__ == "__main__":
    main()
