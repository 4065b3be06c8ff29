"""Which library a checkpoint is of: each is asked whether it knows the names of the tensors."""

from __future__ import annotations

from pathlib import Path

from keras_retina.foundation.errors import InputError, printable
from keras_retina.model.imports.keras_checkpoints.configuration import class_of
from keras_retina.model.imports.keras_checkpoints.files import CONFIG, is_keras, read_keras
from keras_retina.model.imports.keras_checkpoints.keras_cv import read_keras_cv
from keras_retina.model.imports.keras_checkpoints.keras_hub import read_keras_hub
from keras_retina.model.imports.model_garden import read_model_garden
from keras_retina.model.imports.original import Original
from keras_retina.model.imports.tensors import read_checkpoint
from keras_retina.model.imports.tf_checkpoints import prefix_of, read_tf_checkpoint
from keras_retina.model.imports.torchvision import read_torchvision


def read_original(path: Path, epsilon: float | None = None) -> Original:
    """Reads the checkpoint of a detector.

    Args:
        epsilon: of the BatchNorms, which no checkpoint tells; None is what its library sets.

    Raises:
        InputError: the file cannot be read, or its tensors are those of no detector that is known.
    """
    if path.suffix == ".tflite":
        raise InputError(
            f"{path}: expected the checkpoint of a detector. Received: a .tflite, of which only the backbone can be "
            "taken. Run: keras-retina weights --make FILE --images PHOTOS"
        )
    prefix = prefix_of(path)
    if prefix is not None:
        return _of_tensorflow(prefix, epsilon)
    if path.is_dir() and not (path / CONFIG).is_file():
        raise InputError(
            f"{path}: expected a folder with {CONFIG} (KerasHub, KerasCV) or with a file called checkpoint (Model "
            "Garden). Received: neither. Give the folder that the detector's own library saved."
        )
    if is_keras(path):
        return _read_keras(path)
    checkpoint = read_checkpoint(path)
    original = read_torchvision(checkpoint, epsilon)
    if original is None:
        names = list(checkpoint.tensors)
        raise InputError(
            f"{path}: expected the tensors of torchvision's retinanet_resnet50_fpn. "
            f"Received: {len(names)} tensors of another network, {printable(', '.join(names[:3]))} first. "
            "Give a checkpoint of this detector."
        )
    return original


def _of_tensorflow(prefix: Path, epsilon: float | None) -> Original:
    checkpoint = read_tf_checkpoint(prefix)
    original = read_model_garden(checkpoint, epsilon)
    if original is None:
        names = list(checkpoint.tensors)
        raise InputError(
            f"{prefix}: expected the weights of Model Garden's RetinaNetModel. Received: {len(names)} tensors of "
            f"another network, {printable(', '.join(sorted(names)[:3]))} first. Give a checkpoint of this detector."
        )
    return original


def _read_keras(path: Path) -> Original:
    checkpoint = read_keras(path)
    original = read_keras_hub(checkpoint) or read_keras_cv(checkpoint)
    if original is None:
        raise InputError(
            f"{path}: expected a RetinaNetObjectDetector of KerasHub or a RetinaNet of KerasCV. Received: "
            f"{printable(class_of(checkpoint.config) or 'no name of a class')}. Give a checkpoint of this detector."
        )
    return original
