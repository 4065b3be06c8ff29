"""What a quantized detector gains when one of its layers is left in float: on its heads, and in AP."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.split import detect_split
from edge.export.export import described
from edge.export.float_layers import end_in_float, leave_in_float
from edge.export.tails import end_at_heads
from edge.runtime import Detector
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.files.writing import write_file
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.export import Export

PARTS = ("pyramid", "boxes", "classes")  # first word of the names of layers that belong to no backbone
Heads = tuple[np.ndarray, np.ndarray]  # logits [anchors, classes], deltas [anchors, 4]


CANDIDATES = 3
LEAST_GAIN = 0.02  # of the error of the heads; less is not worth an AP
MOST_TRIALS = 64  # of groups of layers; the error may be spread so evenly that halving them would not end


@dataclass(frozen=True)
class Trial:
    """Layers left in float, and the share of the error of the heads that is gone then (1 all of it, 0 none).

    `gain` is None where the file with these layers in float could not be run; `reason` then says why.
    """

    layers: tuple[str, ...]
    gain: float | None
    reason: str | None = None


class TrialFiles:
    """Makes and runs raw files of one detector, with any of its layers in float.

    A head that is float by then leaves the file in float, as in a file that is exported with these layers.

    Args:
        network: a raw file, quantized.
        float_network: of the same weights, with scaled float pixels as input.
    """

    def __init__(self, network: bytes, float_network: bytes, *, spec: DetectorSpec) -> None:
        self._network, self._float_network = read_flatbuffer(network), read_flatbuffer(float_network)
        end_in_float(self._network)
        self._spec = spec
        self._folder = tempfile.TemporaryDirectory()

    def file(self, layers: Sequence[str]) -> Path:
        """Writes the raw file with these layers in float."""
        model = copy.deepcopy(self._network)
        if layers:
            leave_in_float(model, self._float_network, layers=layers)
        return self._written(model)

    def write(self, heads_only: bytes) -> Path:
        """Writes a raw file of converted heads."""
        return self._written(read_flatbuffer(heads_only))

    def _written(self, model: schema.ModelT) -> Path:
        end_at_heads(model, unsigned=False)
        path = Path(self._folder.name) / "trial.tflite"
        write_file(path, described(write_flatbuffer(model), self._spec, kind="int8", head="raw", settings=Export()))
        return path

    def heads(self, path: Path, images: Sequence[np.ndarray]) -> list[Heads]:
        """Returns the heads of scaled images `[1, H, W, 3]`."""
        return heads_of_file(path, self._spec, images=images)


def heads_of_file(path: Path, spec: DetectorSpec, *, images: Sequence[np.ndarray]) -> list[Heads]:
    """Returns what a raw file finds on scaled images `[1, H, W, 3]`, before decoding."""
    detector = Detector(path)
    found = []
    for image in images:
        detector.invoke(spec.unscale(image))
        logits, deltas = detector.heads()
        found.append((logits.copy(), deltas.copy()))
    return found


def head_error(expected: Sequence[Heads], received: Sequence[Heads]) -> float:
    """Returns the error of the heads where it can move a detection, as a share of how much they vary; 0 for none.

    Of the classes the probabilities are compared, of the boxes the deltas, each anchor with the weight of its highest
    probability in the float network. The mean of the two shares.
    """
    logits, deltas = (np.concatenate([heads[side] for heads in expected]) for side in (0, 1))
    other_logits, other_deltas = (np.concatenate([heads[side] for heads in received]) for side in (0, 1))
    scores, other_scores = _probabilities(logits), _probabilities(other_logits)
    weights = scores.max(axis=1, keepdims=True)
    centre = (weights * deltas).sum(axis=0) / weights.sum()
    shares = (
        ((scores - other_scores) ** 2).sum() / max(((scores - scores.mean(axis=0)) ** 2).sum(), 1e-12),
        (weights * (deltas - other_deltas) ** 2).sum() / max((weights * (deltas - centre) ** 2).sum(), 1e-12),
    )
    return float(np.mean(shares))


def try_layers(
    files: TrialFiles, expected: Sequence[Heads], *, images: Sequence[np.ndarray], layers: tuple[str, ...], error: float
) -> Trial:
    """Returns what these layers in float take away of `error`, the error of the heads of the quantized file."""
    path = files.file(layers)
    try:
        received = files.heads(path, images)
    except (ValueError, RuntimeError) as failure:  # LiteRT's, of a file that it cannot load or run
        return Trial(layers, None, f"this file cannot be run: {' '.join(str(failure).split())}")
    left = head_error(expected, received)
    if not math.isfinite(left):
        return Trial(layers, None, "the heads of this file are no finite numbers")
    return Trial(layers, 1 - left / error if error else 0.0)


def average_precision(path: Path, dataset: Dataset) -> float | None:
    """Returns the AP of a file on a split, in percent."""
    return coco_metrics(dataset, detect_split(path, dataset))["AP"]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
