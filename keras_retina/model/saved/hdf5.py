"""Weights in HDF5, looked at before anything is read from them: the format can name other files of the machine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, printable

OBJECT_LIMIT = 100_000  # groups and arrays; a large network has some thousand
UNPACKED = 8  # bytes of values for a byte of the file, above `SMALL`; Keras itself does not compress
SMALL = 64 << 20


def require_plain_weights(file: Path | io.BytesIO, source: Path | str) -> None:
    """Refuses an HDF5 file that is more than groups and arrays of numbers of its own; `source` is named in errors.

    Arrays in external storage and virtual arrays have their bytes in any other file, external links lead into one, and
    soft links lead anywhere.

    Raises:
        InputError: one of these, an array of other things than numbers, more values than the file has room for, or a
            damaged file.
    """
    import h5py

    length = file.stat().st_size if isinstance(file, Path) else len(file.getbuffer())
    try:
        with h5py.File(file, "r") as opened:
            problem = _problem(opened, most_bytes=max(SMALL, UNPACKED * length))
    except Exception as error:  # of h5py, whose kinds of errors are those of the place in the file that is damaged
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if problem:
        raise InputError(
            f"{source}: expected weights of Keras in HDF5, which are in this file alone. Received: "
            f"{printable(problem)[:300]}. Download or save it again."
        )


def _problem(opened: Any, most_bytes: int) -> str:
    """Returns what is not as Keras writes it, empty where there is nothing."""
    import h5py

    waiting, seen, total = [("", opened)], {_address(opened)}, 0
    while waiting:
        place, group = waiting.pop()
        for name in group:
            path = f"{place}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"{path}, a link"
            item = group[name]
            if _address(item) in seen:
                continue
            seen.add(_address(item))
            if len(seen) > OBJECT_LIMIT:
                return f"more than {OBJECT_LIMIT} groups and arrays"
            if isinstance(item, h5py.Group):
                waiting.append((path, item))
            elif not isinstance(item, h5py.Dataset):
                return f"{path}, neither a group nor an array"
            elif item.external or item.is_virtual:
                return f"{path}, an array whose values are in another file"
            elif item.dtype.kind not in "fiub" and not _is_text(item):
                return f"{path}, an array of {item.dtype}"
            else:
                total += item.size * item.dtype.itemsize
                if total > most_bytes:
                    return f"{path}, with which the arrays have {total} bytes, more than the file has room for"
    return ""


def _is_text(item: Any) -> bool:
    """A short text: libraries around Keras save names so."""
    return item.dtype.kind in "SO" and item.size <= 1


def _address(item: Any) -> tuple[int, int]:
    import h5py

    facts = h5py.h5o.get_info(item.id)
    return facts.fileno, facts.addr
