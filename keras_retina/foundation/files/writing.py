"""Writing files, whole or not at all, and finding out before the work whether they can be written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address, local_path, remote_address, remote_errors
from keras_retina.foundation.files.reading import require_regular_file


def require_utf8(path: Path, name: str) -> None:
    """Refuses a path with bytes that are not UTF-8, where TensorFlow will write.

    Args:
        name: of the option, for messages.

    Raises:
        InputError: it has such bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: expected a name in UTF-8. Received: {path}, with a byte that is none. Choose another."
        ) from error


_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/null")


def require_writable(path: Path, name: str) -> None:
    """Tries whether a local file can be written, and leaves everything as it is.

    Args:
        name: of the option, for messages.

    Raises:
        InputError: it cannot, or it is a device or a pipe other than the usual outputs.
    """
    if str(path) in _STREAMS:
        return
    try:
        is_new = not path.exists()
        if not is_new:
            require_regular_file(path)
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{name}: expected a file that can be written. Received: {path}, {reason}. Choose another place."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes a file as UTF-8; the folder of a local one must exist. Of a local one, a full disk leaves a part.

    Raises:
        OSError: it cannot be written.
    """
    remote, path = remote_address(path), local_path(path)
    if remote is None:
        path.write_bytes(text.encode())
        return
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        if tf.io.gfile.exists(remote):
            tf.io.gfile.remove(remote)  # ram:// would append to it
        with tf.io.gfile.GFile(remote, "wb") as file:
            file.write(text.encode())


def remove_file(path: Path) -> None:
    """Removes a file that is there.

    Raises:
        OSError: it is not there, or cannot be removed.
    """
    remote = remote_address(path)
    if remote is None:
        local_path(path).unlink()
        return
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        tf.io.gfile.remove(remote)


def copy_to_remote(path: Path, source: Path) -> None:
    """Copies a local file to a remote place, over what is there.

    Raises:
        OSError: it cannot be written.
    """
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        if tf.io.gfile.exists(address(path)):
            tf.io.gfile.remove(address(path))
        tf.io.gfile.copy(str(source), address(path))


def make_folder(folder: Path) -> None:
    """Makes a local folder, and those above it, where it is not there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: expected a folder, or a place for a new one. Received: {error.strerror}. "
            "Choose another place."
        ) from error


UNFINISHED = ".unfinished"


ADVICE = "Free disk space or correct the folder and repeat the command; what was saved before is unharmed."


@contextlib.contextmanager
def replacing(path: Path, *, advice: str = ADVICE) -> Iterator[Path]:
    """Yields where to write a local file or folder, which becomes `path` when the block ends: whole, or not at all.

    A full disk, any other error and an interrupt leave what was there before, and nothing else. The place has the name
    of `path`, since libraries choose the format by its ending. It lies in a hidden folder beside it, where whoever
    lists `*.tflite` does not find it.

    Args:
        advice: the end of the error, what to do.

    Raises:
        InputError: an `OSError` in the block, or the name cannot be given.
    """
    hidden = path.with_name(f".{path.name}{UNFINISHED}")
    unfinished = hidden / path.name
    try:
        shutil.rmtree(hidden, ignore_errors=True)  # of a process that was killed
        hidden.mkdir()
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())  # HDF5 breaks its lines
        raise InputError(f"{path}: could not be written. Received: {reason}. {advice}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def is_unfinished(path: Path) -> bool:
    """Tells the hidden folder of `replacing`, which is left over where a process was killed."""
    return path.name.startswith(".") and path.name.endswith(UNFINISHED)


def write_file(path: Path, data: bytes) -> None:
    """Writes a local file, whole or not at all (`replacing`).

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a local file of ASCII JSON, whole or not at all: a dictionary on many lines, a long list on one.

    Raises:
        InputError: the file cannot be written.
    """
    write_file(path, (json.dumps(value, indent=1 if isinstance(value, dict) else None) + "\n").encode())
