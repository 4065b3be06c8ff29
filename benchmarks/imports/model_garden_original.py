"""Model Garden's RetinaNet with lively random weights: its checkpoint, and what it makes of an image.

    python benchmarks/imports/model_garden_original.py resnet50 OUT

Writes OUT/checkpoint.index with its data, as Model Garden's trainer saves it, and OUT/expected.npz, for check.py. Needs
tf-models-official. `mobilenet_v2` is built as MediaPipe Model Maker builds its detector, `resnet50` as the experiment
`retinanet_resnetfpn_coco`; both have the 91 outputs of COCO.
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Model Garden is written for Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from official.core import exp_factory
from official.vision import configs
from official.vision.modeling import factory
from official.vision.ops import anchor, preprocess_ops

OUTPUTS, UNUSED = 91, (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
SIZE, CELL = 256, 16
SCALES, RATIOS = 3, 3
LOGIT_SPREAD, LOGIT_MEAN, DELTA_SPREAD = 2.0, -8.0, 0.2


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("backbone", choices=sorted(CONFIGS))
    made.add_argument("out", type=Path)
    made.add_argument("--activation", choices=("relu", "relu6", "swish"), help="instead of the configuration's")
    arguments = made.parse_args()
    write_original(arguments.backbone, arguments.out, activation=arguments.activation)


def _mobilenet_v2() -> configs.retinanet.RetinaNet:
    retinanet = configs.retinanet
    return retinanet.RetinaNet(
        num_classes=OUTPUTS,
        input_size=[SIZE, SIZE, 3],
        anchor=retinanet.Anchor(anchor_size=3),
        backbone=configs.backbones.Backbone(type="mobilenet"),
        decoder=configs.decoders.Decoder(
            type="fpn", fpn=configs.decoders.FPN(num_filters=128, use_separable_conv=True, use_keras_layer=True)
        ),
        head=retinanet.RetinaNetHead(num_filters=128, use_separable_conv=True),
        norm_activation=configs.common.NormActivation(activation="relu6"),
    )


def _resnet50() -> configs.retinanet.RetinaNet:
    return exp_factory.get_exp_config("retinanet_resnetfpn_coco").task.model


CONFIGS = {"mobilenet_v2": _mobilenet_v2, "resnet50": _resnet50}
NORMALIZATION = {"mobilenet_v2": ((0.5,), (0.5,)), "resnet50": (preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM)}
"""Model Maker's preprocessor, and that of `retinanet_input.Parser`."""


def write_original(backbone: str, out: Path, *, activation: str | None = None) -> None:
    """Writes the checkpoint and what the original finds."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    config = CONFIGS[backbone]()
    if activation:
        config.norm_activation.activation = activation
    model = factory.build_retinanet(keras.layers.InputSpec(shape=[None, SIZE, SIZE, 3]), config)
    model(tf.zeros([1, SIZE, SIZE, 3]), training=True)
    generator = np.random.default_rng(1)
    image = np.random.default_rng(0).integers(0, 256, (SIZE // CELL, SIZE // CELL, 3)).astype(np.uint8)
    image = image.repeat(CELL, 0).repeat(CELL, 1)
    inputs = preprocess_ops.normalize_image(tf.constant(image), *NORMALIZATION[backbone])
    inputs, info = preprocess_ops.resize_and_crop_image(inputs, [SIZE, SIZE], [SIZE, SIZE])
    inputs, shape = inputs[tf.newaxis], info[tf.newaxis, 1]
    enliven(model, inputs, generator)
    spread_heads(model, model(inputs, image_shape=shape, training=False))
    found = model(inputs, image_shape=shape, training=False)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    saved = tf.train.Checkpoint(
        global_step=tf.Variable(7, dtype=tf.int64), model=model, optimizer=optimizer, **model.checkpoint_items
    )
    saved.write(str(out / "checkpoint"))
    anchors = anchor.build_anchor_generator(3, 7, SCALES, config.anchor.aspect_ratios, config.anchor.anchor_size)
    count = int(found["num_detections"][0])
    np.savez(
        out / "expected.npz",
        image=image,
        logits=rows(found["cls_outputs"], OUTPUTS),
        deltas=rows(found["box_outputs"], 4),
        anchors=rows(anchors(image_size=[SIZE, SIZE]), 4),
        boxes=found["detection_boxes"][0, :count],
        scores=found["detection_scores"][0, :count],
        classes=found["detection_classes"][0, :count],
    )


def rows(levels: dict[str, tf.Tensor], values: int) -> np.ndarray:
    """Returns `[anchors, values]` of maps by level, the scale of the anchors changing fastest: here it is the ratio."""
    maps = [np.reshape(levels[level], (-1, SCALES, RATIOS, values)) for level in sorted(levels)]
    return np.concatenate([cells.swapaxes(1, 2).reshape(-1, values) for cells in maps])


def enliven(model: keras.Model, inputs: tf.Tensor, generator: np.random.Generator) -> None:
    """Gives every norm a scale, an offset and statistics of its own, near those of the image, so that it is still seen
    behind fifty of them; convolutions biases; and heads enough to pass on.
    """
    norms = [
        layer for layer in model.submodules if isinstance(layer, keras.layers.BatchNormalization) and layer.weights
    ]
    for norm in norms:
        norm.momentum = 0.0  # the statistics become those of the next batch
        norm.gamma.assign(generator.uniform(0.5, 1.0, norm.gamma.shape))
        norm.beta.assign(generator.normal(0, 0.3, norm.beta.shape))
    for layer in model.submodules:
        if layer not in norms and getattr(layer, "bias", None) is not None:
            layer.bias.assign(generator.normal(0, 0.1, layer.bias.shape))
    for variable in model.head.trainable_variables:
        if variable.shape.rank == 4:
            read = np.prod(variable.shape[:2] if "depthwise" in variable.name else variable.shape[:3])
            variable.assign(generator.normal(0, np.sqrt(2 / read), variable.shape))
    model(inputs, training=True)
    for norm in norms:
        variance = norm.moving_variance.numpy()
        # Of the four cells of level 7 a variance can be so small that rounding alone would be seen.
        norm.moving_mean.assign_add(generator.normal(0, 0.1, variance.shape) * np.sqrt(variance))
        norm.moving_variance.assign((variance + variance.mean()) * generator.uniform(0.5, 1.0, variance.shape))


def spread_heads(model: keras.Model, outputs: dict[str, dict[str, tf.Tensor]]) -> None:
    """Scales the last convolutions, so that some hundred boxes are found, none of them of no class."""
    classes, boxes = model.head._classifier, model.head._box_regressor
    for layer, name, spread in ((classes, "cls_outputs", LOGIT_SPREAD), (boxes, "box_outputs", DELTA_SPREAD)):
        deviation = np.concatenate([np.ravel(values) for values in outputs[name].values()]).std()
        kernel = getattr(layer, "pointwise_kernel", None)
        kernel = layer.kernel if kernel is None else kernel
        kernel.assign(kernel * spread / deviation)
    bias = np.full((SCALES * RATIOS, OUTPUTS), LOGIT_MEAN, np.float32)
    bias[:, [0, *UNUSED]] = -30.0
    classes.bias.assign(bias.ravel())


if __name__ == "__main__":
    main()
