"""Locks between processes: one after the other makes the file that all of them want."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from keras_retina.foundation.errors import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


def is_free(file: IO[bytes]) -> bool:
    """Takes the lock of an open local file, until it is closed; tells False where another process has it.

    A process that is killed lets go. On file systems without locks, and on Windows, every file is free.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        logger.debug("no locks here", exc_info=True)
    return True


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other process is inside such a block for the same local file; its folder must exist.

    Where `is_free` knows no locks nobody waits: write the file aside and rename it all the same.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(path.with_name(f".{path.name}.lock").open("ab"))  # stays: others may hold it
            if not is_free(lock):
                logger.info(f"another process makes {printable(path)}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a lock of another user, or a wait that the file system broke off
            logger.debug("no lock here", exc_info=True)
        yield
