"""Where files are: on this machine, or where TensorFlow's file systems reach (`gs://`, `ram://` and others).

A place is always a `Path`: `Path("gs://bucket/pack")` has lost a slash, which is put back here, and only here. Local
files, those of `file:///data/pack` too, are read without TensorFlow, which takes seconds to import and nine times as
long to open a file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from keras_retina.foundation.errors import InputError, printable

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+")  # C:/ is a drive
_DRIVE = re.compile(r"[A-Za-z]:/")
_NO_FILE_SYSTEM = re.compile(r"File system scheme '(?P<scheme>[^']*)' not implemented \(file: '(?P<place>.*)'\)")


def remote_address(path: Path) -> str | None:
    """Returns `gs://bucket/pack` for such a path, None for a local one."""
    scheme = _SCHEME.match(path.as_posix())
    return f"{scheme[1]}://{path.as_posix()[scheme.end() :]}" if scheme and scheme[1] != "file" else None


def address(path: Path) -> str:
    """Returns what TensorFlow and people are told: the address of a remote file, else the path."""
    return remote_address(path) or str(local_path(path))


def local_path(path: Path) -> Path:
    """Returns `/data/pack` for `file:///data/pack`, and any other place as it is."""
    scheme = _SCHEME.match(path.as_posix())
    if scheme is None or scheme[1] != "file":
        return path
    place = path.as_posix()[scheme.end() :]
    return Path(place if _DRIVE.match(place) else f"/{place}")


def real_path(path: Path) -> Path:
    """Returns the absolute path behind all links; of a link in a circle, which leads nowhere, as far as it goes."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError there


def absolute_address(path: Path) -> str:
    """Returns what names a place from any folder: the address of a remote file, else the absolute path."""
    return remote_address(path) or str(real_path(local_path(path)))


@contextlib.contextmanager
def remote_errors() -> Iterator[None]:
    """Turns the errors of TensorFlow's file systems into OSError with one line in `strerror`.

    Raises:
        InputError: TensorFlow has no file system for an address, such as `s3://`.
    """
    from keras_retina.foundation.legacy_keras import tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split()) or type(error).__name__
        unknown = _NO_FILE_SYSTEM.search(reason)
        if unknown:
            raise InputError(
                f"{printable(unknown['place'])}: an address that TensorFlow {tf.__version__} can open was expected. "
                f"Received: {unknown['scheme']}://, for which it has no file system. Install rclone, which mounts such "
                "a place as a folder (rclone mount), and give that folder."
            ) from error
        raise OSError(0, reason) from error
