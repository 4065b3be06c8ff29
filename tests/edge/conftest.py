"""A tiny detector with lively outputs, five test photographs, and every file that `export_files` makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid
from keras_retina.recipe.recipe import Export

CLASS_NAMES = ("circle", "square", "<b>../cross</b>")
SETTINGS = Model(
    backbone=Backbone(alpha=0.35, weights="none", frozen_stages=0, batch_norm="trained"),
    input=Input(height=128, width=128),
    pyramid=Pyramid(width=16, levels=(3, 6)),
    head=Head(width=16, convolutions=1),
)


def draw_image(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A textured background with a few filled shapes; uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        x, y = generator.integers(0, width - 30), generator.integers(0, height - 30)
        side = generator.integers(10, 30)
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        draw.ellipse((int(x), int(y), int(x + side), int(y + side)), fill=colour)
    return np.array(picture)


@pytest.fixture(scope="session")
def image_paths(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"image_{seed}.png" for seed in range(5)]
    for seed, path in enumerate(paths):
        Image.fromarray(draw_image(seed)).save(path)
    return paths


@pytest.fixture(scope="session")
def tiny_spec():
    from keras_retina.model.spec import detector_spec

    return detector_spec(SETTINGS, CLASS_NAMES)


@pytest.fixture(scope="session")
def tiny_model(image_paths, tiny_spec):
    """Random weights, scaled so that logits are about -4 +- 2 and deltas about 0 +- 1."""
    from keras_retina.data.images import read_image
    from keras_retina.data.resize import resize_image
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network

    keras.utils.set_random_seed(3)
    model = detector_network(SETTINGS, len(CLASS_NAMES))
    pixels = np.stack([resize_image(read_image(path), 128, width=128, mode="stretch") for path in image_paths])
    batch = tiny_spec.scale(pixels)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(batch, training=True)  # BatchNorm statistics of these images, without which a random network is dead
    outputs = model(batch, training=False)
    for name, deviation, mean in (("classes", 2.0, -4.0), ("boxes", 1.0, 0.0)):
        layer = model.get_layer(f"{name}_prediction_pointwise")
        kernel, bias = layer.get_weights()
        factor = deviation / float(np.std(outputs[name]))
        layer.set_weights([kernel * factor, np.full_like(bias, mean)])
    return model


@pytest.fixture(scope="session")
def export_settings() -> Export:
    return Export(calibration_images=5, max_detections=50)


@pytest.fixture(scope="session")
def exported(tiny_model, tiny_spec, export_settings, image_paths, tmp_path_factory) -> dict[str, Path]:
    """`{"float32": path, "float32_raw": path, ...}`."""
    from edge.export.export import export_files

    folder = tmp_path_factory.mktemp("export")
    paths = export_files(
        tiny_model, tiny_spec, out_dir=folder, name="tiny", settings=export_settings, calibration_images=image_paths
    )
    return {path.stem.removeprefix("tiny_"): path for path in paths}


@dataclass(frozen=True)
class Quantized:
    """A very small detector with its shared heads on three levels, and the networks that were made of it."""

    model: Any
    spec: Any
    samples: Any
    float_network: bytes
    int8: bytes
    int16: bytes


@dataclass(frozen=True)
class SmallDetector:
    """A very small detector, its description, and a function that returns the inputs that it is calibrated on."""

    model: Any
    spec: Any
    samples: Any


@pytest.fixture(scope="session")
def small_quantized(image_paths) -> Quantized:
    """`small_detector` with heads without BatchNorm, not equalized."""
    from edge.export.convert import float_heads, quantize_heads

    small = small_detector(image_paths, Head(width=8, convolutions=1))
    networks = [quantize_heads(small.model, small.spec, kind=kind, samples=small.samples) for kind in ("int8", "int16")]
    return Quantized(small.model, small.spec, small.samples, float_heads(small.model, small.spec), *networks)


@pytest.fixture(scope="session")
def small_per_level(image_paths) -> SmallDetector:
    """`small_detector` with a BatchNorm for each of the three levels in the heads, no two alike; logits -2 +- 3."""
    small = small_detector(image_paths, Head(width=8, convolutions=1, batch_norm="per_level"))
    random = np.random.default_rng(6)
    for layer in small.model.layers:
        if "_0_norm_" in layer.name:
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(random.uniform(0.0, 1.0, layer.beta.shape))
    return small


def small_detector(image_paths: list[Path], head: Head) -> SmallDetector:
    """The plain backbone on 64 x 64 pixels, two classes; logits are about -2 +- 2, deltas 0 +- 1."""
    from functools import partial

    from edge.quantize.calibration import calibration_samples
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec

    settings = Model(
        backbone=Backbone(name="plain", weights="none", frozen_stages=0, batch_norm="trained"),
        input=Input(height=64, width=64),
        pyramid=Pyramid(width=8, levels=(3, 5)),
        head=head,
    )
    keras.utils.set_random_seed(4)
    model, spec = detector_network(settings, 2), detector_spec(settings, ("disc", "square"))
    samples = partial(calibration_samples, image_paths, spec)
    batch = np.concatenate([image for (image,) in samples()])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(batch, training=True)
    outputs = model(batch, training=False)
    for name, deviation, mean in (("classes", 2.0, -2.0), ("boxes", 1.0, 0.0)):
        layer = model.get_layer(f"{name}_prediction_pointwise")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * deviation / float(np.std(outputs[name])), np.full_like(bias, mean)])
    return SmallDetector(model, spec, samples)


@pytest.fixture(scope="session")
def small_networks(small_quantized) -> dict[str, bytes]:
    """`{kind: network}` of `small_quantized` that take camera bytes and end at the heads."""
    from edge.export.int16 import take_camera_bytes
    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    model = read_flatbuffer(small_quantized.float_network)
    take_camera_bytes(model, small_quantized.spec)
    return {"float32": write_flatbuffer(model), "int8": small_quantized.int8, "int16": small_quantized.int16}
