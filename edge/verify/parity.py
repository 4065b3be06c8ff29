"""Does the converted network compute what Keras computes? Asked of the raw heads, before any AP is measured."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.export.convert import convert_heads
from edge.export.export import write_detector
from edge.runtime import Detector, ModelFileError
from edge.verify.result import Parity
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export

IMAGES = 8


def check_parity(
    model: keras.Model, spec: DetectorSpec, *, dataset: Dataset, raw_file: Path | None, limit: float
) -> Parity:
    """Compares the heads of Keras and of the raw float32 file on up to 8 images spread over the split.

    The difference of a head is max |file - Keras| / max(1, max |Keras|): logits reach about 10, and the order in which
    a convolution adds its products moves them by 1e-6 of that.

    Args:
        raw_file: the raw float32 file; without one the network is converted again for the comparison.
    """
    rule = f"max |tflite - Keras| / max(1, max |Keras|) <= {limit:g}"
    name = raw_file.name if raw_file else "converted for this check"
    step = max(1, len(dataset.records) // IMAGES)
    images = [read_image(record.path) for record in dataset.records[::step][:IMAGES]]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = raw_file or Path(folder) / "parity_raw.tflite"
            if raw_file is None:
                write_detector(
                    path,
                    convert_heads(model, spec, kind="float32"),
                    spec=spec,
                    kind="float32",
                    head="raw",
                    settings=Export(),
                )
            differences = head_differences(model, spec, detector=Detector(path), images=images)
    except (ModelFileError, RuntimeError) as error:
        return Parity(rule, name, passed=False, reason=f"parity could not be checked: {error}")
    shown = {name: float(f"{value:.3g}") if math.isfinite(value) else None for name, value in differences.items()}
    reasons = [
        f"the {name} head differs from Keras by {value:.3g}, limit {limit:g}"
        for name, value in differences.items()
        if not value <= limit  # also when it is NaN
    ]
    return Parity(rule, name, len(images), **shown, passed=not reasons, reason="; ".join(reasons))


def head_differences(
    model: keras.Model, spec: DetectorSpec, *, detector: Detector, images: Sequence[np.ndarray]
) -> dict[str, float]:
    """Returns the largest scaled difference of `classes` and `boxes` over the images; NaN when a value is NaN."""
    differences = {"classes": 0.0, "boxes": 0.0}
    for image in images:
        pixels, _ = detector.prepare(image)
        detector.invoke(pixels)
        received = dict(zip(("classes", "boxes"), detector.heads(), strict=True))
        outputs = model(spec.scale(pixels), training=False)
        for name, values in received.items():
            expected = np.asarray(outputs[name])[0]
            scale = max(1.0, float(np.abs(expected).max()))
            differences[name] = float(np.maximum(differences[name], np.abs(values - expected).max() / scale))
    return differences
