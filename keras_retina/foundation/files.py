"""Files on this machine, or where TensorFlow's file systems reach (`gs://`, `ram://` and what is registered there).

A place is always a `Path`: `Path("gs://bucket/pack")` has lost a slash, which is put back here, and only here. Local
files, those of `file:///data/pack` too, are read without TensorFlow, which takes seconds to import and nine times as
long to open a file.
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
_DRIVE = re.compile(r"[A-Za-z]:/")
_NO_FILE_SYSTEM = re.compile(r"File system scheme '(?P<scheme>[^']*)' not implemented \(file: '(?P<place>.*)'\)")
_MOST_AT_ONCE = 2**26  # bytes of a remote file in one request


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


def file_size(path: Path) -> int:
    """Returns the bytes of a file, 0 where there is none.

    Raises:
        OSError: its place cannot be reached.
    """
    remote, path = remote_address(path), local_path(path)
    if remote is None:
        return path.stat().st_size if path.is_file() else 0
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        if not tf.io.gfile.exists(remote) or tf.io.gfile.isdir(remote):
            return 0
        return int(tf.io.gfile.stat(remote).length)


def read_bytes(path: Path, offset: int = 0, *, length: int = -1) -> bytes:
    """Returns `length` bytes from `offset` on, fewer at the end of the file, all the rest for -1.

    Of a remote file no more is asked for than that.

    Raises:
        OSError: it cannot be read.
    """
    remote, path = remote_address(path), local_path(path)
    if remote is None:
        require_regular_file(path)
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    # What GFile reads through, which always asks for 512 KiB: many times an image.
    from tensorflow.python.lib.io._pywrap_file_io import BufferedInputStream

    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        length = tf.io.gfile.stat(remote).length - offset if length < 0 else length
        if length <= 0:
            return b""
        stream = BufferedInputStream(remote, min(length, _MOST_AT_ONCE))
        stream.seek(offset)
        return bytes(stream.read(length))


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


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """Returns the files in a folder whose names match, by name; none where there is no folder.

    Raises:
        OSError: its place cannot be reached.
    """
    remote, folder = remote_address(folder), local_path(folder)
    if remote is None:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    from keras_retina.foundation.legacy_keras import tf

    with remote_errors():
        return [folder / found.rpartition("/")[2] for found in sorted(tf.io.gfile.glob(f"{remote}/{pattern}"))]


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


def sha256_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal, reading a part of it at a time.

    Raises:
        OSError: it cannot be read.
    """
    digest, offset = hashlib.sha256(), 0
    while part := read_bytes(path, offset, length=min(_MOST_AT_ONCE, max(file_size(path) - offset, 0))):
        digest.update(part)
        offset += len(part)
    return digest.hexdigest()


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
