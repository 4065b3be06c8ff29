"""One training at a time: a folder that only one queue works in, and a child process that ends with its queue.

Several queues may share a folder if each has another share of the trainings.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from jobs import Job

import keras_retina


def environment() -> dict[str, str]:
    """Returns the environment of child processes: they use the keras_retina that runs here."""
    here = str(Path(keras_retina.__file__).resolve().parents[1])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join([here, *paths])}


@dataclass(frozen=True)
class Share:
    """One of several equal parts of a queue, each done by a call of its own. `number` counts from 1."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> Share:
        """Returns the share that `1/2` names.

        Raises:
            ArgumentTypeError: it names none.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise argparse.ArgumentTypeError(f"expected a share such as 1/2. Received: {text!r}.")
        return cls(int(number), int(count))

    def of(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yields every `count`-th job, from the `number`-th on."""
        return islice(jobs, self.number - 1, None, self.count)


WHOLE = Share(1, 1)


@contextmanager
def alone_in(out: Path, share: Share = WHOLE) -> Iterator[list[TextIO]]:
    """Makes the folder and holds it, or a share of its queue. A training that outlives a killed queue holds it too,
    through the same files.
    """
    out.mkdir(parents=True, exist_ok=True)
    of_folder, of_share = out / "lock", out / f"lock-{share.number}-of-{share.count}"
    kinds = {of_folder: fcntl.LOCK_EX} if share == WHOLE else {of_folder: fcntl.LOCK_SH, of_share: fcntl.LOCK_EX}
    with ExitStack() as stack:
        locks = [stack.enter_context(path.open("w")) for path in kinds]
        try:
            for file, kind in zip(locks, kinds.values(), strict=True):
                fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"{out}: expected a folder that no other queue works in. Received: one with a training that runs. "
                "Wait for it, end it, or use another --out."
            ) from None
        # An exception, so that the child is ended as well.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            yield locks
        finally:
            signal.signal(signal.SIGTERM, before)


def succeeded(command: list[str], *, log: Path, locks: list[TextIO], environment: dict[str, str]) -> bool:
    """Runs a command, its output behind what the log has, and tells whether it ended with 0.

    Raises:
        SystemExit: somebody ended it by a signal: the queue ends too, and continues there when it is started again.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print(shlex.join(command), flush=True)
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock.fileno() for lock in locks]
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
