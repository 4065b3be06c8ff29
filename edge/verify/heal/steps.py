"""The steps of healing that need no training, the cheapest first, each a function that makes files to try.

Other ranges leave the file as fast as it was, so they come before layers in float.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from edge.export.convert import BIAS_IMAGES, check_operators
from edge.export.float_layers import leave_in_float
from edge.quantize.bias import correct_biases
from edge.quantize.ranges import Histogram, Range, best_range
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.verify.debug.search import ap_candidates, search_layers
from edge.verify.debug.trials import TrialFiles
from edge.verify.heal.material import Material
from keras_retina.recipe.formats import FormatName

SEARCH_IMAGES = 4
FLOAT_CANDIDATES = 3


class StepNotPossibleError(Exception):
    """A step that cannot help this network; the text says why."""


@dataclass(frozen=True)
class Candidate:
    """A network to try.

    Attributes:
        changed: what is different from the plain file, in words.
        heads_only: as `convert_heads` returns it.
        head_error: on training images, where it was measured.
        float_layers: that are float in it.
    """

    changed: str
    heads_only: bytes
    kind: FormatName = "int8"
    head_error: float | None = None
    float_layers: tuple[str, ...] = ()


def corrected(material: Material, network: bytes) -> bytes:
    """Returns an int8 network with corrected biases."""
    model = read_flatbuffer(network)
    samples = itertools.islice(material.samples(), BIAS_IMAGES)
    correct_biases(model, material.float_network, samples=samples, spec=material.spec)
    return write_flatbuffer(model)


def own_quantizer(material: Material, base: Candidate) -> Iterator[Candidate]:
    """Tries what `export.quantizer: tensorflow` gives, after a file that ai-edge-quantizer made."""
    network = corrected(material, material.with_ranges())
    yield Candidate("TensorFlow's quantizer with our ranges and biases", network, head_error=material.error(network))


def other_ranges(material: Material, base: Candidate) -> Iterator[Candidate]:
    """Tries the ranges, by another rule, that give the heads the least error.

    Raises:
        StepNotPossibleError: no rule gives less error than the ranges of the plain file.
    """
    rules = {"the whole range of every feature map": whole_range, "less clipped ranges": halfway_range}
    found = {}
    for name, rule in rules.items():
        network = corrected(material, material.with_ranges(rule))
        found[name] = (material.error(network), network)
    name = min(found, key=lambda name: found[name][0])
    error, network = found[name]
    if base.head_error is not None and error >= base.head_error:
        raise StepNotPossibleError(f"the ranges of the plain file have the least error of {1 + len(rules)}")
    yield Candidate(name, network, head_error=error)


def float_layers(material: Material, base: Candidate) -> Iterator[Candidate]:
    """Tries the layers that cost the heads most in float: the best, the next ones, and the best together.

    Raises:
        StepNotPossibleError: no few layers cost enough.
    """
    files = TrialFiles(base.heads_only, material.float_network, spec=material.spec)
    few = slice(0, SEARCH_IMAGES)
    search = search_layers(files, base.heads_only, material.heads[few], images=material.images[few])
    chosen = ap_candidates(search.singles, FLOAT_CANDIDATES)
    if not chosen:
        raise StepNotPossibleError("no few layers in float take off enough of the error of the heads")
    for layers in sorted(chosen, key=len):
        made = read_flatbuffer(base.heads_only)
        leave_in_float(made, read_flatbuffer(material.float_network), layers=layers)
        check_operators(made, "int8", float_layers=layers)
        heads_only = write_flatbuffer(made)
        computing = [layer for layer in layers if layer in search.readers]  # others of them only move values
        changed = _behind(base, f"{', '.join(computing)} in float")
        yield Candidate(changed, heads_only, head_error=material.error(heads_only), float_layers=layers)


def float_layers_forbidden(material: Material, base: Candidate) -> Iterator[Candidate]:
    """Tries nothing, for devices that compute with integers alone.

    Raises:
        StepNotPossibleError: always.
    """
    raise StepNotPossibleError("export.integer_only forbids layers in float")


def _behind(base: Candidate, change: str) -> str:
    return f"{base.changed} and {change}" if base.changed else change


def whole_range(seen: Histogram) -> Range:
    """Returns the range of everything that was seen: nothing is clipped, and the steps are the coarsest."""
    return seen.low, seen.high


def halfway_range(seen: Histogram) -> Range:
    """Returns the range in the middle between the one of least square error and the whole one."""
    low, high = best_range(seen)
    return (low + seen.low) / 2, (high + seen.high) / 2
