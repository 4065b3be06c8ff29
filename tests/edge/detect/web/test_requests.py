"""What the server of the page answers to requests that no browser makes."""

from __future__ import annotations

import socket
import threading

import pytest

from edge.detect.web.server import PageServer


@pytest.fixture(scope="module")
def server():
    with PageServer(0, {}, "/?model=x") as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET //[ HTTP/1.1", 404),  # Python has made /[ of it
        ("GET http://[::1 HTTP/1.1", 400),
        ("GET /../../etc/passwd HTTP/1.1", 404),
        ("GET /%00 HTTP/1.1", 404),
        ("GET / HTTP/1.1", 302),
    ],
)
def test_an_address_that_is_none_is_an_answer_and_not_an_error(server, capsys, line, status):
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert "Traceback" not in capsys.readouterr().err
