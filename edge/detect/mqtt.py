"""JSON lines to an MQTT broker, by paho-mqtt."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from edge.detect.live import shown_address
from keras_retina.foundation.errors import InputError, printable

PORTS = {"mqtt": 1883, "mqtts": 8883}
PATIENCE = 5.0  # seconds that a broker has for its first answer, and for the last lines at the end


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
    if parts.scheme not in PORTS or not parts.hostname or not topic or "#" in address or re.search("[#+\0]", topic):
        raise InputError(
            f"--mqtt: expected mqtt://HOST/TOPIC or mqtts://USER:PASSWORD@HOST:PORT/TOPIC. Received: "
            f"{shown_address(address)}. Name the broker and a topic without # and +."
        )
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    name = shown_address(address)
    encrypted = parts.scheme == "mqtts"
    return Broker(name, parts.hostname, port or PORTS[parts.scheme], topic, encrypted, user, password)


@contextmanager
def publisher(address: str | None, *, tell: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Connects, and gives a function that publishes one line, at most once (QoS 0); without an address it does nothing.

    A broker that goes away later is connected again by paho-mqtt; lines that fall into the gap are dropped, and counted
    at the end.

    Raises:
        InputError: the address is none, paho-mqtt is not installed, or the broker does not answer or refuses.
    """
    if address is None:
        yield lambda line: None
        return
    broker, dropped = broker_of(address), 0
    client = _connected(broker)

    def publish(line: str) -> None:
        nonlocal dropped
        # Without a connection the client would keep every line: memory would grow for as long as the broker is away.
        if not client.is_connected() or client.publish(broker.topic, line.rstrip("\n")).rc != 0:
            dropped += 1
            if dropped == 1:
                tell(f"{broker.name}: not connected; lines are dropped until it is back")

    try:
        yield publish
    finally:
        client.disconnect()
        client.loop_stop()
        if dropped:
            tell(f"{broker.name}: {dropped} lines were not published")


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
