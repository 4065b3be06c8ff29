"""How long a detector takes as a `.tflite` file, as a cost that channel pruning can be steered by."""

from __future__ import annotations

import statistics
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.detectors.measure import invoke_latency
from edge.export.convert import Kind, Samples, convert_heads
from edge.export.export import write_detector
from edge.runtime import Detector
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export


def latency_on_this_machine(
    spec: DetectorSpec, kind: Kind = "float32", samples: Samples | None = None, threads: int = 2, runs: int = 30
) -> Callable[[keras.Model], float]:
    """Returns a function that converts a detector and returns the median milliseconds of its single-image invokes.

    A model is converted once, however often it is timed. For `int8` pass `samples` (`edge.export.convert.convert_heads`); two
    are enough, ranges take no time.
    """
    detectors: weakref.WeakKeyDictionary[keras.Model, Detector] = weakref.WeakKeyDictionary()
    image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)

    def latency(model: keras.Model) -> float:
        if model not in detectors:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                path = Path(folder) / "candidate.tflite"
                write_detector(path, convert_heads(model, spec, kind, samples), spec, kind, "raw", Export())
                detectors[model] = Detector(path, threads)
        return statistics.median(invoke_latency(detectors[model], image, runs))

    return latency
