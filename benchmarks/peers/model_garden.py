"""Worker for Model Garden's RetinaNet, put together as MediaPipe Model Maker's object detector does (MobileNetV2).

    MG/bin/python benchmarks/peers/model_garden.py train --weights FILE --data DIR --split val --out FILE

Network, parser and losses: see `mediapipe/model_maker/python/vision/object_detector` (model.py, preprocessor.py,
hyperparameters.py). Two things differ, because Model Maker's COCO checkpoint is not ours to start from: the backbone
gets the same ImageNet weights as the other detectors, and so the optimiser had to be chosen again; see `OPTIMIZERS`.
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Model Garden is written for Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from official.vision import configs
from official.vision.losses import focal_loss, loss_utils
from official.vision.modeling import factory
from official.vision.ops import anchor, box_ops, preprocess_ops
from reader import BATCH, CLASSES, Split, constant_batch, read_split, results_of_split
from worker import Trainer, cosine, parser, run

L2_WEIGHT_DECAY = 3e-5
BATCH_NORM_STEPS = 60
LEVELS = (3, 7)

Labels = dict[str, Any]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--fused-batch-norm", action="store_true", help="use_sync_bn=False, as good on one device")
    made.add_argument("--keep", type=Path, help=".npz to write the weights to, for model_garden_export.py (train mode)")
    made.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    run(made.parse_args(), constant_step, trainer=trainer)


def constant_step(arguments: argparse.Namespace) -> Callable[[], float]:
    """Returns step(), an update with the constant batch."""
    keras.utils.set_random_seed(arguments.seed)
    model = build_model(CLASSES, arguments.size, weights=arguments.weights, fused_batch_norm=arguments.fused_batch_norm)
    images, boxes, classes = constant_batch(arguments.size, arguments.size)
    anchors = anchors_of(arguments.size)
    labels = [
        label(anchors, tf.constant(box), classes=tf.constant(kind)) for box, kind in zip(boxes, classes, strict=True)
    ]
    inputs = preprocess_ops.normalize_image(tf.constant(images), (0.5,), (0.5,))
    batch = (inputs, tf.nest.map_structure(lambda *parts: tf.stack(parts), *labels))
    optimizer, _ = OPTIMIZERS[arguments.optimizer]()
    return update_function(model, optimizer, classes=CLASSES, batches=tf.data.Dataset.from_tensors(batch).repeat())


def trainer(arguments: argparse.Namespace) -> Trainer:
    """Returns the training on the train split of `--data`."""
    keras.utils.set_random_seed(arguments.seed)
    split = read_split(arguments.data, "train")
    classes = len(split.category_ids)
    model = build_model(classes, arguments.size, weights=arguments.weights, fused_batch_norm=arguments.fused_batch_norm)
    optimizer, rate = OPTIMIZERS[arguments.optimizer]()
    batches = training_batches(split, arguments.size)

    def detect() -> list[dict[str, Any]]:
        estimate_batch_norm(model, batches)
        if arguments.keep:
            arguments.keep.parent.mkdir(parents=True, exist_ok=True)
            # Not save_weights: it leaves out the norms of the heads, which are in lists of lists.
            np.savez(arguments.keep, *model.get_weights())
        reported = read_split(arguments.data, arguments.split)
        return results_of_split(
            reported, detect_function(model, heads_function(model, arguments.size), size=arguments.size)
        )

    return Trainer(
        update_function(model, optimizer, classes=classes, batches=batches),
        lambda fraction: optimizer.learning_rate.assign(rate(fraction)),
        detect,
        arguments.size,
    )


def _model_maker() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    peak = 0.3 * BATCH / 256
    return keras.optimizers.SGD(peak, momentum=0.9), lambda fraction: peak * min(1.0, fraction / 0.1)


def _adam() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    return keras.optimizers.Adam(1e-3, global_clipnorm=10.0), lambda fraction: 1e-3 * cosine(fraction, 0.1)


def _sgd_clipped() -> tuple[keras.optimizers.Optimizer, Callable[[float], float]]:
    return (
        keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=10.0),
        lambda fraction: 0.01 * cosine(fraction, 0.1),
    )


OPTIMIZERS = {"model_maker": _model_maker, "adam": _adam, "sgd_clipped": _sgd_clipped}
"""name -> function that returns the optimiser and rate(share of the training).

