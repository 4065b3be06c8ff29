"""Writes Model Garden's trained RetinaNet as float32 and int8 .tflite that end at the heads, and detects with them.

    MG/bin/python benchmarks/peers/model_garden_export.py --trained FILE --data DIR --split test --size 320 --out DIR

`--trained` is what `model_garden.py train --keep FILE` wrote. Out come `mg_float32_raw.tflite`, `mg_int8_raw.tflite`
(weights per channel, ranges from the train split, uint8 pixels) and beside each the detections for `score.py`, decoded
by Model Garden. Outputs are the class logits and the box deltas, all levels concatenated, as in the raw files of
keras_retina; the pixels of the float32 file are normalised outside, which those do inside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from model_garden import Heads, anchors_of, build_model, detect_function, heads_function
from official.vision.ops import preprocess_ops
from reader import Split, read_split, results_of_split

CALIBRATION_IMAGES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, required=True, help=".npz of model_garden.py train --keep")
    parser.add_argument("--weights", type=Path, required=True, help="mobilenet_v2_1.0_imagenet_notop.weights.h5")
    parser.add_argument("--data", type=Path, required=True, help="COCO folder with annotations/<split>.json")
    parser.add_argument("--split", default="val", help="the split to detect on")
    parser.add_argument("--size", type=int, default=256, help="height and width of the input")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    reported = read_split(arguments.data, arguments.split)
    model = build_model(len(reported.category_ids), arguments.size, weights=arguments.weights)
    with np.load(arguments.trained) as kept:
        model.set_weights([kept[name] for name in kept.files])
    arguments.out.mkdir(parents=True, exist_ok=True)
    train = read_split(arguments.data, "train")
    for kind, content in converted(model, arguments.size, train=train).items():
        path = arguments.out / f"mg_{kind}_raw.tflite"
        path.write_bytes(content)
        detect = detect_function(model, file_heads(content, arguments.size), size=arguments.size)
        asked = {"data": str(arguments.data), "split": arguments.split, "size": arguments.size}
        detections = results_of_split(reported, detect)
        found = {"detector": f"model_garden {kind}", **asked, "detections": detections}
        path.with_suffix(".json").write_text(json.dumps(found), encoding="utf-8")
        print(f"wrote {path} ({len(content) / 1e6:.2f} MB): {len(detections)} detections")


def converted(model: keras.Model, size: int, *, train: Split) -> dict[str, bytes]:
    """Returns the float32 and the int8 file."""
    heads, classes = heads_function(model, size), model.head.get_config()["num_classes"]

    @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32)])
    def concatenated(image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, deltas = heads(image)
        return {
            "classes": tf.concat([tf.reshape(logits[level], [1, -1, classes]) for level in logits], axis=1),
            "boxes": tf.concat([tf.reshape(deltas[level], [1, -1, 4]) for level in deltas], axis=1),
        }

    function = concatenated.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    files = {"float32": converter.convert()}
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: calibration(train, size)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    return {**files, "int8": converter.convert()}


def calibration(train: Split, size: int) -> Iterator[list[tf.Tensor]]:
    """Yields the first training images as the detector sees them."""
    for image in train.images[:CALIBRATION_IMAGES]:
        normal = preprocess_ops.normalize_image(tf.constant(image), (0.5,), (0.5,))
        yield [preprocess_ops.resize_and_crop_image(normal, [size, size], [size, size])[0][tf.newaxis]]


def file_heads(content: bytes, size: int) -> Callable[[tf.Tensor], Heads]:
    """Returns heads(normalised image) of a file, cut into levels again."""
    runner = tf.lite.Interpreter(model_content=content, num_threads=2).get_signature_runner()
    pixels = runner.get_input_details()["image"]
    shapes = {level: boxes.shape[:2] for level, boxes in anchors_of(size).items()}

    def heads(image: tf.Tensor) -> Heads:
        outputs = runner(image=_quantized(image.numpy(), pixels))
        return _levels(outputs["classes"][0], shapes), _levels(outputs["boxes"][0], shapes)

    return heads


def _quantized(values: np.ndarray, detail: dict) -> np.ndarray:
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    return np.clip(np.round(values / scale) + zero_point, 0, 255).astype(np.uint8)


def _levels(rows: np.ndarray, shapes: dict[str, tf.TensorShape]) -> dict[str, tf.Tensor]:
    """Cuts `[anchors, n]` into `[1, rows, columns, 9 * n]` by level."""
    counts = [9 * height * width for height, width in shapes.values()]
    parts = np.split(rows, np.cumsum(counts)[:-1])
    return {
        level: tf.constant(part.reshape(1, *shape, -1))
        for (level, shape), part in zip(shapes.items(), parts, strict=True)
    }


if __name__ == "__main__":
    main()
