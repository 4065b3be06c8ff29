"""Addresses of workers have one spelling, IPv6 stands in brackets, and a port is taken for IPv4 and IPv6 alike."""

from __future__ import annotations

import errno
import socket

import pytest

from keras_retina.train.workers.addresses import listen, loopback, read_address, split_address


@pytest.mark.parametrize(
    ("text", "address", "parts"),
    [
        ("node-1.local:2222", "node-1.local:2222", ("node-1.local", 2222)),
        ("10.0.0.2:02222", "10.0.0.2:2222", ("10.0.0.2", 2222)),
        ("[::1]:12345", "[::1]:12345", ("::1", 12345)),
        ("[2001:DB8:0:0::1]:1", "[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("[fe80::1%eth0]:65535", "[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_every_spelling_of_an_address_becomes_one(text, address, parts):
    assert read_address(text) == address
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:70000",
        "a:1x",
        "a:²",
        "::1:2222",
        "[::1]",
        "[::1]2222",
        "[a]:1",
        "[]:1",
        "[::1:2",
    ],
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError):
        read_address(text)


def test_a_port_that_is_listened_on_is_reached_by_ipv4_and_is_taken():
    with listen(0) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError) as error, listen(port):
            pytest.fail("the port was given twice")
        assert error.value.errno == errno.EADDRINUSE


def test_a_machine_without_ipv6_listens_by_ipv4(monkeypatch):
    create = socket.create_server

    def without_ipv6(address, *, family=socket.AF_INET, **options):
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no IPv6")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    with listen(0) as server:
        assert server.family == socket.AF_INET


def test_a_machine_without_ipv4_has_the_loopback_of_ipv6(monkeypatch):
    assert loopback() == "127.0.0.1"

    def without_ipv4(*_, **__):
        raise OSError(errno.EADDRNOTAVAIL, "no IPv4")

    monkeypatch.setattr(socket, "create_server", without_ipv4)
    assert loopback() == "[::1]"
