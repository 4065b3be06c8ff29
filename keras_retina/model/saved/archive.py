"""A saved detector as it lies in its `.keras` file: description and configuration. Needs no Keras, and runs no code."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.zip_members import UNREADABLE, read_member, require_plain
from keras_retina.model.saved.hdf5 import UNPACKED, require_plain_weights
from keras_retina.model.spec import DetectorSpec, spec_from_json

SPEC_MEMBER = "detector.json"
ANCHORS_MEMBER = "anchors.npy"
CONFIG_MEMBER = "config.json"
WEIGHTS_MEMBER = "model.weights.h5"
METADATA_MEMBER = "metadata.json"  # the version of Keras, and when the file was saved
NO_DATE = "1980-01-01@00:00:00"
LARGEST_TEXT = 16 * 2**20  # bytes of a JSON member; a detector's are below one MiB
NO_MEMBERS: Mapping[str, bytes] = MappingProxyType({})
LARGEST_WEIGHTS = 16 * 2**30


def read_archive(path: Path) -> tuple[DetectorSpec, dict[str, Any]]:
    """Returns the description of a saved detector and the configuration of its network, without losses and optimiser.

    Raises:
        InputError: the file is missing, or is not a `.keras` file of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a .keras model. Received: no such file. Run `keras-retina train` first.")
    try:
        with zipfile.ZipFile(path) as archive:
            spec = spec_from_json(_text(archive, SPEC_MEMBER), path)
            config = json.loads(_text(archive, CONFIG_MEMBER))
            if not isinstance(config, dict):
                raise ValueError(f"{CONFIG_MEMBER} is a {type(config).__name__}, and no model")
            config.pop("compile_config", None)  # not loaded
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected a .keras file with {SPEC_MEMBER} inside. Received: {one_line(error)}. "
            "Use the model.keras of a run folder."
        ) from error
    return spec, config


def add_description(path: Path, spec: DetectorSpec, *, members: Mapping[str, bytes] = NO_MEMBERS) -> None:
    """Adds `detector.json` (the spec) and `anchors.npy` (float32 `[anchors, 4]`) to a `.keras` file, which is a zip.

    The whole zip is written anew without the time of day: equal detectors make equal files, and the files that are
    exported from them hold the same hash.

    Args:
        members: further members of the zip.
    """
    anchors = io.BytesIO()
    np.save(anchors, spec.anchors(), allow_pickle=False)
    added = {SPEC_MEMBER: spec.to_json().encode(), ANCHORS_MEMBER: anchors.getvalue(), **members}
    undated = path.with_name(f"undated_{path.name}")
    with zipfile.ZipFile(path) as saved, zipfile.ZipFile(undated, "w", allowZip64=True) as archive:
        for member in saved.infolist():
            with saved.open(member) as source, archive.open(_undated(member.filename), "w", force_zip64=True) as target:
                if member.filename == METADATA_MEMBER:
                    target.write(json.dumps({**json.load(source), "date_saved": NO_DATE}).encode())
                else:
                    shutil.copyfileobj(source, target)
        for name, content in added.items():
            archive.writestr(_undated(name), content, zipfile.ZIP_DEFLATED)
    undated.replace(path)


def _undated(member: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))  # the first day that a zip can say


@contextmanager
def weights_file(path: Path) -> Iterator[Path]:
    """Yields the weights as an ordinary file that Keras 2 and Keras 3 load; copying them also checks their CRC.

    `keras.models.load_model` reads inside the zip while it unpacks the other members. The first releases of Python 3.12
    and 3.13 then read from the wrong position. Source: CPython issue 127847.

    Raises:
        InputError: they are not in this file alone (`require_plain_weights`). Others of `UNREADABLE`: it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="keras_retina_") as folder:
        weights = Path(folder) / WEIGHTS_MEMBER
        with zipfile.ZipFile(path) as archive, weights.open("wb") as file:
            require_plain(archive.getinfo(WEIGHTS_MEMBER), limit=LARGEST_WEIGHTS)
            with archive.open(WEIGHTS_MEMBER) as member:
                shutil.copyfileobj(member, file)
        require_plain_weights(weights, path)
        yield weights


def weights_bytes(path: Path) -> int:
    """Returns how large the weights in a `.keras` file say they are; reading them ends there.

    Raises:
        zipfile.BadZipFile, KeyError: they are packed in another way than Keras does, or are not there.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(WEIGHTS_MEMBER)
    require_plain(member, limit=LARGEST_WEIGHTS)
    return min(member.file_size, UNPACKED * member.compress_size)


def one_line(error: BaseException) -> str:
    """Returns what an error says, short and on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _text(archive: zipfile.ZipFile, member: str) -> str:
    return read_member(archive, member, limit=LARGEST_TEXT).decode("utf-8")
