"""Reading files, here or at an address: whole or in parts, their sizes and checksums, and what is no file."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from keras_retina.foundation.files.places import local_path, remote_address, remote_errors

_MOST_AT_ONCE = 2**26  # bytes of a remote file in one request


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