Tried from the ImageNet weights on BCCD, 80 steps each, mean loss of the last ten (that of the first step was 1.80):
`model_maker`, SGD at 0.3 x 8 / 256 after a warm-up, as Model Maker trains from its own checkpoint, 1.52; `sgd_clipped`,
about the same rate with a cosine and clipped gradients, 1.57; `adam`, with a warm-up and a cosine, 0.77.
"""


def build_model(classes: int, size: int, *, weights: Any, fused_batch_norm: bool = False) -> keras.Model:
    """Builds the detector; class 0 is the background, as everywhere in Model Garden."""
    retinanet, common = configs.retinanet, configs.common
    config = retinanet.RetinaNet(
        min_level=LEVELS[0],
        max_level=LEVELS[1],
        num_classes=classes + 1,
        input_size=[size, size, 3],
        anchor=retinanet.Anchor(num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=3),
        backbone=configs.backbones.Backbone(
            type="mobilenet", mobilenet=configs.backbones.MobileNet(model_id="MobileNetV2")
        ),
        decoder=configs.decoders.Decoder(
            type="fpn", fpn=configs.decoders.FPN(num_filters=128, use_separable_conv=True, use_keras_layer=True)
        ),
        head=retinanet.RetinaNetHead(num_filters=128, use_separable_conv=True),
        norm_activation=common.NormActivation(activation="relu6", use_sync_bn=not fused_batch_norm),
    )
    specs = keras.layers.InputSpec(shape=[None, size, size, 3])
    model = factory.build_retinanet(specs, config, keras.regularizers.l2(L2_WEIGHT_DECAY / 2.0))
    model(tf.zeros([1, size, size, 3]), training=True)
    load_imagenet(model.backbone, weights, size=size)
    return model


def load_imagenet(backbone: keras.Model, weights: Any, *, size: int) -> None:
    """Copies the Keras MobileNetV2 into Model Garden's, convolution by convolution and norm by norm, in graph order."""
    source = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=str(weights))
    for kind in ((keras.layers.Conv2D, keras.layers.DepthwiseConv2D), keras.layers.BatchNormalization):
        wanted = [layer for layer in source.layers if isinstance(layer, kind)]
        # `submodules` has the attributes of a block in the order of their names: _conv0, _conv1 ...
        ours = [part for block in backbone.layers for part in block.submodules if isinstance(part, kind)]
        ours = [part for part in ours if part.weights]
        for layer, part in zip(wanted, ours, strict=True):
            part.set_weights(layer.get_weights())


LABELER = anchor.AnchorLabeler(0.5, 0.5)


def anchors_of(size: int) -> dict[str, tf.Tensor]:
    """Returns the anchors `[rows, columns, 9 * 4]` of each level."""
    return anchor.build_anchor_generator(*LEVELS, 3, [0.5, 1, 2], 3)(image_size=[size, size])


def label(anchors: dict[str, tf.Tensor], boxes: tf.Tensor, *, classes: tf.Tensor) -> Labels:
    """Returns the targets of one image from boxes `[n, 4]` yxyx, pixels of the input, and class indices `[n]`."""
    found = LABELER.label_anchors(anchors, boxes, classes[:, tf.newaxis] + 1)
    return dict(zip(("classes", "boxes", "attributes", "class_weights", "box_weights"), found, strict=True))


