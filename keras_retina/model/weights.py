"""Pretrained ImageNet weights: found on disk or downloaded, checked, and copied into a detector."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import backbone_layers
from keras_retina.recipe.recipe import Backbone

WEIGHTS_FOLDER_VARIABLE = "KERAS_RETINA_WEIGHTS"


def find_weights(settings: Backbone, data_dir: Path | None) -> str | None:
    """Resolves `backbone.weights` to a path, to "imagenet" (a download by Keras) or to None (random weights).

    `imagenet` is looked for as `<name>_<alpha>_imagenet_notop.weights.h5` (ResNets: without the alpha) in the folder
    that the environment variable KERAS_RETINA_WEIGHTS names and in `weights/` beside the data folder or beside its
    parent; only then does Keras download it.

    Raises:
        InputError: a path was given and there is no such file.
    """
    if settings.weights == "none":
        return None
    if settings.weights != "imagenet":
        path = Path(settings.weights)
        if not path.is_file():
            raise InputError(
                "model.backbone.weights: expected 'imagenet', 'none' or a weights file. "
                f"Received: {settings.weights!r}, which does not exist. Correct the path."
            )
        return str(path)
    for folder in _weights_folders(data_dir):
        candidate = folder / _file_name(settings)
        if candidate.is_file():
            return str(candidate)
    return "imagenet"


def load_pretrained(model: keras.Model, settings: Backbone, source: str | None) -> None:
    """Copies backbone weights from `source` (see `find_weights`) into the detector; None leaves them random.

    All backbones get RGB in [-1, 1]. The ResNet files were trained on BGR pixels minus a mean: their first
    convolution is rewritten for our input, exactly the same function but for the zero padding at the image border.

    Raises:
        InputError: the file is of another architecture or width, or no Keras weights file, or cannot be downloaded.
    """
    if source is None:
        return
    pretrained = _pretrained_network(settings, source)
    for layer in backbone_layers(model, settings):
        weights = pretrained.get_layer(layer.name).get_weights()
        if layer.name == "conv1_conv":
            weights = _rgb_unit_range_kernel(*weights)
        layer.set_weights(weights)


def _pretrained_network(settings: Backbone, source: str) -> keras.Model:
    try:
        if settings.name == "mobilenet_v2":
            shape = (224, 224, 3)
            return keras.applications.MobileNetV2(
                input_shape=shape, alpha=settings.alpha, include_top=False, weights=source
            )
        build = keras.applications.ResNet50 if settings.name == "resnet50" else keras.applications.ResNet101
        return build(include_top=False, weights=source)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"{settings.name} alpha {settings.alpha}" if settings.name == "mobilenet_v2" else settings.name
        raise InputError(
            f"model.backbone.weights: expected ImageNet weights of {what} without the top. Received: {source!r} "
            f"({reason}). Pass the file of this architecture, or 'none' to start from random weights."
        ) from error
    except Exception as error:
        if type(error) is not Exception:  # Keras raises a bare Exception when a download fails
            raise
        raise InputError(
            "model.backbone.weights: the ImageNet weights could not be downloaded. "
            f"Received: {' '.join(str(error).split())[:300]}. Connect to a network, "
            f"or put {_file_name(settings)} into the folder that {WEIGHTS_FOLDER_VARIABLE} names."
        ) from error


def _rgb_unit_range_kernel(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    # caffe input: pixel - mean, in BGR. Ours: x = (pixel - 127.5) / 127.5, so pixel - mean = 127.5 x + 127.5 - mean.
    mean_rgb = np.array([123.68, 116.779, 103.939], np.float32)
    rgb = kernel[:, :, ::-1, :]  # [7, 7, 3, filters]
    offset = np.einsum("hwcf,c->f", rgb, 127.5 - mean_rgb)
    return [rgb * 127.5, bias + offset]


def _file_name(settings: Backbone) -> str:
    if settings.name == "mobilenet_v2":
        return f"mobilenet_v2_{settings.alpha}_imagenet_notop.weights.h5"
    return f"{settings.name}_imagenet_notop.weights.h5"


def _weights_folders(data_dir: Path | None) -> Sequence[Path]:
    folders = [Path(os.environ[WEIGHTS_FOLDER_VARIABLE])] if os.environ.get(WEIGHTS_FOLDER_VARIABLE) else []
    if data_dir is not None:
        parent = data_dir.resolve().parent
        folders += [parent / "weights", parent.parent / "weights"]
    return folders
