"""KerasHub's RetinaNet with lively random weights: its preset, and what it makes of an image.

    python benchmarks/imports/keras_hub_original.py v1 OUT

Writes OUT/checkpoint.preset (a folder), OUT/checkpoint.keras and OUT/expected.npz, for check.py. `v2` makes level 6
from C5 and has norms in its heads. Needs keras-hub, and TensorFlow for it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.pop("TF_USE_LEGACY_KERAS", None)  # which check.py sets for itself
import keras
import keras_hub

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
OUTPUTS = 91
NO_CLASS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
SIZE, CELL = 256, 16
LOGIT_SPREAD, LOGIT_MEAN, DELTA_SPREAD = 2.0, -8.0, 0.2


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("version", choices=["v1", "v2"])
    made.add_argument("out", type=Path)
    arguments = made.parse_args()
    write_original(arguments.out, is_second=arguments.version == "v2")


def write_original(out: Path, *, is_second: bool) -> None:
    """Writes the checkpoint, in both forms, and what the original finds."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    model = detector(is_second)
    enliven(model, np.random.default_rng(1))
    image = np.random.default_rng(0).integers(0, 256, (SIZE // CELL, SIZE // CELL, 3)).astype(np.uint8)
    image = image.repeat(CELL, 0).repeat(CELL, 1)
    inputs = keras.ops.convert_to_numpy(model.preprocessor.image_converter(image[None].astype(np.float32)))
    spread_heads(model, {name: np.asarray(values) for name, values in model(inputs, training=False).items()})
    heads = {name: np.asarray(values) for name, values in model(inputs, training=False).items()}
    found = {name: np.asarray(values)[0] for name, values in model.decode_predictions(heads, inputs).items()}
    anchors = np.concatenate([np.asarray(level) for level in model.anchor_generator(inputs).values()])
    count = int(found["num_detections"])
    model.save_to_preset(str(out / "checkpoint.preset"))
    model.save(out / "checkpoint.keras")
    np.savez(
        out / "expected.npz",
        image=image,
        logits=heads["cls_logits"][0],
        deltas=heads["bbox_regression"][0][:, [1, 0, 3, 2]],
        anchors=anchors,
        boxes=np.clip(found["boxes"][:count], 0, SIZE),
        scores=found["confidence"][:count],
        classes=found["labels"][:count],
    )


def detector(is_second: bool) -> keras.Model:
    """Builds the detector as the presets have it."""
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=7, use_p5=is_second, image_shape=(SIZE, SIZE, 3)
    )
    converter = keras_hub.layers.RetinaNetImageConverter(
        image_size=(SIZE, SIZE),
        scale=list(1 / 255 / DEVIATION),
        offset=list(-MEAN / DEVIATION),
        crop_to_aspect_ratio=False,
        pad_to_aspect_ratio=True,
    )
    decoder = keras_hub.layers.NonMaxSuppression(
        bounding_box_format="yxyx", from_logits=True, confidence_threshold=0.05, max_detections=300
    )
    return keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone,
        num_classes=OUTPUTS,
        use_prediction_head_norm=is_second,
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(image_converter=converter),
        prediction_decoder=decoder,
    )


def enliven(model: keras.Model, generator: np.random.Generator) -> None:
    """Gives every norm statistics, scales and offsets of its own, and the hidden convolutions enough to pass on."""
    for layer in model._flatten_layers():
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, offset = generator.uniform(0.25, 0.75, shapes[0]), generator.normal(0, 0.1, shapes[0])
            layer.set_weights(
                [scale, offset, generator.normal(0, 0.1, shapes[0]), generator.uniform(0.5, 1.5, shapes[0])]
            )
        elif isinstance(layer, keras.layers.GroupNormalization):
            layer.set_weights([generator.uniform(0.25, 0.75, shapes[0]), generator.normal(0, 0.1, shapes[0])])
    for head in (model.classification_head, model.box_head):
        for layer in head.conv_layers:
            kernel, *bias = layer.get_weights()
            spread = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([generator.normal(0, spread, kernel.shape), *bias])


def spread_heads(model: keras.Model, outputs: dict[str, np.ndarray]) -> None:
    """Scales the last convolutions, so that some hundred boxes are found, none of them of no class."""
    classes, boxes = model.classification_head.prediction_layer, model.box_head.prediction_layer
    kernel, bias = classes.get_weights()
    bias = np.full((len(bias) // OUTPUTS, OUTPUTS), LOGIT_MEAN)
    bias[:, NO_CLASS] = -30.0
    classes.set_weights([kernel * LOGIT_SPREAD / outputs["cls_logits"].std(), bias.ravel()])
    kernel, bias = boxes.get_weights()
    generator = np.random.default_rng(2)
    boxes.set_weights([kernel * DELTA_SPREAD / outputs["bbox_regression"].std(), generator.normal(0, 0.1, bias.shape)])


if __name__ == "__main__":
    main()
