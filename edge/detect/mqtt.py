"""JSON lines to an MQTT broker, by paho-mqtt."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from edge.detect.live import shown_address
from keras_retina.foundation.errors import InputError, printable

PORTS = {"mqtt": 1883, "mqtts": 8883}
PATIENCE = 5.0  # seconds that a broker has for its first answer, and for the last lines at the end
MOST_WAITING = 1000  # lines that a broker may be behind


@dataclass(frozen=True)
class Broker:
    """Where lines are published: the parts of `mqtt://user:password@host:port/topic`; `mqtts` is encrypted."""

    name: str
    host: str
    port: int
    topic: str
    encrypted: bool
    user: str | None
    password: str | None


def broker_of(address: str) -> Broker:
    """Takes an address apart.

    Raises:
        InputError: it has another form.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    topic = unquote(parts.path.lstrip("/"))
    wrong = "#" in address or "?" in address or re.search("[#+\0]", topic)
    if parts.scheme not in PORTS or not parts.hostname or not topic or wrong:
        raise InputError(
            "--mqtt: expected mqtt://HOST/TOPIC or mqtts://USER:PASSWORD@HOST:PORT/TOPIC. Received: "
            f"{shown_address(address)}. Name the broker and a topic without # and +, and write ? as %3F."
        )
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    name = shown_address(address)
    encrypted = parts.scheme == "mqtts"
    return Broker(name, parts.hostname, port or PORTS[parts.scheme], topic, encrypted, user, password)


@contextmanager
def publisher(address: str | None, *, tell: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Connects, and gives a function that publishes one line, at most once (QoS 0); without an address it does nothing.

    A broker that goes away later is connected again by paho-mqtt. Lines that fall into the gap, or that a slow broker
    does not take, are dropped, and counted at the end.

    Raises:
        InputError: the address is none, paho-mqtt is not installed, or the broker does not answer or refuses.
    """
    if address is None:
        yield lambda line: None
        return
    broker = broker_of(address)
    lines = _Lines(_connected(broker), broker, tell=tell)
    try:
        yield lines.publish
    finally:
        lines.end()


class _Lines:
    """Lines on their way to a broker. What does not get there is counted in `dropped`.

    paho-mqtt keeps what the broker does not take: without a limit, memory would grow for as long as it is away or slow.
    `_waiting` are those lines: paho's own thread counts them down, and forgets them where the connection is lost.
    """

    def __init__(self, client: Any, broker: Broker, *, tell: Callable[[str], None]) -> None:
        self._client, self._broker, self._tell = client, broker, tell
        self._waiting = self.dropped = 0
        self._has_told = False
        self._lock = threading.Lock()
        client.on_publish, client.on_disconnect = self._written, self._lost

    def publish(self, line: str) -> None:
        """Hands on a line, or drops it."""
        with self._lock:
            is_ready = self._client.is_connected() and self._waiting < MOST_WAITING
            if is_ready and self._client.publish(self._broker.topic, line.rstrip("\n")).rc == 0:
                self._waiting += 1
                return
            self.dropped += 1
            # Not the first of `dropped`: paho's thread may have counted lines that were lost on their way.
            is_told, self._has_told = self._has_told, True
        if not is_told:
            self._tell(f"{self._broker.name}: not connected, or too slow; lines are dropped until it is back")

    def end(self) -> None:
        """Waits for the last lines and says how many did not get there."""
        give_up = time.monotonic() + PATIENCE
        while self._waiting and self._client.is_connected() and time.monotonic() < give_up:
            time.sleep(0.01)
        connection = self._client.socket()
        self._client.disconnect()
        if self._waiting and connection is not None:  # paho would wait for a broker that takes nothing
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()
        missing = self.dropped + self._waiting
        if missing:
            self._tell(f"{self._broker.name}: {missing} lines were not published")

    def _written(self, *_: Any) -> None:
        with self._lock:
            self._waiting -= 1

    def _lost(self, *_: Any) -> None:
        with self._lock:
            self.dropped, self._waiting = self.dropped + self._waiting, 0


def _connected(broker: Broker) -> Any:
    try:
        from paho.mqtt import client as paho
    except ImportError as error:
        raise InputError(
            f"--mqtt: expected paho-mqtt. Received: {error}. Run: pip install 'keras-retina[mqtt]'"
        ) from error
    answered, answer = threading.Event(), ["no answer"]
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)

    def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        answer[0] = "" if not code.is_failure else str(code)
        answered.set()

    client.on_connect = on_connect
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.encrypted:
        client.tls_set()
    client.reconnect_delay_set(1, 30)
    client.connect_timeout = PATIENCE
    try:
        client.connect(broker.host, broker.port)
    except (OSError, ValueError) as error:
        answer[0] = printable(error)
    else:
        client.loop_start()
        answered.wait(PATIENCE)
    if answer[0]:
        client.disconnect()
        client.loop_stop()
        raise InputError(
            f"--mqtt: expected the broker {broker.name}. Received: {answer[0]}. Start it, or correct host, port, user "
            "or password."
        )
    return client
