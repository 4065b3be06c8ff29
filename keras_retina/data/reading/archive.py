"""Data in a zip or tar file: unpacked once, beside nothing of the user's, and read from there."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import logging
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import real_path
from keras_retina.foundation.files.zip_members import UNREADABLE

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "KERAS_RETINA_CACHE"
MEMBER_LIMIT = 3_000_000  # files in an archive; the largest public set of labelled photos has 1.9 million
PACKED_BY = 100  # bytes for a byte of the archive, above `SMALL`; photos do not shrink, labels to a twentieth
SMALL = 1 << 30
HEADER_LIMIT = 16 << 20  # bytes of what a tar file says of one member
STREAMS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Tells whether a path is a file with the name of a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def without_suffix(name: str) -> str:
    """Returns the name of an archive without `.zip`, `.tar.gz` and the like; any other name as it is."""
    endings = [end for end in SUFFIXES if name.lower().endswith(end)]
    return name[: -len(max(endings, key=len))] if endings else name


def unpacked(archive: Path) -> Path:
    """Returns a folder with the contents of an archive, unpacked the first time and kept for the next.

    The folder lies under `keras_retina/data` of the user's cache, or of the folder that KERAS_RETINA_CACHE names. It is
    made anew when the archive has changed.

    Raises:
        InputError: the archive is damaged, has a member that would leave the folder, or unpacks to more than the disk
            has room for or an archive of its size can honestly hold.
    """
    state = archive.stat()
    key = hashlib.sha256(f"{real_path(archive)} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = _cache() / key / (without_suffix(archive.name) or "data")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as half:
        try:
            _unpack(archive, Path(half) / "data")
        except (tarfile.TarError, lzma.LZMAError, *UNREADABLE) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{printable(archive)}: a complete zip or tar file was expected. Received: {printable(error)}. "
                "Copy it again."
            ) from error
        try:
            (Path(half) / "data").replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster: workers of one machine begin together
                raise
    logger.info(f"unpacked {printable(archive)} into {printable(folder)}")
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _require_space(archive, (member.file_size for member in opened.infolist()), folder=folder)
            opened.extractall(folder)  # it keeps every member inside the folder
    elif archive.name.lower().endswith(".zip"):
        raise ValueError("its list of contents, at the end of a zip file, is missing")
    else:
        with archive.open("rb") as file:
            beginning = file.read(6)
        stream = next((opener for mark, opener in STREAMS.items() if beginning.startswith(mark)), open)
        with stream(archive, "rb") as file:
            short: Any = _ShortReads(file)
            with tarfile.open(fileobj=short, mode="r:") as packed:
                _require_space(archive, (member.size for member in packed), folder=folder)
                packed.extractall(folder, filter="data")  # it refuses devices, and whatever leads out of the folder


class _ShortReads:
    """A file for `tarfile`, which would read a header of any size at once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= HEADER_LIMIT:
            raise tarfile.ReadError(f"a member that is described by {size} bytes")
        return bytes(self._file.read(size))


def _require_space(archive: Path, sizes: Iterable[int], *, folder: Path) -> None:
    """Refuses an archive by the sizes of its members, as soon as they are too many or too much."""
    free = shutil.disk_usage(folder).free
    most = max(SMALL, PACKED_BY * archive.stat().st_size)
    needed = 0
    for number, size in enumerate(sizes, start=1):
        needed += size
        if number > MEMBER_LIMIT or needed > most:
            raise InputError(
                f"{printable(archive)}: at most {MEMBER_LIMIT} files and {most} bytes were expected in an archive of "
                f"its size. Received: {number} files and {needed} bytes, or more. Unpack it yourself if you trust it, "
                "and pass the folder."
            )
    if needed > free:
        raise InputError(
            f"{printable(archive)}: {needed} bytes of free disk were expected, to unpack it into {printable(folder)}. "
            f"Received: {free}. Make room, or name another folder with {CACHE_VARIABLE}."
        )


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_retina"
    return base / "data"
