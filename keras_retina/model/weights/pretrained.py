"""Weights of a backbone: where their file is, and how they get into a detector."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import remote_address
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import backbone_layers, kind_of
from keras_retina.model.saved.hdf5 import require_plain_weights
from keras_retina.model.weights.download import WEIGHTS_FOLDER_VARIABLE, downloaded
from keras_retina.model.weights.starts import Start, file_name, start_of
from keras_retina.model.weights.whole import DETECTOR_SUFFIX, load_whole
from keras_retina.recipe.backbones import BACKBONE_ALPHAS, BACKBONE_STARTS, start_names
from keras_retina.recipe.model import Backbone

KERAS_DOWNLOAD = "imagenet"  # in the place of a path: from the cache of Keras, or from the network


def find_weights(settings: Backbone, data_dir: Path | None) -> str | None:
    """Resolves `backbone.weights` to a path, to "imagenet" (a download by Keras) or to None (random weights).

    The file of a name is looked for in the folder that the environment variable KERAS_RETINA_WEIGHTS names and in
    `weights/` beside the data folder or beside its parent; only then does Keras download it, where Keras has it.

    Raises:
        InputError: there is no such file.
    """
    kind_of(settings)
    if settings.weights == "none":
        return None
    _refuse_untrained(settings)
    start = start_of(settings)
    if start is None:
        return _existing(settings)
    found = found_file(start, settings.alpha, data_dir=data_dir)
    if found is not None:
        return str(found)
    if start.keras_file is None:
        raise InputError(
            f"model.backbone.weights: expected {file_name(start, settings.alpha)} in the folder that "
            f"{WEIGHTS_FOLDER_VARIABLE} names, or in weights/ beside the data. Received: {settings.weights!r} and no "
            "such file. `keras-retina weights` says how to get it."
        )
    return KERAS_DOWNLOAD


def _refuse_untrained(settings: Backbone) -> None:
    if not BACKBONE_STARTS[settings.name] and not settings.weights.endswith(DETECTOR_SUFFIX):
        raise InputError(
            f"model.backbone.weights: 'none' was expected for {settings.name}, which has no pretrained weights. "
            f"Received: weights={settings.weights!r}. Use 'none'."
        )


def _existing(settings: Backbone) -> str:
    path = Path(settings.weights)
    if not path.is_file():
        names = ", ".join(repr(name) for name in [*start_names(settings.name, settings.alpha), "none"])
        raise InputError(
            f"model.backbone.weights: expected {names} or a weights file. "
            f"Received: {settings.weights!r}, which does not exist. Correct the path."
        )
    return str(path)


def found_file(start: Start, alpha: float, *, data_dir: Path | None) -> Path | None:
    """Returns where the file of a start is, None where it is in none of the folders."""
    name = file_name(start, alpha)
    return next((folder / name for folder in weights_folders(data_dir) if (folder / name).is_file()), None)


def weights_folders(data_dir: Path | None) -> list[Path]:
    """Returns the folders that are searched for weights, the first one first; they need not exist."""
    folders = [Path(os.environ[WEIGHTS_FOLDER_VARIABLE])] if os.environ.get(WEIGHTS_FOLDER_VARIABLE) else []
    if data_dir is not None and remote_address(data_dir) is None:
        parent = data_dir.resolve().parent
        folders += [parent / "weights", parent.parent / "weights"]
    return folders


def load_pretrained(
    model: keras.Model, settings: Backbone, *, source: str | None, class_names: Sequence[str] = ()
) -> None:
    """Copies backbone weights from `source` (see `find_weights`) into the detector; None leaves them random.

    Of a `model.keras` the pyramid and the heads are copied too, and with the same `class_names` the class prediction.

    All backbones get RGB in [-1, 1]. The ResNet files were trained on BGR pixels minus a mean, those of EfficientNetV2
    on pixels of mean 0 and deviation 1: what reads the image is rewritten for our input, exactly the same function but
    for the zero padding at the image border.

    Raises:
        InputError: the file is of another architecture or width, or no Keras weights file, or cannot be downloaded.
    """
    kind = kind_of(settings)
    if source is None:
        return
    _refuse_untrained(settings)
    if source.endswith(DETECTOR_SUFFIX):
        load_whole(model, source, class_names=class_names)
        return
    pretrained = pretrained_network(settings, source)

    def weights_of(name: str) -> list[np.ndarray]:
        return pretrained.get_layer(name).get_weights()

    for layer in backbone_layers(model, settings):
        rewrite = kind.rewritten.get(layer.name)
        layer.set_weights(weights_of(layer.name) if rewrite is None else rewrite(weights_of))


def pretrained_network(settings: Backbone, source: str) -> keras.Model:
    """Builds the backbone with the layers that detectors leave out, and loads a file of its weights.

    Raises:
        InputError: as `load_pretrained`.
    """
    start = start_of(settings)
    if source == KERAS_DOWNLOAD and start is not None:
        source = str(downloaded(start, settings.alpha))
    if Path(source).is_file() and h5py.is_hdf5(source):
        require_plain_weights(Path(source), f"model.backbone.weights: {source}")
    try:
        return kind_of(settings).build(settings, include_top=False, weights=source, input_shape=(224, 224, 3))
    except InputError:
        raise
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"{settings.name} alpha {settings.alpha}" if len(BACKBONE_ALPHAS[settings.name]) > 1 else settings.name
        raise InputError(
            f"model.backbone.weights: expected weights of {what} without the top. Received: {source!r} "
            f"({reason}). Pass the file of this architecture, or 'none' to start from random weights."
        ) from error
