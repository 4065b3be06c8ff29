"""`model.keras` with the detector description inside, written so that a full disk cannot destroy the previous file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import replacing
from keras_retina.foundation.files.zip_members import UNREADABLE
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.layers import LAYERS
from keras_retina.model.saved.archive import (
    NO_MEMBERS,
    SPEC_MEMBER,
    add_description,
    one_line,
    read_archive,
    weights_bytes,
    weights_file,
)
from keras_retina.model.saved.network import require_buildable
from keras_retina.model.spec import DetectorSpec

# Keras imports any module and calls any function that a model file names, and its safe mode refuses lambdas alone.
PLAIN_LAYERS = {kind.__name__ for kind in LAYERS}
PLAIN_INITIALIZERS = {"Constant", "GlorotUniform", "HeNormal", "Ones", "RandomNormal", "VarianceScaling", "Zeros"}


def plain_model(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers and weights, without losses, metrics and optimiser."""
    return keras.Model(model.input, model.output, name=model.name)


def save_detector(
    model: keras.Model, spec: DetectorSpec, path: Path, *, members: Mapping[str, bytes] = NO_MEMBERS
) -> None:
    """Writes a `.keras` file that plain `tf_keras.models.load_model` opens and that also holds anchors and coder.

    The file is a zip; `detector.json` (the spec) and `anchors.npy` (float32 `[anchors, 4]`) are members of it beside
    those of Keras. Losses and optimiser state are left out: they would need our code to load, and three times the
    room. The file is written whole or not at all.

    Args:
        members: further members of the zip.

    Raises:
        InputError: `load_detector` would refuse a layer of the model, or the file cannot be written, for instance
            because the disk is full.
    """
    model = plain_model(model)
    _refuse_layers(model, path)
    with replacing(path) as unfinished:
        model.save(unfinished)
        add_description(unfinished, spec, members=members)


def load_detector(path: Path) -> tuple[keras.Model, DetectorSpec]:
    """Loads a model and its description; nothing in the file is executed (`safe_mode`).

    Raises:
        InputError: the file is missing, is not a `.keras` file of this project, or would run code when loaded.
    """
    path = Path(path)
    spec, config = read_archive(path)
    try:
        _refuse_code(config, path)
        require_buildable(config, spec, weights_bytes=weights_bytes(path), path=path)
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        with weights_file(path) as weights:
            model.load_weights(weights)
    except InputError:
        raise
    except (*UNREADABLE, IndexError, MemoryError) as error:
        raise InputError(
            f"{path}: the model was not loaded. Received: {one_line(error)}. Use the model.keras of a run folder."
        ) from error
    _check_outputs(model, spec, path=path)
    return model, spec


def _refuse_layers(model: keras.Model, path: Path) -> None:
    config = keras.saving.serialize_keras_object(model)
    strange = _strange_object(config)
    if strange is None:
        return
    layers = config["config"]["layers"]
    layer = next(layer for layer in layers if any(part is strange for part in _objects(layer)))
    inside = "" if layer is strange else f", with an object of class {strange.get('class_name')!r}"
    raise InputError(
        f"{path}: expected layers of the kinds {', '.join(sorted(PLAIN_LAYERS))}. Received: layer {layer['name']!r} of "
        f"class {layer['class_name']!r}{inside}. Build the detector from plain Keras layers, so that it can be loaded."
    )


def _refuse_code(config: Any, path: Path) -> None:
    part = _strange_object(config)
    if part is not None:
        raise InputError(
            f"{path}: expected plain Keras layers. Received: class_name={str(part.get('class_name'))[:80]!r} of "
            f"{str(part.get('module'))[:80]!r}, which could run code. Use the model.keras of a run folder."
        )


def _strange_object(config: Any) -> dict[str, Any] | None:
    """Returns the first object in the configuration of a model that is no plain layer or initializer."""
    for part in _objects(config):
        name, module = part.get("class_name"), part.get("module")
        if not isinstance(name, str) or not isinstance(module, str):
            return part
        is_model = part is config and name == "Functional" and module in {"tf_keras.src.engine.functional", "keras"}
        is_layer = name in PLAIN_LAYERS and module == "keras.layers"
        is_initializer = name in PLAIN_INITIALIZERS and module == "keras.initializers"
        if not (is_model or is_layer or is_initializer) or part.get("registered_name") not in (None, name):
            return part
    return None


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields every dictionary that Keras would make an object of."""
    if isinstance(config, dict):
        if {"class_name", "module", "registered_name"} & set(config):
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _objects(value)


def _check_outputs(model: keras.Model, spec: DetectorSpec, *, path: Path) -> None:
    anchors = len(spec.anchors())
    expected = {"classes": (None, anchors, len(spec.class_names)), "boxes": (None, anchors, 4)}
    received = model.output_shape if isinstance(model.output_shape, dict) else {"output": model.output_shape}
    if received != expected or model.input_shape != (None, spec.height, spec.width, 3):
        raise InputError(
            f"{path}: the network and its {SPEC_MEMBER} must describe the same detector. "
            f"Received: input={model.input_shape}, outputs={received} where {expected} were expected. "
            "Use the model.keras of a run folder."
        )
