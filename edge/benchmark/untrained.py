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

QUIET_PRIOR = 1e-4  # of the class scores: a trained detector sees background nearly everywhere
CALIBRATED_ON = 2  # images of noise: ranges take no time
TURNS, RUNS = 3, 20  # other work on the machine must last through all turns to count


def untrained_latency(
    settings: Model, class_count: int, *, kind: RecipeFormat, head: Form, threads: int, files: Export
) -> float:
    """Returns the milliseconds of a single-image invoke of the file that a trained network of these settings has.

    The median of the fastest of a few turns.

    Args:
        kind: number format of the file.
        head: how it ends. Post-processing gets nothing to do, as in an image without objects.
        threads: of the interpreter.
        files: thresholds of the post-processing.
    """
    names = tuple(f"class {number}" for number in range(class_count))
    backbone = Backbone(**{**settings.backbone.model_dump(), "weights": "none", "frozen_stages": 0})
    quiet = settings.head.model_copy(update={"prior": QUIET_PRIOR})
    settings = settings.model_copy(update={"backbone": backbone, "head": quiet})
    spec = detector_spec(settings, names)
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (spec.height, spec.width, 3), np.uint8) for _ in range(CALIBRATED_ON)]

    def samples() -> Iterator[list[np.ndarray]]:
        return network_samples(noise, spec)

    keras.backend.clear_session()
    model = detector_network(settings, class_count)
    if FORMATS[kind].calibrated:  # without the search for equal channels, which changes weights alone
        network = quantize_heads(model, spec, kind=kind, samples=samples)
    else:
        network = convert_heads(model, spec, kind=kind)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "untrained.tflite"
        write_detector(path, network, spec=spec, kind=kind, head=head, settings=files)
        detector = Detector(path, threads)
        return min(statistics.median(invoke_latency(detector, noise[0], runs=RUNS)) for _ in range(TURNS))
