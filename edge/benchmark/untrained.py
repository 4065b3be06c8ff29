"""How long the file of a network takes that nobody has trained: weights do not change the time."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge.benchmark.interleave import interleaved_latency
from edge.edgetpu.predict import predict
from edge.export.convert import convert_heads, quantize_heads, rounded_heads
from edge.export.export import write_detector
from edge.quantize.calibration import network_samples
from edge.tflite.flatbuffer import write_flatbuffer
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.formats import FORMATS, Form, RecipeFormat
from keras_retina.recipe.model import Backbone, Model
from keras_retina.recipe.recipe import Export

OVER_THRESHOLD = 0.2  # of all scores: in a trained demo file 0.17 are over 0.01, and post-processing takes its time
PREDICTIONS = ("classes_prediction", "classes_prediction_pointwise")  # full and separable heads
CALIBRATED_ON = 2  # images of noise: ranges take no time
ROUNDS = 40  # other work on the machine must last through all of them to count


class UntrainedLatency:
    """Times the file that a trained network of some settings has, beside the first one that it was asked for.

    The call takes the settings of a network, the number of classes, the number format and the end of the file, threads,
    and the thresholds of the post-processing, which gets as many scores over the threshold as in a trained file. It
    returns the milliseconds of single-image invokes: of this file, and of the first one in the same rounds. Each is the
    median of the fastest round, the one that other work on the machine disturbed least.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

    def __call__(
        self, settings: Model, class_count: int, kind: RecipeFormat, head: Form, threads: int, files: Export
    ) -> tuple[float, float]:
        first, other = (Path(self._folder.name) / f"{name}.tflite" for name in ("first", "other"))
        path = other if first.exists() else first
        write_untrained(path, settings, class_count=class_count, kind=kind, head=head, files=files)
        paths = list(dict.fromkeys((first, path)))
        rounds = interleaved_latency(paths, threads, rounds=ROUNDS, image=None)
        return fastest(rounds[-1]), fastest(rounds[0])


def untrained_mapping(settings: Model, class_count: int, *, files: Export) -> tuple[int, int]:
    """Returns how many operators of the raw int8 file of a network the Edge TPU is predicted to run, and of how many.

    Weights do not matter for that.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "untrained.tflite"
        write_untrained(path, settings, class_count=class_count, kind="int8", head="raw", files=files)
        operators = predict(path).operators
    return sum(operator.status == "mapped" for operator in operators), len(operators)


def fastest(rounds: Sequence[Sequence[float]]) -> float:
    """Returns the median of the fastest round."""
    return min(statistics.median(one) for one in rounds)


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
    if kind == "int8":  # without equal channels and corrected biases, which change weights alone
        network = write_flatbuffer(rounded_heads(model, spec, kind=kind, samples=samples)[0])
    elif FORMATS[kind].calibrated:
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
