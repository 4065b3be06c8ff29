"""A detector that is trained with the rounding of int8: made from images, saved and opened."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.quantize.own_images import calibration_images
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import make_folder
from keras_retina.foundation.files.zip_members import UNREADABLE
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import DetectorSpec

if TYPE_CHECKING:
    from edge.quantize.aware.quantizers import Preserve

# tensorflow-model-optimization is loaded only where a quantization-aware model is made, saved or opened.


def quantize_aware(
    model: keras.Model, spec: DetectorSpec, *, calibration: Iterable[Any], preserve: Preserve = "nothing"
) -> keras.Model:
    """Returns a copy of a detector that rounds where its int8 file will round, so that training can make up for it.

    It has the inputs and outputs of `model`, which stays as it is. Compile it and fit it like the float model, with a
    tenth of its learning rate or less. `export_detector` makes its int8 file without calibration; `save_detector`,
    `load_detector` and `evaluate_detector` take it as well. Layers that are not trainable keep their weights.

    Args:
        model: a trained detector, in float.
        calibration: training images with which the ranges of all feature maps are measured, at most 300 of them:
            paths, uint8 RGB arrays `[height, width, 3]`, Pillow images, or a `tf.data.Dataset` of such arrays.
        preserve: `sparsity` keeps the zeros of a sparse model through training, `clusters` its equal weights.

    Raises:
        InputError: a layer that has no int8 form, mixed precision, a model that is quantized already or still in sparse
            training, no image, or an image that cannot be read.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    section 3.
    """
    check_is_finished(model)
    from edge.quantize.aware.model import quantize_aware_model

    return quantize_aware_model(model, calibration_images(calibration, spec), preserve=preserve)


def is_quantize_aware(model: keras.Model) -> bool:
    """Tells whether `quantize_aware` made the model."""
    return any(type(layer).__name__ == "QuantizedWeights" for layer in model.layers)


def check_is_finished(model: keras.Model) -> None:
    """Raises InputError for a model that is still in sparse training."""
    if any(type(layer).__name__ == "PruneLowMagnitude" for layer in model.layers):
        raise InputError(
            "model: expected plain layers. Received: layers in sparse training. Call edge.finish_sparse(model) first."
        )


def save_keras_file(model: keras.Model, spec: DetectorSpec, path: str | Path) -> None:
    """Writes a `.keras` file that also holds the description of the detector: input, anchors and class names.

    Plain `tf_keras.models.load_model` opens the file too. Losses and the state of the optimiser are left out. The file
    is written under another name first, so a full disk leaves the previous one whole. Of a quantization-aware model the
    float weights and the ranges are stored.

    Args:
        model: plain or quantization-aware.
        path: ends in `.keras`; its folder is made if it is not there.

    Raises:
        InputError: another ending, a model that is still in sparse training, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise InputError(f"save_detector: expected a path that ends in .keras. Received: {path}. Rename it.")
    check_is_finished(model)
    make_folder(path.parent)
    if not is_quantize_aware(model):
        return save_detector(model, spec, path)
    from edge.quantize.aware.saving import save_quantize_aware

    return save_quantize_aware(model, spec, path=path)


def load_keras_file(path: str | Path) -> tuple[keras.Model, DetectorSpec]:
    """Opens a saved detector; nothing in the file is executed.

    Args:
        path: a file of `save_detector`, or the `model.keras` of a run folder.

    Returns:
        The model, not compiled, and its description. A model that was saved quantization-aware is so again.

    Raises:
        InputError: the file is missing, damaged, no detector of ours, or would run code when loaded.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        names: list[str] = []
        with contextlib.suppress(*UNREADABLE), zipfile.ZipFile(path) as archive:  # `load_detector` says what is wrong
            names = archive.namelist()
        if "quantization.json" in names:
            from edge.quantize.aware.saving import load_quantize_aware

            return load_quantize_aware(path)
    return load_detector(path)
