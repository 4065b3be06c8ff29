"""Files on this machine, or where TensorFlow's file systems reach (`gs://`, `s3://`, `hdfs://`, `ram://`).

A place is always a `Path`: `Path("gs://bucket/pack")` has lost a slash, which is put back here, and only here. Local
files are read without TensorFlow, which takes seconds to import and nine times as long to open a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, printable

# Two letters at least: C:/ is a drive.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+")


def remote_address(path: Path) -> str | None:
    """Returns `gs://bucket/pack` for such a path, None for a local one."""
    scheme = _SCHEME.match(path.as_posix())
    return f"{scheme[1]}://{path.as_posix()[scheme.end() :]}" if scheme else None


def address(path: Path) -> str:
    """Returns what TensorFlow and people are told: the address of a remote file, else the path."""
    return remote_address(path) or str(path)


def real_path(path: Path) -> Path:
    """Returns the absolute path behind all links; of a link in a circle, which leads nowhere, as far as it goes."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError there


def file_size(path: Path) -> int:
    """Returns the bytes of a file, 0 where there is none.

    Raises:
        OSError: its place cannot be reached.
    """
    remote = remote_address(path)
    if remote is None:
        return path.stat().st_size if path.is_file() else 0
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        if not tf.io.gfile.exists(remote) or tf.io.gfile.isdir(remote):
            return 0
        return int(tf.io.gfile.stat(remote).length)


def read_bytes(path: Path, offset: int = 0, *, length: int = -1) -> bytes:
    """Returns `length` bytes from `offset` on, fewer at the end of the file, all the rest for -1.

    Raises:
        OSError: it cannot be read.
    """
    remote = remote_address(path)
    if remote is None:
        require_regular_file(path)
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors(), tf.io.gfile.GFile(remote, "rb") as file:
        file.seek(offset)
        return bytes(file.read(length))


_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular_file(path: str | Path) -> None:
    """Refuses what cannot be read to its end: a named pipe waits for a writer, and a device never ends.

    Raises:
        OSError: that, or nothing can be there.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except ValueError as error:
        raise OSError(errno.ENOENT, f"no such name: {error}", str(path)) from error
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"{_KINDS.get(kind, 'a special file')}, not a regular file", str(path))


def require_utf8(path: Path, name: str) -> None:
    """Refuses a path with bytes that are no letters, where TensorFlow will write.

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
    remote = remote_address(path)
    if remote is None:
        path.write_text(text, encoding="utf-8")
        return
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors(), tf.io.gfile.GFile(remote, "wb") as file:
        file.write(text.encode())


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """Returns the files in a folder whose names match, by name; none where there is no folder.

    Raises:
        OSError: its place cannot be reached.
    """
    remote = remote_address(folder)
    if remote is None:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        return [folder / found.rpartition("/")[2] for found in sorted(tf.io.gfile.glob(f"{remote}/{pattern}"))]


@contextlib.contextmanager
def remote_errors() -> Iterator[None]:
    """Turns the errors of TensorFlow's file systems into OSError with one line in `strerror`."""
    from keras_retina.foundation.legacy_keras import tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split()) or type(error).__name__
        raise OSError(0, reason) from error


def sha256_of(data: bytes) -> str:
    """Returns the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


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
    hidden = path.with_name(f".{path.name}.unfinished")
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
