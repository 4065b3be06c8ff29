"""`model.keras` with the detector description inside, written so that a full disk cannot destroy the previous file."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from keras_retina.detector_spec import DetectorSpec, spec_from_json
from keras_retina.errors import InputError
from keras_retina.legacy_keras import keras

SPEC_MEMBER = "detector.json"
ANCHORS_MEMBER = "anchors.npy"


def save_detector(model: keras.Model, spec: DetectorSpec, path: Path) -> None:
    """Writes a `.keras` file that plain `tf_keras.models.load_model` opens and that also holds anchors and coder.

    The file is a zip; `detector.json` (the spec) and `anchors.npy` (float32 `[anchors, 4]`) are members of it beside
    those of Keras. It is written under another name first and then renamed.

    Raises:
        InputError: the file cannot be written, for instance because the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.writing.keras")
    anchors = io.BytesIO()
    np.save(anchors, spec.anchors(), allow_pickle=False)
    try:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(SPEC_MEMBER, spec.to_json())
            archive.writestr(ANCHORS_MEMBER, anchors.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: the model could not be written. Received: {error}. "
            "Free disk space and repeat the command; what was saved before is unharmed."
        ) from error


def load_detector(path: Path) -> tuple[keras.Model, DetectorSpec]:
    """Loads a model and its description; nothing in the file is executed (`safe_mode`).

    Raises:
        InputError: the file is missing, is not a `.keras` file of this project, or would run code when loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a .keras model. Received: no such file. Run `keras-retina train` first.")
    try:
        with zipfile.ZipFile(path) as archive:
            spec = spec_from_json(archive.read(SPEC_MEMBER).decode("utf-8"), path)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected a .keras file with {SPEC_MEMBER} inside. Received: {' '.join(str(error).split())}. "
            "Use the model.keras of a run folder."
        ) from error
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: the model was not loaded. Received: {reason}. Only plain Keras layers are accepted, no lambdas."
        ) from error
    return model, spec
