"""What C++ code prints to standard error past Python: kept back, and shown only where the work fails."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_notes_hidden() -> Iterator[None]:
    """Keeps back what is written to standard error inside; writes it out if an exception leaves the block.

    It is for a call of a library that prints notes at every log level. Threads write to the same place, so hold it only
    around that call.
    """
    try:
        shown = os.dup(2)
    except OSError:  # closed; then nothing is shown anyway
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(shown, notes.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
