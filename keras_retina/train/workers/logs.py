"""The log of each worker in the run folder, and what a log says went wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_retina.foundation.files.writing import make_folder

ERROR = "keras-retina: "  # before the one line of an error


def log_file(folder: Path, index: int) -> Path:
    """Returns where a worker logs."""
    return folder / f"{index}.log"


@contextlib.contextmanager
def worker_log(folder: Path, index: int) -> Iterator[None]:
    """Appends what both packages log to the file of a worker, unless all that it prints goes there anyway."""
    path = log_file(folder, index)
    make_folder(folder)
    if _prints_into(path):
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("keras_retina", "edge")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def last_error(path: Path) -> str:
    """Returns what a process of this program last said was wrong, empty where its log has no such line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(ERROR)]
    return said[-1].removeprefix(ERROR) if said else ""


def _prints_into(path: Path) -> bool:
    """Tells whether standard output is that file, as `keras-retina launch` arranges it."""
    try:
        return path.exists() and os.path.samestat(os.fstat(sys.stdout.fileno()), path.stat())
    except (OSError, ValueError, AttributeError):  # a standard output that is no file
        return False
