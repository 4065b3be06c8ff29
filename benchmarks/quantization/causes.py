"""What int8 costs a trained detector, and which part of it: outputs, weights, feature maps, layers.

    python benchmarks/quantization/causes.py RUN ... --data DIR --split val --out FILE.json

Each variant of a run's network detects on the same images with the same decoding and suppression, in this process:

- `float`, `int8`: the raw files.
- `boxes`, `scores`: the int8 boxes with the float scores, and the reverse.
- `weights`: float feature maps, kernels rounded to 8 bits. `maps`: the reverse.
- `float backbone`, `float pyramid`, `float boxes`, `float classes`: the int8 file with that part in float.
- `extremes`: the int8 file with the range of each feature map from its smallest to its largest value.
- `biases`: the int8 file without corrected biases.
- `plain`: the int8 file without equalized channels.

`parts` says which share of `head_error` each head, level and class has.
`head_error` is the mean error of scores and box deltas where they can move a detection, as a share of how much they
vary (edge.verify.debug.trials). It is far less noisy than AP on a small split.

Nothing is chosen here, so any split may be measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import edge.export.convert as convert
from edge.export.export import described
from edge.export.int16 import take_camera_bytes
from edge.export.tails import end_at_heads
from edge.quantize.aware.model import quantizable
from edge.quantize.aware.places import measured_ranges, quantized_places
from edge.quantize.aware.quantizers import PIXEL_RANGE, RoundedImage, RoundedMap
from edge.quantize.calibration import calibration_samples, choose_calibration_images
from edge.runtime import Detector
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.layer_names import layer_operators
from edge.verify.debug.search import PARTS
from edge.verify.debug.trials import Heads as Pair
from edge.verify.debug.trials import TrialFiles, head_error
from edge.verify.heal.steps import whole_range
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import EVALUATION_SCORE_THRESHOLD, coco_metrics
from keras_retina.evaluate.predict import network_input, predict_dataset
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.nms import detections
from keras_retina.model.calls import rebuild
from keras_retina.model.graph import calls_of, output_places
from keras_retina.model.saving import load_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.export import Export
from keras_retina.recipe.recipe import load_recipe

Heads = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""uint8 images `[batch, H, W, 3]` -> logits `[batch, anchors, classes]` and deltas `[batch, anchors, 4]`."""

LIMIT = 127
ERROR_IMAGES = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--only", nargs="+", help="names of variants; all by default")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    for run in arguments.runs:
        key = f"{run}:{arguments.split}"
        known = found.setdefault(key, {})
        for name, metrics in measured(run, arguments.data, split=arguments.split, only=arguments.only, known=known):
            known[name] = metrics
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(key, name, *(f"{one} {metrics[one]}" for one in ("head_error", "AP", "AP50", "AP75")), flush=True)


