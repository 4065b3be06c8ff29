"""Data in a zip or tar file: unpacked once, beside nothing of the user's, and read from there."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files import real_path

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "KERAS_RETINA_CACHE"
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
        InputError: the archive is damaged, has a member that would leave the folder, or is larger than the disk.
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
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{printable(archive)}: a complete zip or tar file was expected. Received: {printable(error)}. "
                "Copy it again."
            ) from error
        (Path(half) / "data").replace(folder)
    logger.info(f"unpacked {printable(archive)} into {printable(folder)}")
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _require_space(archive, sum(member.file_size for member in opened.infolist()), folder=folder)
            opened.extractall(folder)  # it keeps every member inside the folder
    elif archive.name.lower().endswith(".zip"):
        raise ValueError("its list of contents, at the end of a zip file, is missing")
    else:
        with tarfile.open(archive) as opened:
            _require_space(archive, sum(member.size for member in opened), folder=folder)
            opened.extractall(folder, filter="data")


def _require_space(archive: Path, needed: int, *, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{printable(archive)}: {needed} bytes of free disk were expected, to unpack it into {printable(folder)}. "
            f"Received: {free}. Make room, or name another folder with {CACHE_VARIABLE}."
        )


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_retina"
    return base / "data"
