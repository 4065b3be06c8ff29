"""Before TensorFlow connects the workers, they meet at the chief's port: is everybody there, and do all mean the same?

Each worker connects to the chief and says which index it has and what it is about to do. When all are there, the chief
compares, writes a token into the run folder, asks each whether it sees it, and tells all the same verdict. The messages
are lines of JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, WorkerLostError, printable
from keras_retina.foundation.files.writing import make_folder, write_file
from keras_retina.train.workers.addresses import listen, split_address
from keras_retina.train.workers.cluster import Cluster, port_taken

LONGEST_MESSAGE = 2**16  # bytes
ANSWER_SECONDS = 5.0  # who connects and then says nothing is not one of us
TOKEN_SECONDS = 30.0  # network file systems remember for so long that a file was not there
TOKEN = "token"


def meet(
    cluster: Cluster,
    facts: Mapping[str, str],
    *,
    folder: Path,
    seconds: float,
    token_seconds: float = TOKEN_SECONDS,
) -> None:
    """Returns when all workers are there, mean the same and see the same folder.

    Args:
        facts: what must be equal on all workers, by name.
        folder: in the run folder, for the token; made by the chief.
        seconds: that workers wait for each other.

    Raises:
        InputError: on every worker, with the same line: facts differ, an index is there twice, or the folder is not
            shared. On this worker alone: its port may not be used.
        PortTakenError: another program has the port of this worker.
        WorkerLostError: a worker did not come in time, or went away.
    """
    deadline = time.monotonic() + seconds
    with _listening(cluster) as server:
        if cluster.is_chief:
            verdict = _as_chief(cluster, facts, server=server, folder=folder, deadline=deadline, seconds=token_seconds)
        else:
            server.close()  # only tried: TensorFlow will listen there
            verdict = _as_worker(cluster, facts, folder=folder, deadline=deadline, seconds=token_seconds)
    if "lost" in verdict:
        raise WorkerLostError(verdict["lost"])
    if "refused" in verdict:
        raise InputError(verdict["refused"])


def differences(cluster: Cluster, facts: Mapping[int, Mapping[str, str]]) -> str | None:
    """Returns the line that says which workers have other facts than the chief, None where all agree."""
    other = [
        f"{cluster.name(index)} has {name} {printable(theirs.get(name, 'none'))[:80]}"
        for index, theirs in sorted(facts.items())
        for name in facts[0]
        if theirs.get(name) != facts[0][name]
    ]
    if not other:
        return None
    names = [name for name in facts[0] if any(theirs.get(name) != facts[0][name] for theirs in facts.values())]
    chief = ", ".join(f"{name} {printable(facts[0][name])[:80]}" for name in names)
    return (
        f"workers: expected the same {' and '.join(names)} on all of them. Received: {'; '.join(other)}; "
        f"{cluster.name(0)} has {chief}. Give every worker the same command, data and version."
    )


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    _, port = split_address(cluster.addresses[cluster.index])
    try:
        server = listen(port, backlog=len(cluster.addresses))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise port_taken(cluster) from error
        raise InputError(
            f"TF_CONFIG: expected a port of this machine that {cluster.name(cluster.index)} may use. "
            f"Received: {port}, {error.strerror}. Choose another one."
        ) from error
    with server:
        yield server


@dataclass(frozen=True)
class _Arrival:
    """A worker that has said who it is."""

    connection: _Connection
    index: int
    facts: dict[str, str]
    addresses: list[str]


class _Connection:
    """One connection, over which lines of JSON go."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._file = connected, connected.makefile("rb")

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who is gone is missed at the next answer
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any]:
        """Returns the next message; an empty one when none came in time, or something else did."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            message = json.loads(self._file.readline(LONGEST_MESSAGE))
        except (OSError, ValueError, RecursionError):
            return {}
        return message if isinstance(message, dict) else {}

    def is_closed(self) -> bool:
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _as_chief(
    cluster: Cluster,
    facts: Mapping[str, str],
    *,
    server: socket.socket,
    folder: Path,
    deadline: float,
    seconds: float,
) -> dict[str, str]:
    """Returns the verdict that every worker was told: nothing in it, or what is `refused`, or who is `lost`."""
    arrivals: dict[int, _Arrival] = {}
    strangers: list[_Connection] = []  # who must hear the verdict too
    try:
        verdict = _welcome(cluster, server, arrivals=arrivals, strangers=strangers, deadline=deadline)
        if not verdict:
            different = differences(cluster, {0: facts} | {index: arrival.facts for index, arrival in arrivals.items()})
            verdict = {"refused": different} if different else _show_token(cluster, arrivals, folder, seconds=seconds)
        for connection in [*(arrival.connection for arrival in arrivals.values()), *strangers]:
            connection.send({"verdict": verdict})
        return verdict
    finally:
        for connection in [*(arrival.connection for arrival in arrivals.values()), *strangers]:
            connection.close()


def _welcome(
    cluster: Cluster,
    server: socket.socket,
    *,
    arrivals: dict[int, _Arrival],
    strangers: list[_Connection],
    deadline: float,
) -> dict[str, str]:
    """Fills `arrivals` until all workers but the chief are among them; returns what is wrong."""
    count = len(cluster.addresses)
    while len(arrivals) < count - 1:
        server.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            connection = _Connection(server.accept()[0])
        except TimeoutError:
            missing = ", ".join(cluster.name(index) for index in range(1, count) if index not in arrivals)
            return {"lost": _never_came(missing)}
        arrival = _introduced(connection)
        if arrival is None:
            connection.close()
            continue
        index = arrival.index
        if index in arrivals and arrivals[index].connection.is_closed():  # it died and was started anew
            arrivals.pop(index).connection.close()
        if arrival.addresses != list(cluster.addresses) or not 0 <= index < count:
            strangers.append(connection)
            shown = printable(", ".join(arrival.addresses))[:200]
            return {
                "refused": f"TF_CONFIG: expected the same cluster on all workers. Received: worker {index} has "
                f"{shown}; {cluster.name(0)} has {', '.join(cluster.addresses)}. Give all the same list."
            }
        if index == 0 or index in arrivals:
            strangers.append(connection)
            return {
                "refused": f"TF_CONFIG: expected another index for each worker. Received: index={index} twice. "
                f"Give the {count} workers the indices 0 to {count - 1}."
            }
        arrivals[index] = arrival
    return {}


def _introduced(connection: _Connection) -> _Arrival | None:
    """Returns the worker at the other end, None if it is something else."""
    said = connection.receive(ANSWER_SECONDS)
    index, facts, addresses = said.get("index"), said.get("facts"), said.get("addresses")
    if type(index) is not int or not isinstance(facts, dict) or not isinstance(addresses, list):
        return None
    names = {str(name): str(value) for name, value in facts.items()}
    return _Arrival(connection, index, names, [str(one) for one in addresses])


def _show_token(cluster: Cluster, arrivals: Mapping[int, _Arrival], folder: Path, *, seconds: float) -> dict[str, str]:
    """Writes a token and asks all whether they see it."""
    token = secrets.token_hex(16)
    make_folder(folder)
    write_file(folder / TOKEN, token.encode())
    for arrival in arrivals.values():
        arrival.connection.send({"token": token})
    answers = {
        index: arrival.connection.receive(seconds + 2 * ANSWER_SECONDS) for index, arrival in sorted(arrivals.items())
    }
    gone = [cluster.name(index) for index, said in answers.items() if "sees" not in said]
    blind = [cluster.name(index) for index, said in answers.items() if said.get("sees") is False]
    (folder / TOKEN).unlink(missing_ok=True)
    if gone:
        return {"lost": f"workers: {', '.join(gone)} went away before the first step. The same command tries again."}
    if blind:
        return {
            "refused": f"--out: expected a folder that all workers share. Received: {', '.join(blind)} cannot see what "
            f"{cluster.name(0)} wrote into {folder}. Name a place on a shared file system."
        }
    return {}


def _as_worker(
    cluster: Cluster, facts: Mapping[str, str], *, folder: Path, deadline: float, seconds: float
) -> dict[str, str]:
    """Returns the verdict of the chief."""
    connection = _call(cluster.addresses[0], deadline)
    if connection is None:
        return {"lost": _never_came(f"the chief, {cluster.name(0)},")}
    with contextlib.closing(connection):
        connection.send({"index": cluster.index, "facts": dict(facts), "addresses": list(cluster.addresses)})
        said = connection.receive(deadline - time.monotonic() + 2 * ANSWER_SECONDS)
        if not said and time.monotonic() >= deadline:
            return {"lost": _never_came("other workers")}
        if "token" in said:
            connection.send({"sees": _is_there(folder / TOKEN, str(said["token"]), seconds=seconds)})
            said = connection.receive(2 * seconds + 4 * ANSWER_SECONDS)
    verdict = said.get("verdict")
    if not isinstance(verdict, dict):
        return {"lost": f"workers: {cluster.name(0)}, the chief, went away. The same command tries again."}
    return verdict


def _call(address: str, deadline: float) -> _Connection | None:
    place = split_address(address)
    while (left := deadline - time.monotonic()) > 0:
        try:
            return _Connection(socket.create_connection(place, timeout=min(left, ANSWER_SECONDS)))
        except OSError:  # not there yet, or its name is not known yet
            time.sleep(min(left, 0.2))
    return None


def _is_there(path: Path, token: str, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            if path.read_text(encoding="utf-8") == token:
                return True
        except (OSError, ValueError):
            pass
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)


def _never_came(names: str) -> str:
    return (
        f"workers: {names} did not come within training.worker_timeout. Start all workers, or raise it. "
        "The same command tries again."
    )
