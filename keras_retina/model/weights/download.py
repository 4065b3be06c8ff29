"""The files of `keras.applications`: where they are kept, and a download that several processes may begin at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import h5py

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.locks import one_at_a_time
from keras_retina.foundation.files.writing import UNFINISHED
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.weights.starts import KerasFile, Start, file_name

WEIGHTS_FOLDER_VARIABLE = "KERAS_RETINA_WEIGHTS"
LEFT_OVER_SECONDS = 24 * 3600.0  # a download that is older was killed, on whichever machine that shares the folder


def keras_cache(start: Start, alpha: float) -> Path | None:
    """Returns the whole file of a start that Keras, or `downloaded`, has put into the cache of Keras; None without."""
    if start.keras_file is None:
        return None
    name, md5 = start.keras_file.name(alpha), start.keras_file.md5.get(alpha)
    return next((folder / name for folder in _cache_folders() if _is_whole(folder / name, md5)), None)


def downloaded(start: Start, alpha: float) -> Path:
    """Returns the file of a start that Keras has, from its cache, or from the network.

    It gets its name when it is whole: the download of Keras itself leaves a part when it is killed, and another process
    takes the part for the file. Of several processes one downloads, and the others wait and take what is there; where
    there are no locks each downloads, and the last file stays, which is the same.

    Raises:
        InputError: it cannot be downloaded.
    """
    kept, file, ours = keras_cache(start, alpha), start.keras_file, file_name(start, alpha)
    if kept is not None:
        return kept
    if file is None:
        raise _not_downloaded("weights that keras.applications do not have", ours)
    path = _writable_folder(ours) / file.name(alpha)
    with one_at_a_time(path):
        kept = keras_cache(start, alpha)  # of the process that was here before
        if kept is not None:
            return kept
        _remove_left_over(path)
        _download(file, alpha, path=path, ours=ours)
    return path


def _download(file: KerasFile, alpha: float, *, path: Path, ours: str) -> None:
    prefix = f".{path.name}."
    try:
        with tempfile.TemporaryDirectory(prefix=prefix, suffix=UNFINISHED, dir=path.parent) as scratch:
            md5 = file.md5.get(alpha)
            fetched = Path(
                keras.utils.get_file(path.name, file.url(alpha), cache_dir=scratch, cache_subdir=".", file_hash=md5)
            )
            if not _is_whole(fetched, md5):
                raise ValueError(f"a damaged file from {file.url(alpha)}")
            os.replace(fetched, path)
    except Exception as error:
        if not isinstance(error, (OSError, ValueError)) and type(error) is not Exception:
            raise  # Keras raises a bare Exception when a download fails
        raise _not_downloaded(" ".join(str(error).split())[:300], ours) from error


def _not_downloaded(reason: str, ours: str) -> InputError:
    return InputError(
        f"model.backbone.weights: the ImageNet weights could not be downloaded. Received: {reason}. Connect to a "
        f"network, or put {ours} into the folder that {WEIGHTS_FOLDER_VARIABLE} names."
    )


def _cache_folders() -> list[Path]:
    """Returns where Keras keeps its downloads: at home, and where that cannot be written, among temporary files."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    return [home / "models", Path(tempfile.gettempdir()) / ".keras" / "models"]


def _writable_folder(ours: str) -> Path:
    reasons = []
    for folder in _cache_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        if os.access(folder, os.W_OK):
            return folder
        reasons.append(f"{folder}: it cannot be written")
    raise _not_downloaded("; ".join(reasons), ours)


def _is_whole(path: Path, md5: str | None) -> bool:
    """Tells whether a file is there with all its bytes: HDF5 says how many there are."""
    try:
        with h5py.File(path):
            pass
        return md5 is None or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5
    except OSError:
        return False


def _remove_left_over(path: Path) -> None:
    """Removes the parts that downloads left when they were killed."""
    for folder in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > LEFT_OVER_SECONDS:
                shutil.rmtree(folder)
