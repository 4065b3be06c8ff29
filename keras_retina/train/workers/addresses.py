"""Addresses of workers, `host:port`: reading them, IPv6 in brackets too, and listening on a port."""

from __future__ import annotations

import errno
import ipaddress
import socket

FORM = "host:port, an IPv6 address in brackets as in [::1]:2222,"


def read_address(text: str) -> str:
    """Returns an address as all workers write it: IPv6 has many spellings, and workers compare their lists.

    Raises:
        ValueError: it is no address of the form `FORM`.
    """
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    elif set(host) & set("[]:"):
        raise ValueError(text)
    return f"{host}:{int(port)}"


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of what `read_address` returned; an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(port: int, *, backlog: int = 1) -> socket.socket:
    """Listens on a port of all interfaces, by IPv4 and IPv6 where there are both, as the server of TensorFlow does.

    Args:
        port: 0 for any free one.

    Raises:
        OSError: `EADDRINUSE` where another program has it, or it may not be used.
    """
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    return socket.create_server(("", port), backlog=backlog)


def loopback() -> str:
    """Returns the host in addresses of this machine alone: of IPv4, or of IPv6 where that is all there is."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return "127.0.0.1"
    except OSError:
        return "[::1]"
