"""What a quantized detector gains when one of its layers is left in float: on its heads, and in AP."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detect_split import detect_split
from edge.export import write_detector
from edge.float_layers import leave_in_float
from edge.layer_names import BETWEEN_TYPES, feature_maps, layer_operators, layers_in
from edge.quantization_error import pixels_of
from edge.ranges import SHARING
from edge.runtime import Detector
from edge.tflite_file import operator_name, read_flatbuffer, write_flatbuffer
from keras_retina.data.records import Dataset
from keras_retina.detector_spec import DetectorSpec
from keras_retina.evaluate import coco_metrics
from keras_retina.recipe_export import Export

Heads = tuple[np.ndarray, np.ndarray]  # logits [anchors, classes], deltas [anchors, 4]


@dataclass(frozen=True)
class Trial:
    """Layers left in float, and the share of the error of the heads that is gone then (1 all of it, 0 none)."""

    layers: tuple[str, ...]
    gain: float


class TrialFiles:
    """Makes and runs raw files of one detector, with any of its layers in float.

    Args:
        network: a raw file, quantized.
        float_network: of the same weights, with scaled float pixels as input.
    """

    def __init__(self, network: bytes, float_network: bytes, spec: DetectorSpec) -> None:
        self.network, self.float_network, self.spec = network, float_network, spec
        self._folder = tempfile.TemporaryDirectory()

    def file(self, layers: Sequence[str]) -> Path:
        """Writes the raw file with these layers in float."""
        model = read_flatbuffer(self.network)
        if layers:
            leave_in_float(model, read_flatbuffer(self.float_network), layers)
        return self.write(write_flatbuffer(model))

    def write(self, heads_only: bytes) -> Path:
        """Writes a raw file of converted heads."""
        path = Path(self._folder.name) / "trial.tflite"
        write_detector(path, heads_only, self.spec, "int8", "raw", Export())
        return path

    def heads(self, path: Path, images: Sequence[np.ndarray]) -> list[Heads]:
        """Returns the heads of scaled images `[1, H, W, 3]`."""
        detector = Detector(path)
        found = []
        for image in images:
            detector.invoke(pixels_of(image, self.spec))
            logits, deltas = detector.heads()
            found.append((logits.copy(), deltas.copy()))
        return found


def layers_and_readers(network: bytes) -> dict[str, tuple[str, ...]]:
    """Returns every layer that computes something, with the layers that read its feature maps.

    A map is stored in int8 as long as one of the two sides is: leaving it in float takes the layer and its readers.
    Layers between them that only move values (SHARING) are among the readers.
    """
    model = read_flatbuffer(network)
    makers = {int(operator.outputs[0]): operator for operator in model.subgraphs[0].operators}
    names = {int(operator.outputs[0]): name for name, operator in feature_maps(model).items()}
    reading: dict[int, list[schema.OperatorT]] = {}
    for operator in feature_maps(model).values():
        for index in operator.inputs:
            source = int(index)
            while source in makers and operator_name(model, makers[source]) in BETWEEN_TYPES:
                source = int(makers[source].inputs[0])
            reading.setdefault(source, []).append(operator)

    def readers(operator: schema.OperatorT) -> list[str]:
        found = []
        for reader in reading.get(int(operator.outputs[0]), []):
            found.append(layers_in(names[int(reader.outputs[0])])[0])
            if operator_name(model, reader) in SHARING:
                found += readers(reader)
        return found

    computing: dict[str, tuple[str, ...]] = {}
    for layer, operators in layer_operators(model).items():
        own = [op for op in operators if layers_in(names[int(op.outputs[0])])[0] == layer]
        if own and operator_name(model, own[0]) not in SHARING:
            computing[layer] = tuple(dict.fromkeys([layer, *(name for op in own for name in readers(op))]))
    return computing


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
    files: TrialFiles,
    expected: Sequence[Heads],
    images: Sequence[np.ndarray],
    groups: Sequence[tuple[str, ...]],
    progress: Callable[[str], None],
) -> tuple[float, list[Trial]]:
    """Returns the error of the heads of the quantized file, and what each group of layers in float takes away of it."""
    error = head_error(expected, files.heads(files.file(()), images))
    trials = []
    for number, layers in enumerate(groups):
        left = head_error(expected, files.heads(files.file(layers), images))
        trials.append(Trial(layers, 1 - left / error if error else 0.0))
        if (number + 1) % 25 == 0:
            progress(f"debug: {number + 1} of {len(groups)} files with a layer in float")
    return error, trials


def average_precision(path: Path, dataset: Dataset) -> float | None:
    """Returns the AP of a file on a split, in percent."""
    return coco_metrics(dataset, detect_split(path, dataset))["AP"]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
