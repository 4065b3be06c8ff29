"""Which layers cost most in int8: groups of layers are left in float, and the best group is halved again and again."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.quantize.ranges import SHARING
from edge.tflite.flatbuffer import operator_name, read_flatbuffer
from edge.tflite.layer_names import BETWEEN_TYPES, feature_maps, layer_operators, layers_in
from edge.verify.debug.trials import Heads, Trial, TrialFiles, head_error, try_layers

logger = logging.getLogger(__name__)

PARTS = ("pyramid", "boxes", "classes")  # first word of the names of layers that belong to no backbone
CANDIDATES = 3
LEAST_GAIN = 0.02  # of the error of the heads; less is not worth an AP
MOST_TRIALS = 64  # of groups of layers; the error may be spread so evenly that halving them would not end


@dataclass(frozen=True)
class Group:
    """Layers that follow each other in the network, and the trial with them and their readers in float."""

    layers: tuple[str, ...]
    trial: Trial


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        error: of the heads of the quantized network.
        readers: each layer with those that read its feature maps.
        groups: where the search ended; each layer is in one.
        alone: trials of single layers without their readers.
    """

    error: float
    readers: Mapping[str, tuple[str, ...]]
    groups: Sequence[Group]
    alone: Sequence[Trial]

    @property
    def singles(self) -> list[Trial]:
        """The trials of single layers, without and with their readers."""
        return [*self.alone, *(group.trial for group in self.groups if len(group.layers) == 1)]


def search_layers(
    files: TrialFiles, network: bytes, expected: Sequence[Heads], *, images: Sequence[np.ndarray]
) -> Search:
    """Looks for the layers of a quantized network that cost most.

    Args:
        files: of `network`.
        expected: heads of the float network on `images`, scaled `[1, H, W, 3]`.
    """
    readers = layers_and_readers(network)
    error = head_error(expected, files.heads(files.file(()), images))
    attempt = partial(try_layers, files, expected, images=images, error=error)
    counted = itertools.count(1)

    def reported(layers: tuple[str, ...]) -> Trial:
        trial = attempt(layers=layers)
        gain = trial.reason if trial.gain is None else f"{100 * trial.gain:.1f} % of the error of the heads gone"
        names = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]} ({len(layers)} layers)"
        logger.info(f"debug: file {next(counted)}, in float {names}: {gain}")
        return trial

    groups = search_groups(stages_of(network, list(readers)), readers, attempt=reported)
    return Search(error, readers, groups, [reported(group.layers) for group in groups if len(group.layers) == 1])


def ap_candidates(trials: Sequence[Trial], count: int) -> list[tuple[str, ...]]:
    """Returns the `count` best trials that name another layer, and the unions of the best two, three, ..."""
    best: list[tuple[str, ...]] = []
    measured = [(trial.gain, trial.layers) for trial in trials if trial.gain is not None]
    for gain, layers in sorted(measured, key=lambda trial: (-trial[0], len(trial[1]))):
        known = {layer for layers in best for layer in layers}
        if gain >= LEAST_GAIN and len(best) < count and not known & set(layers):
            best.append(layers)
    unions = [tuple(layer for layers in best[:end] for layer in layers) for end in range(2, len(best) + 1)]
    return [*best, *unions]


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


def stages_of(network: bytes, layers: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns these layers in coarse groups: the pyramid, each head, and of the backbone the maps of each size."""
    model = read_flatbuffer(network)
    operators = layer_operators(model)
    stages: dict[object, list[str]] = {}
    for layer in layers:
        part = layer.split("_")[0]
        shape = model.subgraphs[0].tensors[operators[layer][0].outputs[0]].shape
        stages.setdefault(part if part in PARTS else tuple(shape[1:3].tolist()), []).append(layer)
    return [tuple(stage) for stage in stages.values()]


def search_groups(
    stages: Sequence[tuple[str, ...]],
    readers: Mapping[str, tuple[str, ...]],
    *,
    attempt: Callable[[tuple[str, ...]], Trial],
) -> list[Group]:
    """Tries groups of layers with their readers, halves the one that gains most, and so on, down to single layers.

    Ends when `CANDIDATES` layers without a common reader gain more than any group that is left, when no group gains
    `LEAST_GAIN`, or after `MOST_TRIALS`. No layer is overlooked as long as a group gains at least as much as each of
    its layers. A group that cannot be run is halved at once: the cause may be one layer.

    Args:
        stages: the groups to begin with.
        readers: each layer with those that read its feature maps (`layers_and_readers`).

    Returns the groups where the search ended; each layer is in one.
    """

    def tried(layers: tuple[str, ...]) -> Group:
        return Group(layers, attempt(tuple(dict.fromkeys(name for layer in layers for name in readers[layer]))))

    waiting = [tried(stage) for stage in stages]
    trials, found, ended = len(waiting), 0, list[Group]()
    named: set[str] = set()
    while waiting and found < CANDIDATES and trials < MOST_TRIALS:
        group = max(waiting, key=_promise)
        if _promise(group) < LEAST_GAIN:
            break
        waiting.remove(group)
        if len(group.layers) > 1:
            middle = len(group.layers) // 2
            waiting += [tried(half) for half in (group.layers[:middle], group.layers[middle:])]
            trials += 2
            continue
        ended.append(group)
        if group.trial.gain is not None and not named & set(group.trial.layers):
            named |= set(group.trial.layers)
            found += 1
    return ended + waiting


def _promise(group: Group) -> float:
    return math.inf if group.trial.gain is None else group.trial.gain