def training_batches(split: Split, size: int) -> tf.data.Dataset:
    """Endless batches: flip, resize by 0.5 to 2 with the aspect kept, crop or pad to `size` x `size`."""
    anchors = anchors_of(size)

    def load(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return split.images[index], split.boxes[index], split.classes[index]

    def sample(index: tf.Tensor) -> tuple[tf.Tensor, Labels]:
        image, boxes, classes = tf.numpy_function(load, [index], [tf.uint8, tf.float32, tf.int32])
        image, boxes, classes = (
            tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(boxes, [None, 4]), tf.ensure_shape(classes, [None])
        )  # fmt: skip
        sides = tf.shape(image)[:2]
        image = preprocess_ops.normalize_image(image, (0.5,), (0.5,))
        image, boxes, _ = preprocess_ops.random_horizontal_flip(image, box_ops.normalize_boxes(boxes, sides))
        image, info = preprocess_ops.resize_and_crop_image(
            image, [size, size], [size, size], aug_scale_min=0.5, aug_scale_max=2.0
        )
        boxes = box_ops.denormalize_boxes(boxes, sides)
        boxes = preprocess_ops.resize_and_crop_boxes(boxes, info[2], info[1], info[3])
        kept = box_ops.get_non_empty_box_indices(boxes)
        return tf.ensure_shape(image, [size, size, 3]), label(
            anchors, tf.gather(boxes, kept), classes=tf.gather(classes, kept)
        )

    order = tf.data.Dataset.range(len(split.images)).shuffle(len(split.images)).repeat()
    samples = order.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    return samples.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def update_function(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, *, classes: int, batches: tf.data.Dataset
) -> Callable[[], float]:
    """Returns step(): focal loss and 50 times Huber's, divided by the positive anchors and 1, and the L2 penalty."""
    focal = focal_loss.FocalLoss(alpha=0.25, gamma=1.5, reduction=keras.losses.Reduction.SUM)
    huber = keras.losses.Huber(0.1, reduction=keras.losses.Reduction.SUM)

    @tf.function
    def update(iterator: tf.data.Iterator) -> tf.Tensor:
        images, labels = next(iterator)
        positives = tf.reduce_sum(labels["box_weights"]) + 1.0
        wanted = tf.one_hot(loss_utils.multi_level_flatten(labels["classes"], last_dim=None), classes + 1)
        wanted_boxes = loss_utils.multi_level_flatten(labels["boxes"], last_dim=4)
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            logits = loss_utils.multi_level_flatten(outputs["cls_outputs"], last_dim=classes + 1)
            boxes = loss_utils.multi_level_flatten(outputs["box_outputs"], last_dim=4)
            loss = focal(wanted, logits, labels["class_weights"] / positives)
            loss += 50.0 * huber(wanted_boxes, boxes, labels["box_weights"] / positives)
            total = loss + tf.add_n(model.losses)
        optimizer.minimize(total, model.trainable_variables, tape=tape)
        return loss

    optimizer.build(model.trainable_variables)
    iterator = iter(batches)
    return lambda: float(update(iterator))


def estimate_batch_norm(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Measures the statistics of every BatchNorm anew with the final weights, on training batches.

    Model Maker starts from a COCO checkpoint; here pyramid and heads start at variance 1 where the true one is under
    0.001, and with a momentum of 0.99 a thousand steps do not get there: without this it detects nothing.
    """
    norms = [part for part in model.submodules if isinstance(part, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.9  # read when the function below is traced

    @tf.function
    def forward(images: tf.Tensor) -> None:
        model(images, training=True)

    for images, _ in batches.take(BATCH_NORM_STEPS):
        forward(images)


Heads = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]
"""Class logits `[1, rows, columns, 9 * (classes + 1)]` and box deltas `[1, rows, columns, 9 * 4]` of each level."""


def heads_function(model: keras.Model, size: int) -> Callable[[tf.Tensor], Heads]:
    """Returns heads(normalised image `[1, size, size, 3]`), a tf.function that ends before the decoding."""
    anchors = {level: boxes[tf.newaxis] for level, boxes in anchors_of(size).items()}

    @tf.function
    def heads(image: tf.Tensor) -> Heads:
        # What is decoded behind them is not asked for, so the graph loses it.
        outputs = model(image, image_shape=tf.constant([[size, size]]), anchor_boxes=anchors, training=False)
        return outputs["cls_outputs"], outputs["box_outputs"]

    return heads


def detect_function(
    model: keras.Model, heads: Callable[[tf.Tensor], Heads], *, size: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns detect(image) with Model Garden's decoding and NMS at its defaults: score 0.05, IoU 0.5, 100 boxes."""
    anchors = {level: boxes[tf.newaxis] for level, boxes in anchors_of(size).items()}

    @tf.function
    def decode(scores: dict[str, tf.Tensor], boxes: dict[str, tf.Tensor], shape: tf.Tensor) -> dict[str, tf.Tensor]:
        return model.detection_generator(boxes, scores, anchors, shape, {})

    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        normal = preprocess_ops.normalize_image(tf.constant(image), (0.5,), (0.5,))
        resized, info = preprocess_ops.resize_and_crop_image(normal, [size, size], [size, size])
        found = decode(*heads(resized[tf.newaxis]), info[tf.newaxis, 1])
        count = int(found["num_detections"][0])
        boxes, scores, classes = (
            found[f"detection_{name}"][0, :count].numpy() for name in ("boxes", "scores", "classes")
        )
        return boxes / np.tile(info[2].numpy(), 2), scores, classes.astype(int) - 1

    return detect


if __name__ == "__main__":
    main()
