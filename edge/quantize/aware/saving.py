"""A quantization-aware model on disk: the plain float model, and the ranges and what is preserved as numbers in it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np

from edge.quantize.aware.model import float_model, preserved_by, ranges_of, rounding
from edge.quantize.aware.places import quantized_places
from edge.quantize.aware.quantizers import Preserve
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.zip_members import UNREADABLE, read_member
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.calls import Place
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import DetectorSpec

MEMBER = "quantization.json"
LARGEST_MEMBER = 2**20  # bytes


def save_quantize_aware(model: keras.Model, spec: DetectorSpec, *, path: Path) -> None:
    """Writes the float model as `save_detector` does, with `quantization.json` inside; its graph is not stored.

    Raises:
        InputError: the file cannot be written.
    """
    ranges = {f"{name}:{number}": list(found) for (name, number), found in ranges_of(model).items()}
    fields = {"preserve": preserved_by(model), "ranges": ranges}
    save_detector(float_model(model), spec, path, members={MEMBER: json.dumps(fields, indent=2).encode()})


def load_quantize_aware(path: Path) -> tuple[keras.Model, DetectorSpec]:
    """Rebuilds a quantization-aware model from plain layers and numbers; nothing in the file is executed.

    Raises:
        InputError: the file is missing, no detector of ours, or holds no ranges that fit it.
    """
    plain, spec = load_detector(path)
    try:
        with zipfile.ZipFile(path) as archive:
            fields = json.loads(read_member(archive, MEMBER, limit=LARGEST_MEMBER))
        ranges = {_place(key): (float(low), float(high)) for key, (low, high) in fields["ranges"].items()}
        preserve: Preserve = fields["preserve"]
        expected = set(quantized_places(plain)) - {(name, 0) for name in plain.input_names}
        valid = all(np.isfinite([low, high]).all() and low <= 0 <= high and low < high for low, high in ranges.values())
        if set(ranges) != expected or not valid or preserve not in get_args(Preserve):
            raise ValueError("the ranges are not those of its network")
    except UNREADABLE as error:
        raise InputError(
            f"{path}: expected a quantization-aware model with {MEMBER} inside. Received: {str(error)[:200]}. "
            "Use a file that quantization-aware training wrote."
        ) from error
    return rounding(plain, ranges, preserve=preserve), spec


def _place(key: str) -> Place:
    name, _, number = key.rpartition(":")
    return name, int(number)
