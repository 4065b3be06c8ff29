"""What the int8 networks of one model are made from, measured once for all steps of healing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edge.export.convert import Samples, balanced_model, first_quantization, float_heads, set_int8_ranges
from edge.export.export import write_detector
from edge.quantize.calibration import calibration_samples
from edge.quantize.ranges import Histogram, Range, best_range, observed_values
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.verify.debug.debug import with_camera_bytes
from edge.verify.debug.trials import Heads, head_error, heads_of_file
from keras_retina.data.records import ImageFile
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.export import Export

ERROR_IMAGES = 16  # spread over the calibration images


@dataclass(frozen=True)
class Material:
    """The float network of a model, and what it computes on calibration images.

    Attributes:
        rounded: the int8 network with TensorFlow's ranges, as a flatbuffer.
        float_network: of the same weights; takes scaled float pixels.
        values: of each feature map of the float network.
        images: scaled `[1, H, W, 3]`, on which the error of the heads is measured.
        heads: of the float network on `images`.
    """

    spec: DetectorSpec
    samples: Samples
    rounded: bytes
    float_network: bytes
    values: dict[bytes, Histogram]
    images: Sequence[np.ndarray]
    heads: Sequence[Heads]

    def with_ranges(self, choose: Callable[[Histogram], Range] = best_range) -> bytes:
        """Returns the int8 network with ranges by this rule; its biases are rounded only."""
        network = read_flatbuffer(self.rounded)
        set_int8_ranges(network, self.values, choose=choose)
        return write_flatbuffer(network)

    def error(self, heads_only: bytes) -> float:
        """Returns the error of the heads of a converted network, as a share of how much they vary."""
        return head_error(self.heads, heads_of(heads_only, self.spec, images=self.images))


def make_material(model: keras.Model, spec: DetectorSpec, *, calibration_images: Sequence[ImageFile]) -> Material:
    """Converts a model and runs it on its calibration images."""
    samples = partial(calibration_samples, calibration_images, spec)
    balanced = balanced_model(model, samples)
    float_network = float_heads(balanced, spec)
    step = max(1, len(calibration_images) // ERROR_IMAGES)
    images = [image for (image,) in calibration_samples(calibration_images[::step][:ERROR_IMAGES], spec)]
    return Material(
        spec,
        samples,
        write_flatbuffer(first_quantization(balanced, spec, kind="int8", samples=samples)),
        float_network,
        observed_values(float_network, samples()),
        images,
        heads_of(with_camera_bytes(float_network, spec), spec, images=images),
    )


def heads_of(heads_only: bytes, spec: DetectorSpec, *, images: Sequence[np.ndarray]) -> list[Heads]:
    """Returns logits and deltas of a converted network on scaled images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heads_raw.tflite"
        write_detector(path, heads_only, spec=spec, kind="int8", head="raw", settings=Export())
        return heads_of_file(path, spec, images=images)
