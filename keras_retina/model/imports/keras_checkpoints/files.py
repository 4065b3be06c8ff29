"""What Keras saved: a folder of a preset or a `.keras`, as a configuration and tensors. No class of it is looked up.

Source: keras/src/saving/saving_lib.py and tf_keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.zip_members import UNREADABLE, read_member
from keras_retina.model.saved.archive import LARGEST_TEXT, LARGEST_WEIGHTS
from keras_retina.model.saved.hdf5 import require_plain_weights

CONFIG, TASK = "config.json", "task.json"
WEIGHTS, TASK_WEIGHTS = "model.weights.h5", "task.weights.h5"
KERAS_SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class KerasCheckpoint:
    """`config` is the saved configuration of the model; `tensors` are float32, by the names of the layers they are of.

    A name is that of the layers from the outermost in, and the number of the variable: `fpn/lateral_conv_P3/0`. Files
    that do not say names have the places in the file instead: `layers/feature_pyramid/lateral_conv_layers/conv2d/0`.
    `places` has them by place in any case.
    `preprocessing` is the configuration of what prepares images, where that is a file of its own.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    places: Mapping[str, np.ndarray]
    preprocessing: Mapping[str, Any]


def is_keras(path: Path) -> bool:
    """Whether a path is a folder, or a file that Keras saves."""
    return path.is_dir() or path.suffix in KERAS_SUFFIXES


def read_keras(path: Path) -> KerasCheckpoint:
    """Reads the folder of a preset, its `model.weights.h5`, or a `.keras`.

    Raises:
        InputError: something is missing or damaged, or the weights are in a file alone, without a configuration.
    """
    if path.suffix == ".keras" and not path.is_dir():
        return _read_archive(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise InputError(f"{path}: expected a checkpoint. Received: no such file. Correct the path.")
    if not path.is_dir() and path.name != WEIGHTS:
        raise InputError(
            f"{path}: expected the folder of a preset, which says what the weights are of. Received: weights alone. "
            "Save the detector with save_to_preset(), or as a .keras file."
        )
    has_task = (folder / TASK).is_file()
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: expected the folder of a preset with {CONFIG} and {WEIGHTS}. Received: no {name}. "
                "Download or save the whole preset."
            )
    config = _json(folder / TASK if has_task else folder / CONFIG)
    files = [folder / name for name in (WEIGHTS, TASK_WEIGHTS) if (folder / name).is_file()]
    tensors, places = _tensors([(path.read_bytes(), path) for path in files])
    preprocessing = _json(folder / "preprocessor.json") if (folder / "preprocessor.json").is_file() else {}
    return KerasCheckpoint(folder, config, tensors, places, preprocessing)


def _read_archive(path: Path) -> KerasCheckpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            config = read_member(archive, CONFIG, limit=LARGEST_TEXT)
            weights = read_member(archive, WEIGHTS, limit=LARGEST_WEIGHTS)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: expected a .keras file with {CONFIG} and {WEIGHTS} inside. Received: {_one_line(error)}. "
            "Save the detector again."
        ) from error
    return KerasCheckpoint(path, _parsed(config, path), *_tensors([(weights, path)]), {})


def _json(path: Path) -> dict[str, Any]:
    return _parsed(path.read_bytes(), path)


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected a configuration in JSON. Received: {_one_line(error)}. Save it again."
        ) from error
    return found


def _tensors(files: list[tuple[bytes, Path]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the tensors of all files by name and by place."""
    import h5py

    named: dict[str, np.ndarray] = {}
    placed: dict[str, np.ndarray] = {}

    def visit(place: str, item: Any) -> None:
        parts = place.split("/")
        if not isinstance(item, h5py.Dataset) or "vars" not in parts or parts[0] == "optimizer":
            return
        array = item[()]
        array = array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
        named[_name(place, file)] = placed["/".join([*parts[:-2], parts[-1]])] = array

    for data, path in files:
        require_plain_weights(io.BytesIO(data), path)
        try:
            with h5py.File(io.BytesIO(data), "r") as file:
                file.visititems(visit)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: expected weights of Keras in HDF5. Received: {_one_line(error)}. Download or save it again."
            ) from error
    return named, placed


def _name(place: str, file: Any) -> str:
    """Returns the names of the layers around a variable, where the file says them, and its number."""
    *groups, _, number = place.split("/")
    names = []
    for depth in range(1, len(groups) + 1):
        variables = file.get("/".join([*groups[:depth], "vars"]))
        if variables is not None and "name" in variables.attrs:
            names.append(str(variables.attrs["name"]))
    named = names if groups and "name" in file["/".join([*groups, "vars"])].attrs else groups
    return "/".join([*named, number])


def _one_line(error: BaseException) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
