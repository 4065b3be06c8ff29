"""Starts the workers of a training on this machine, watches them, and starts all again when one dies.

A process that ends with status 2 has said what is wrong with the input, so that nothing would change in another try.
A port that was free when it was chosen may be taken when its worker listens there: then all start again on other ports.
Any other end of a worker before its work is done takes the rest with it: they wait for its part of the next sum.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NoReturn

from keras_retina.foundation.errors import PORT_TAKEN, TRY_AGAIN, InputError, PortTakenError, WorkerLostError
from keras_retina.foundation.files.writing import make_folder
from keras_retina.foundation.interruption import preemptible
from keras_retina.foundation.machine import usable_cores
from keras_retina.train.workers.addresses import listen, loopback
from keras_retina.train.workers.cluster import Cluster
from keras_retina.train.workers.logs import last_error, log_file

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
LAST_WORDS_SECONDS = 10.0  # that the other workers get to notice that one is gone, and then to end
BAD_INPUT = 2
OTHER_PORTS = 5  # times that others are chosen, however few restarts there are
_PARENT_DEATH_SIGNAL = 1  # of prctl


def launch(command: Sequence[str], workers: int, *, logs: Path, restarts: int) -> None:
    """Runs the command in `workers` processes with a TF_CONFIG each, until all of them end with status 0.

    The cores that this process may use are divided between them. All that a worker prints is appended to
    `logs/<index>.log`; what the chief prints is printed here too.

    Args:
        restarts: how often all of them are started again after one died.

    Raises:
        InputError: a worker refused its input; the line is its own.
        WorkerLostError: one died more than `restarts` times, or ports were taken more than `OTHER_PORTS` times.
    """
    make_folder(logs)
    deaths = taken = 0
    while True:
        try:
            dead = _run_once(command, workers, logs=logs)
        except PortTakenError as error:
            taken += 1
            if taken > OTHER_PORTS:
                raise WorkerLostError(
                    f"launch: {error}, after {OTHER_PORTS} choices of other ports. The same command goes on."
                ) from error
            logger.warning(f"{error}. All start again on other ports: choice {taken} of {OTHER_PORTS}")
            continue
        if dead is None:
            return
        deaths += 1
        if deaths > restarts:
            raise WorkerLostError(
                f"launch: {dead}, after {restarts} restarts. The logs are in {logs}. The same command goes on."
            )
        logger.warning(f"{dead}. All start again from the last checkpoint: restart {deaths} of {restarts}")


def _run_once(command: Sequence[str], workers: int, *, logs: Path) -> str | None:
    """Returns None when all workers did their work, or how the first one died.

    Raises:
        InputError, PortTakenError, WorkerLostError: what `_verdict` says of its end.
    """
    clusters = local_cluster(workers)
    cores = divided_cores(workers)
    with contextlib.ExitStack() as stack:
        processes: list[subprocess.Popen] = []
        stack.callback(_end_all, processes)  # also after Ctrl-C
        stack.enter_context(preemptible())  # SIGTERM ends the workers first
        for index, cluster in enumerate(clusters):
            log = stack.enter_context(log_file(logs, index).open("ab"))
            if index == 0:
                shown = stack.enter_context(log_file(logs, 0).open("rb"))
                shown.seek(0, os.SEEK_END)
            processes.append(_start(command, cluster, cores=cores[index], log=log))
        while any(process.poll() is None for process in processes) and not _failed(processes):
            _show(shown)
            time.sleep(WATCH_SECONDS)
        _show(shown)
        if not _failed(processes):
            return None
        first = _failed(processes)[0]
        ends = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < ends and any(process.poll() is None for process in processes):
            time.sleep(WATCH_SECONDS)
        _show(shown)
        return _verdict([process.poll() for process in processes], first, clusters=clusters, logs=logs)


def _verdict(codes: Sequence[int | None], first: int, *, clusters: Sequence[Cluster], logs: Path) -> str:
    """Returns how a worker died.

    Raises:
        InputError, WorkerLostError: no restart would change it.
        PortTakenError: it would on other ports.
    """
    for index, code in enumerate(codes):
        if code == BAD_INPUT:
            raise InputError(last_error(log_file(logs, index)) or f"worker {index} refused its input. See {logs}.")
    if PORT_TAKEN in codes:
        index = codes.index(PORT_TAKEN)
        raise PortTakenError(f"another program took the port of {clusters[index].name(index)}")
    cause = next((index for index, code in enumerate(codes) if code not in (None, 0, TRY_AGAIN)), first)
    code = codes[cause]
    name = clusters[cause].name(cause)
    if code is not None and code < 0:
        return f"{name} was ended by signal {-code}"
    if code == TRY_AGAIN:
        return f"{name} lost another worker"
    raise WorkerLostError(f"launch: {name} ended with status {code}. What it said last is in {log_file(logs, cause)}.")


def go_on_alone(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process, once it trained as part of a cluster, by a new one of the same command.

    TensorFlow stays connected as long as a process lives, and would take the devices of all workers for its own.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "keras_retina", *arguments])


def local_cluster(workers: int) -> list[Cluster]:
    """Returns the cluster of so many workers on free ports of this machine, once for each of them."""
    with contextlib.ExitStack() as stack:
        # All are held until the last one is found, so that none is given twice.
        sockets = [stack.enter_context(listen(0)) for _ in range(workers)]
        host = loopback()
        addresses = tuple(f"{host}:{one.getsockname()[1]}" for one in sockets)
    return [Cluster(addresses, index) for index in range(workers)]


def divided_cores(workers: int) -> list[list[int]]:
    """Returns the cores of each worker: all that this process may use, shared out, or one shared by several workers."""
    cores = usable_cores()
    if len(cores) < workers:
        return [[cores[index % len(cores)]] for index in range(workers)]
    each, more = divmod(len(cores), workers)
    starts = [index * each + min(index, more) for index in range(workers + 1)]
    return [cores[start:end] for start, end in zip(starts, starts[1:], strict=False)]


def _start(command: Sequence[str], cluster: Cluster, *, cores: list[int], log: IO[bytes]) -> subprocess.Popen:
    threads = str(len(cores))
    environment = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # one process uses all GPUs of a machine better than several would
    return subprocess.Popen(
        command,
        env={**os.environ, **environment, "TF_CONFIG": cluster.tf_config()},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C comes to us alone, and we end them in order
        preexec_fn=_prepared(cores) if os.name == "posix" else None,
    )


def _prepared(cores: list[int]) -> Callable[[], None]:
    def prepare() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        if sys.platform.startswith("linux"):  # a worker must not outlive us, however we end
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    return prepare


def _failed(processes: Sequence[subprocess.Popen]) -> list[int]:
    return [index for index, process in enumerate(processes) if process.poll() not in (None, 0)]


def _end_all(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    ends = time.monotonic() + LAST_WORDS_SECONDS
    for process in processes:
        try:
            process.wait(max(ends - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:  # it waits inside TensorFlow
            process.kill()
            process.wait()


def _show(log: IO[bytes]) -> None:
    text = log.read()
    if text:
        sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()
