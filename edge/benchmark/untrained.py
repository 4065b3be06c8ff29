"""How long the file of a network takes that nobody has trained: weights do not change the time."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.detectors.measure import invoke_latency
from edge.export.convert import convert_heads, quantize_heads
from edge.export.export import write_detector
from edge.quantize.calibration import network_samples
from edge.runtime import Detector
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.formats import FORMATS, Form, RecipeFormat
from keras_retina.recipe.model import Backbone, Model
from keras_retina.recipe.recipe import Export

OVER_THRESHOLD = 0.2  # of all scores: in a trained demo file 0.17 are over 0.01, and post-processing takes its time
PREDICTIONS = ("classes_prediction", "classes_prediction_pointwise")  # full and separable heads
CALIBRATED_ON = 2  # images of noise: ranges take no time
TURNS, RUNS = 12, 10  # other work on the machine must last through all turns to count


def untrained_latency(
    settings: Model, class_count: int, *, kind: RecipeFormat, head: Form, threads: int, files: Export
) -> float:
    """Returns the milliseconds of a single-image invoke of the file that a trained network of these settings has.

    The median of the fastest of a few turns.

    Args:
        kind: number format of the file.
        head: how it ends. Post-processing gets as many scores over the threshold as in a trained file.
        threads: of the interpreter.
        files: thresholds of the post-processing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "untrained.tflite"
        write_untrained(path, settings, class_count=class_count, kind=kind, head=head, files=files)
        detector = Detector(path, threads)
        (image,) = _noise(settings, 1)
        return min(statistics.median(invoke_latency(detector, image, runs=RUNS)) for _ in range(TURNS))


def write_untrained(
    path: Path, settings: Model, *, class_count: int, kind: RecipeFormat, head: Form, files: Export
) -> None:
    """Writes the file of a network with random weights, some of whose scores are over the threshold of `files`."""
    backbone = Backbone(**{**settings.backbone.model_dump(), "weights": "none", "frozen_stages": 0})
    settings = settings.model_copy(update={"backbone": backbone})
    spec = detector_spec(settings, tuple(f"class {number}" for number in range(class_count)))

    def samples() -> Iterator[list[np.ndarray]]:
        return network_samples(_noise(settings, CALIBRATED_ON), spec)

    keras.backend.clear_session()
    model = detector_network(settings, class_count)
    _shift_scores(model, next(samples())[0], threshold=files.score_threshold)
    if FORMATS[kind].calibrated:  # without the search for equal channels, which changes weights alone
        network = quantize_heads(model, spec, kind=kind, samples=samples)
    else:
        network = convert_heads(model, spec, kind=kind)
    write_detector(path, network, spec=spec, kind=kind, head=head, settings=files)


def _shift_scores(model: keras.Model, image: np.ndarray, *, threshold: float) -> None:
    """Changes the biases of the class head so that OVER_THRESHOLD of the scores of an image are over the threshold."""
    logits = np.asarray(model(image, training=False)["classes"])
    predict = model.get_layer(next(layer.name for layer in model.layers if layer.name in PREDICTIONS))
    *kernel, bias = predict.get_weights()
    shift = np.log(threshold / (1 - threshold)) - np.quantile(logits, 1 - OVER_THRESHOLD)
    predict.set_weights([*kernel, bias + shift])


def _noise(settings: Model, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    shape = (settings.input.height, settings.input.width, 3)
    return [generator.integers(0, 256, shape, np.uint8) for _ in range(count)]
