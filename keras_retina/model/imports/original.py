"""A detector of another library as its checkpoint describes it, and its weights inside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.imports.coco import BACKGROUND, NOT_USED
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.recipe.model import Model

NO_CLASS = (BACKGROUND, NOT_USED)
"""What libraries call outputs that stand for no class of objects."""

LAYERS_FROM = {
    "backbone": ("name", "alpha"),
    "pyramid": ("levels", "width", "convolution", "outputs"),
    "head": ("convolutions", "width", "convolution", "batch_norm", "group_norm"),
}
"""The settings that say which layers with weights there are."""

SHOWN = 4  # names in an error


@dataclass(frozen=True)
class Part:
    """One layer of ours: the names of the tensors that it is made of, and how."""

    layer: str
    names: tuple[str, ...]
    convert: Callable[..., list[np.ndarray]]


@dataclass(frozen=True)
class Original:
    """A detector of another library.

    Attributes:
        path: its checkpoint.
        name: what its library calls it.
        told: what was found in it or assumed of it, for a person.
        tensors: those of the checkpoint, by the names of today.
        fields: `{section: {key: value}}` of a recipe: its network, anchors, coder and thresholds.
        outputs: classes of its head, those that stand for no object included.
        per_cell: anchors of a cell, as its heads have them.
        class_names: the name of each output where the checkpoint is known to have these classes, else empty.
        parts: `parts(kept, settings)` says what each layer is made of; `kept` are the outputs that stay, `settings`
            those of the network, which may not be the ones in `fields`.
        ignored: names of tensors that a detector which is not trained further does not need.
        has_background: whether output 0 is always the background, so that labels may leave it out.
    """

    path: Path
    name: str
    told: str
    tensors: Mapping[str, np.ndarray]
    fields: Mapping[str, Mapping[str, Any]]
    outputs: int
    per_cell: int
    class_names: tuple[str, ...]
    parts: Callable[[np.ndarray, Model], Iterable[Part]]
    ignored: Callable[[str], bool]
    has_background: bool = False


def names_of_outputs(original: Original, labels: Path | None) -> tuple[str, ...]:
    """Returns the name of each output: those in a file, one a line, else those that are known.

    Raises:
        InputError: they are needed and not given, or are not as many as the outputs.
    """
    if labels is None:
        if not original.class_names:
            raise InputError(
                f"--labels: expected a file with the names of the {original.outputs} classes of this checkpoint, one a "
                f"line. Received: none. {_without_objects(original)}"
            )
        return original.class_names
    try:
        lines = read_bytes(labels).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{labels}: expected class names, one a line. Received: {printable(error)}.") from error
    given = names = tuple(line.strip() for line in lines if line.strip())
    if original.has_background:
        is_told = bool(names) and names[0].strip("_").lower() == "background"
        names = (BACKGROUND, *names[is_told:])
    kept = [name for name in names if name not in NO_CLASS]
    if len(names) != original.outputs or not kept or len(set(kept)) != len(kept):
        twice = sorted({name for name in kept if kept.count(name) > 1})
        raise InputError(
            f"{labels}: expected {original.outputs} different names, one for each output of the checkpoint. "
            f"Received: {len(given)}{f', {twice[0]} twice' if twice else ''}. {_without_objects(original)}"
        )
    return names


def _without_objects(original: Original) -> str:
    if original.has_background:
        return "The first output is the background: leave it out, or call it background."
    return f"A line {BACKGROUND} stands for an output without objects, in torchvision usually the first."


def build(
    original: Original, settings: Model, *, names: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[keras.Model, DetectorSpec]:
    """Builds the detector of `settings` with the weights of the checkpoint; outputs that stand for no class go.

    A score is the sigmoid of its own logit, so the scores of the classes that stay are what they were.

    Args:
        names: of each output, as `names_of_outputs` returns them.
        classes: those that stay, in this order; None is all of them.

    Raises:
        InputError: a class that the checkpoint does not have, the anchors are not those of the heads, or the tensors do
            not fit.
    """
    known = [name for name in names if name not in NO_CLASS]
    strange = [name for name in classes or () if name not in known]
    if strange:
        raise InputError(
            f"data.classes: expected classes of {original.path}. Received: {strange[0]!r}. {closest(strange[0], known)}"
        )
    check_network(original, settings)
    kept = np.array([names.index(name) for name in classes or known])
    spec = detector_spec(settings, tuple(classes or known))
    if spec.grid.per_cell != original.per_cell:
        scales, ratios = settings.anchors.scales, settings.anchors.ratios
        raise InputError(
            f"model.anchors: expected {original.per_cell} anchors a cell, as the heads of {original.path} have. "
            f"Received: {len(scales)} scales and {len(ratios)} ratios, {spec.grid.per_cell} anchors. Give the scales "
            "and ratios that the detector was trained with."
        )
    model = detector_network(settings, len(kept))
    set_parts(model, tuple(original.parts(kept, settings)), original=original)
    return model, spec


def check_network(original: Original, settings: Model) -> None:
    """Raises InputError where settings give the network other layers than the checkpoint has."""
    theirs = Model(**original.fields["model"])
    for section, keys in LAYERS_FROM.items():
        for key in keys:
            wanted, received = (getattr(getattr(model, section), key) for model in (theirs, settings))
            if wanted != received:
                raise InputError(
                    f"model.{section}.{key}: expected {wanted!r}, as {original.path} has. "
                    f"Received: {key}={received!r}. Leave it as it is."
                )


def set_parts(model: keras.Model, parts: Sequence[Part], *, original: Original) -> None:
    """Copies the tensors into the layers.

    Raises:
        InputError: a tensor is missing, has another shape or has no place; the line says what fits and what not.
    """
    tensors, known = original.tensors, {name for part in parts for name in part.names}
    missing = [name for name in dict.fromkeys(name for part in parts for name in part.names) if name not in tensors]
    strange = [name for name in tensors if name not in known and not original.ignored(name)]
    wrong: list[str] = []
    ready: list[tuple[keras.layers.Layer, list[np.ndarray]]] = []
    for part in parts:
        if any(name not in tensors for name in part.names):
            continue
        layer = model.get_layer(part.layer)
        expected = [tuple(weights.shape) for weights in layer.weights]
        arrays = [tensors[name] for name in part.names]
        try:
            weights = part.convert(*arrays)
        except (ValueError, IndexError):  # of other dimensions: nothing to turn
            weights = arrays
        if [array.shape for array in weights] != expected:
            received = ", ".join(str(list(array.shape)) for array in arrays)
            wrong.append(f"{part.names[0]} {received} for {part.layer} {', '.join(str(list(one)) for one in expected)}")
        ready.append((layer, weights))
    if missing or strange or wrong:
        fitting = len(known) - len(missing) - len(wrong)
        found = {"missing": missing, "of another shape": wrong, "without a place": strange}
        told = "; ".join(f"{what}: {_some(names)}" for what, names in found.items() if names)
        raise InputError(
            f"{original.path}: expected the {len(known)} tensors of {original.name}. Received: {fitting} that fit; "
            f"{told}. Give a checkpoint of this detector."
        )
    for layer, weights in ready:
        layer.set_weights(weights)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return printable(", ".join(names[:SHOWN]) + more)
