"""One training at a time: a folder that only one queue works in, and a child process that ends with its queue."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import keras_retina


def environment() -> dict[str, str]:
    """Returns the environment of child processes: they use the keras_retina that runs here."""
    here = str(Path(keras_retina.__file__).resolve().parents[1])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join([here, *paths])}


@contextmanager
def alone_in(out: Path) -> Iterator[TextIO]:
    """Makes the folder and holds it. A training that outlives a killed queue holds it too, through the same file."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"{out}: expected a folder that no other queue works in. Received: one with a training that runs. "
                "Wait for it, end it, or use another --out."
            ) from None
        # An exception, so that the child is ended as well.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            yield lock
        finally:
            signal.signal(signal.SIGTERM, before)


def succeeded(command: list[str], *, log: Path, lock: TextIO, environment: dict[str, str]) -> bool:
    """Runs a command, its output behind what the log has, and tells whether it ended with 0.

    Raises:
        SystemExit: somebody ended it by a signal: the queue ends too, and continues there when it is started again.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print(shlex.join(command), flush=True)
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock.fileno()]
        )
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status < 0:
        raise SystemExit(f"ended by signal {-status}: {shlex.join(command)}")
    if status:
        print(f"failed with exit status {status}, see {log}", flush=True)
    return status == 0
