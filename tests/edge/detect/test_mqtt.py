"""Lines to an MQTT broker: a small one in the test that speaks MQTT 3.1.1 and keeps what it gets."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from unittest.mock import Mock

import pytest

from edge.detect import mqtt
from edge.detect.mqtt import Broker, broker_of, publisher
from keras_retina.foundation.errors import InputError

PATIENCE = 15.0  # seconds; only a test that fails waits so long


class SmallBroker:
    """Answers CONNECT with `code`, keeps user and password, and what is published. `cut` closes the connections.

    One that is `stuck` reads nothing more after its answer.
    """

    def __init__(self, code: int = 0, *, stuck: bool = False) -> None:
        self.code, self.login, self.published, self.stuck = code, b"", [], stuck
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait_for(self, lines: int) -> list[tuple[str, str]]:
        end = time.monotonic() + PATIENCE
        while len(self.published) < lines and time.monotonic() < end:
            time.sleep(0.01)
        return self.published

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection.makefile("rb"), connection), daemon=True).start()

    def _serve(self, stream, connection: socket.socket) -> None:
        while first := stream.read(1):
            length, shift = 0, 0
            while True:  # the length, seven bits a byte
                byte = stream.read(1)[0]
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            body = stream.read(length)
            kind = first[0] >> 4
            if kind == 1:
                self.login = body[12:]
                connection.sendall(bytes([0x20, 2, 0, self.code]))
                if self.stuck:
                    return
            elif kind == 3:
                topic = int.from_bytes(body[:2], "big")
                self.published.append((body[2 : 2 + topic].decode(), body[2 + topic :].decode()))
            elif kind == 12:
                connection.sendall(bytes([0xD0, 0]))
            elif kind == 14:
                return


@pytest.fixture
def paho():
    return pytest.importorskip("paho.mqtt", reason="needs paho-mqtt: pip install paho-mqtt")


def test_lines_are_published_as_they_are(paho):
    with SmallBroker() as broker:
        with publisher(f"mqtt://me:p%40ss@127.0.0.1:{broker.port}/house/door", tell=pytest.fail) as publish:
            for number in range(3):
                publish(f'{{"frame": {number}}}\n')
            published = broker.wait_for(3)
        assert published == [("house/door", f'{{"frame": {number}}}') for number in range(3)]
        assert broker.login.endswith(b"\0\2me\0\4p@ss")


def test_lines_while_the_broker_is_away_are_dropped_and_counted_and_later_ones_arrive(paho):
    told = []
    with SmallBroker() as broker, publisher(f"mqtt://127.0.0.1:{broker.port}/t", tell=told.append) as publish:
        publish("first\n")
        broker.wait_for(1)
        broker.cut()
        end = time.monotonic() + PATIENCE
        while not told and time.monotonic() < end:
            publish("lost\n")
            time.sleep(0.01)
        while ("t", "later") not in broker.published and time.monotonic() < end:
            publish("later\n")
            time.sleep(0.05)
        assert ("t", "later") in broker.published
    assert told[0].endswith("not connected, or too slow; lines are dropped until it is back")
    assert "lines were not published" in told[-1]


def test_the_first_line_that_is_dropped_is_told_also_where_others_were_lost_on_their_way():
    """paho's thread counts those; it must not take the place of the line that is told."""
    told, client = [], Mock(is_connected=lambda: True, publish=lambda *_: Mock(rc=0))
    lines = mqtt._Lines(client, broker_of("mqtt://broker/t"), tell=told.append)
    lines.publish("on its way\n")
    client.on_disconnect()
    assert (lines.dropped, told) == (1, [])
    client.is_connected = lambda: False
    lines.publish("dropped\n")
    lines.publish("dropped too\n")
    assert (lines.dropped, len(told)) == (3, 1)


def test_a_broker_that_takes_nothing_costs_neither_memory_nor_the_end(paho, monkeypatch):
    monkeypatch.setattr(mqtt, "PATIENCE", 0.3)
    told, line = [], "x" * 100_000 + "\n"
    with SmallBroker(stuck=True) as broker:

        def publish_much() -> None:
            with publisher(f"mqtt://127.0.0.1:{broker.port}/t", tell=told.append) as publish:
                for _ in range(mqtt.MOST_WAITING + 500):  # more than the buffers of a connection hold beside these
                    publish(line)

        monkeypatch.setattr(mqtt, "MOST_WAITING", 50)
        publishing = threading.Thread(target=publish_much, daemon=True)
        publishing.start()
        publishing.join(PATIENCE)
        assert not publishing.is_alive()
    assert "too slow" in told[0]
    assert int(told[-1].split()[1]) > 500


def test_what_is_published_last_arrives(paho):
    with SmallBroker() as broker:
        with publisher(f"mqtt://127.0.0.1:{broker.port}/t", tell=pytest.fail) as publish:
            for number in range(300):
                publish(f"{number}\n")
        assert len(broker.wait_for(300)) == 300


def test_a_broker_that_refuses_or_is_not_there_is_one_line_without_the_password(paho):
    with SmallBroker(code=5) as broker:
        for address, said in (
            (f"mqtt://me:secret@127.0.0.1:{broker.port}/t", "Not authorized"),
            ("mqtt://me:secret@127.0.0.1:9/t", "Connection refused"),
        ):
            with pytest.raises(InputError, match=said) as caught, publisher(address, tell=print):
                pass
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)


def test_addresses_of_brokers():
    assert broker_of("mqtt://broker/a/b") == Broker("mqtt://broker/a/b", "broker", 1883, "a/b", False, None, None)
    full = broker_of("mqtts://u:p%2F@host:99/a%20b")
    assert (full.port, full.topic, full.encrypted, full.user, full.password) == (99, "a b", True, "u", "p/")
    assert broker_of("mqtts://host/t").port == 8883
    assert broker_of("mqtt://host/a%3Fb").topic == "a?b"
    nothing = ("broker/topic", "http://broker/t", "mqtt://broker", "mqtt://broker/", "mqtt://b:x/t", "mqtt://[b/t")
    for wrong in (*nothing, "mqtt://b/a/#", "mqtt://b/a?b"):
        with pytest.raises(InputError, match="--mqtt: expected mqtt://HOST/TOPIC"):
            broker_of(wrong)


def test_without_an_address_nothing_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with publisher(None, tell=print) as publish:
        publish("line\n")
    with pytest.raises(InputError, match=r"pip install 'keras-retina\[mqtt\]'"), publisher("mqtt://a/b", tell=print):
        pass