def measured(
    run: Path, data: Path, *, split: str, only: list[str] | None, known: dict[str, Any]
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yields the metrics of each variant that is not known yet."""
    recipe = load_recipe(run / "recipe.yaml")
    model, spec = load_detector(run / "model.keras")
    dataset = load_dataset(data, split, format=recipe.data.format, classes=recipe.data.classes)
    train_set = load_dataset(data, recipe.data.train, format=recipe.data.format, classes=recipe.data.classes)
    images = choose_calibration_images(train_set, recipe.export.calibration_images)
    pixels = [network_input(record, spec) for record in dataset.records[:ERROR_IMAGES]]
    exact: list[Pair] = []
    for name, heads in variants(model, spec, samples=partial(calibration_samples, images, spec)):
        exact = exact or pairs_of(heads(), pixels)  # the first one is the float network
        if (only and name not in only) or name in known:
            continue
        received = pairs_of(heads(), pixels)
        error = {"head_error": round(head_error(exact, received), 6), "parts": error_parts(exact, received, spec)}
        yield name, error | metrics_of(heads(), spec, dataset=dataset)


def error_parts(exact: list[Pair], received: list[Pair], spec: DetectorSpec) -> dict[str, Any]:
    """Returns where `head_error` comes from: its shares by head, by pyramid level, and that of the scores by class."""
    scores, others = (
        1 / (1 + np.exp(-np.stack([pair[0] for pair in one]).astype(np.float64))) for one in (exact, received)
    )
    deltas, other_deltas = (np.stack([pair[1] for pair in one]).astype(np.float64) for one in (exact, received))
    weights = scores.max(axis=-1, keepdims=True)  # [images, anchors, 1]
    centre = (weights * deltas).sum(axis=(0, 1)) / weights.sum()
    of_scores = (scores - others) ** 2 / max(((scores - scores.mean(axis=(0, 1))) ** 2).sum(), 1e-12) / 2
    of_boxes = weights * (deltas - other_deltas) ** 2 / max((weights * (deltas - centre) ** 2).sum(), 1e-12) / 2
    total = max(of_scores.sum() + of_boxes.sum(), 1e-12)
    grid = spec.grid
    levels = range(grid.levels[0], grid.levels[1] + 1)
    per_cell = len(grid.scales) * len(grid.ratios)
    ends = np.cumsum([per_cell * (grid.height >> level) * (grid.width >> level) for level in levels])
    places = [slice(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    by_level = [(of_scores[:, place].sum() + of_boxes[:, place].sum()) / total for place in places]
    by_class = of_scores.sum(axis=(0, 1)) / max(of_scores.sum(), 1e-12)
    return {
        "scores": round(float(of_scores.sum() / total), 3),
        "boxes": round(float(of_boxes.sum() / total), 3),
        "levels": {str(level): round(float(share), 3) for level, share in zip(levels, by_level, strict=True)},
        "classes": {name: round(float(share), 3) for name, share in zip(spec.class_names, by_class, strict=True)},
    }


def pairs_of(heads: Heads, pixels: list[np.ndarray]) -> list[Pair]:
    """Returns logits and deltas of each image."""
    return [(logits[0], deltas[0]) for logits, deltas in (heads(image[None]) for image in pixels)]


def variants(model: keras.Model, spec: DetectorSpec, *, samples: convert.Samples) -> Iterable[tuple[str, Any]]:
    """Yields name and a function that returns the heads of each variant."""
    balanced = convert.balanced_model(model, samples)
    float_network = convert.float_heads(balanced, spec)
    parent = read_flatbuffer(float_network)
    take_camera_bytes(parent, spec)
    heads_only = write_flatbuffer(parent)
    quantized = partial(convert.quantize_heads, spec=spec, kind="int8", samples=samples)
    network = quantized(balanced)
    files = TrialFiles(network, float_network, spec=spec)

    def exact() -> Heads:
        return of_file(files.write(heads_only))

    def int8() -> Heads:
        return of_file(files.file(()))

    yield "float", exact
    yield "int8", int8
    yield "boxes", lambda: mixed(scores=exact(), boxes=int8())
    yield "scores", lambda: mixed(scores=int8(), boxes=exact())
    yield "weights", lambda: of_file(files.write(with_rounded_kernels(balanced, spec)))
    yield "maps", lambda: of_keras(with_rounded_maps(model, samples), spec)
    for part in ("backbone", "pyramid", "boxes", "classes"):
        yield f"float {part}", lambda part=part: of_file(files.file(layers_of_part(network, part)))
    yield "extremes", lambda: of_file(extremes(balanced, spec, samples=samples))
    yield "biases", lambda: of_file(without_bias_correction(balanced, spec, samples=samples))
    yield "plain", lambda: of_file(temporary(raw_file(quantized(model), spec)))


def raw_file(heads: bytes, spec: DetectorSpec) -> bytes:
    """Returns a file that ends at its heads."""
    network = read_flatbuffer(heads)
    end_at_heads(network, unsigned=False)
    return described(write_flatbuffer(network), spec, kind="int8", head="raw", settings=Export())


def temporary(content: bytes) -> Path:
    """Writes a file that is gone with this process's folder."""
    path = Path(tempfile.mkdtemp()) / "variant.tflite"
    path.write_bytes(content)
    return path


def of_file(path: Path) -> Heads:
    """Returns the heads of a raw file."""
    detector = Detector(path)

    def heads(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for image in images:
            detector.invoke(image[None])
            logits, deltas = detector.heads()
            rows.append((logits.copy(), deltas.copy()))
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    return heads


def of_keras(model: keras.Model, spec: DetectorSpec) -> Heads:
    """Returns the heads of a Keras model."""
    call = tf.function(lambda images: model(images, training=False))

    def heads(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = call(tf.constant(spec.scale(images)))
        return found["classes"].numpy(), found["boxes"].numpy()

    return heads


def mixed(*, scores: Heads, boxes: Heads) -> Heads:
    """Returns the scores of one network with the boxes of another."""
    return lambda images: (scores(images)[0], boxes(images)[1])


def with_rounded_kernels(model: keras.Model, spec: DetectorSpec) -> bytes:
    """Returns the float network with kernels that have 255 values for each output channel, as in an int8 file."""
    from edge.quantize.batch_norm import CONVOLUTIONS, without_batch_norm

    rounded = without_batch_norm(model)
    for layer in rounded.layers:
        if isinstance(layer, CONVOLUTIONS):
            kernel, *others = layer.get_weights()
            axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (0, 1, 2)
            step = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-8) / LIMIT
            layer.set_weights([np.round(kernel / step) * step, *others])
    network = read_flatbuffer(convert.float_heads(rounded, spec))
    take_camera_bytes(network, spec)
    return write_flatbuffer(network)


def with_rounded_maps(model: keras.Model, samples: convert.Samples) -> keras.Model:
    """Returns the Keras model with feature maps that have 256 values, as in an int8 file, and float kernels."""
    batches = [image for (image,) in samples()]
    plain = quantizable(model, batches)
    ranges = measured_ranges(plain, batches)
    source = keras.models.clone_model(plain)
    source.set_weights(plain.get_weights())
    rounded = quantized_places(source)
    inputs = {name: keras.Input(source.get_layer(name).output_shape[0][1:], name=name) for name in source.input_names}
    tensors = {(name, 0): RoundedImage(*PIXEL_RANGE)(tensor) for name, tensor in inputs.items()}
    for call in calls_of(source):
        place = (call.layer, call.number)
        if place in tensors:
            continue
        rebuild([call], tensors, layer_of=source.get_layer)
        if place in rounded:
            tensors[place] = RoundedMap(*ranges[place])(tensors[place])
    outputs = {name: tensors[place] for name, place in output_places(source).items()}
    return keras.Model(list(inputs.values()), outputs)


def extremes(model: keras.Model, spec: DetectorSpec, *, samples: convert.Samples) -> Path:
    """Returns the int8 file whose ranges hold every value that was seen."""
    float_network = convert.float_heads(model, spec)
    network = convert.first_quantization(model, spec, kind="int8", samples=samples)
    convert.set_int8_ranges(network, convert.observed_values(float_network, samples()), choose=whole_range)
    images = itertools.islice(samples(), convert.BIAS_IMAGES)
    convert.correct_biases(network, float_network, samples=images, spec=spec)
    return temporary(raw_file(write_flatbuffer(network), spec))


def without_bias_correction(model: keras.Model, spec: DetectorSpec, *, samples: convert.Samples) -> Path:
    """Returns the int8 file with biases that are rounded only."""
    before = convert.correct_biases
    convert.correct_biases = lambda *_, **__: 0
    try:
        network = convert.quantize_heads(model, spec, kind="int8", samples=samples)
    finally:
        convert.correct_biases = before
    return temporary(raw_file(network, spec))


def layers_of_part(network: bytes, part: str) -> list[str]:
    """Returns the layers of the pyramid, of one head, or of the backbone."""
    first_words = {name: name.split("_")[0] for name in layer_operators(read_flatbuffer(network))}
    return [name for name, word in first_words.items() if (word if word in PARTS else "backbone") == part]


def metrics_of(heads: Heads, spec: DetectorSpec, *, dataset: Dataset) -> dict[str, Any]:
    """Returns the COCO metrics of a network's heads."""
    anchors = tf.constant(spec.anchors())

    @tf.function
    def found(logits: tf.Tensor, deltas: tf.Tensor) -> dict[str, tf.Tensor]:
        return detections(
            logits,
            deltas,
            anchors=anchors,
            coder_weights=spec.coder_weights,
            score_threshold=EVALUATION_SCORE_THRESHOLD,
            iou_threshold=0.5,
            max_detections=100,
        )

    def detect(images: np.ndarray) -> dict[str, np.ndarray]:
        logits, deltas = heads(images)
        return {name: value.numpy() for name, value in found(tf.constant(logits), tf.constant(deltas)).items()}

    return coco_metrics(dataset, predict_dataset(detect, spec, dataset=dataset))


if __name__ == "__main__":
    main()
