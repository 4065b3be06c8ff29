"""Servers of moving pictures on this machine, each picture with its number in it: MJPEG over HTTP, H.264 over RTSP.

For the tests of streams and for live.py. A client gets its pictures at a rate, numbered by the clock, so that one who
is late misses some. `sent` has when each number went out; `cut` closes all connections, and new ones are taken.
"""

from __future__ import annotations

import contextlib
import io
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

BITS = 16
BOUNDARY = "picture"
RTP_BYTES = 1400  # of a packet's content
PAGE = b"<!doctype html><html><body>" + b"<p>Please log in.</p>" * 200 + b"</body></html>"


def numbered_picture(number: int, height: int, *, width: int) -> np.ndarray:
    """Returns uint8 RGB `[height, width, 3]`: a grey gradient that moves, and the bits of the number along the top."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.repeat(((rows + columns + 4 * number) // 4 % 200)[..., None], 3, axis=2).astype(np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        picture[: height // 8, edges[bit] : edges[bit + 1]] = 255 * (number >> bit & 1)
    return picture


def number_in(picture: np.ndarray) -> int:
    """Returns the number that `numbered_picture` wrote, also after JPEG or H.264."""
    height, width = picture.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    middles = (edges[1:] + edges[:-1]) // 2
    return sum(int(picture[height // 16, middle].mean() > 127) << bit for bit, middle in enumerate(middles))


class Server:
    """A server in a thread, as a context manager. `size`, (height, width), may be changed while it sends.

    While `silent` it keeps its connections and sends nothing. `film`, the bytes of a file, is served as `/film.mp4`.
    """

    scheme, path = "", ""

    def __init__(
        self, *, rate: float = 25.0, size: tuple[int, int] = (240, 320), port: int = 0, film: bytes = b""
    ) -> None:
        self.rate, self.size, self.port, self.film = rate, size, port, film
        self.silent = False
        self.sent: dict[int, float] = {}
        self.clients = 0
        self._start, self._connections = time.perf_counter(), set[socket.socket]()
        self._server = self._open()
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Where the stream is."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}{self.path}"

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def cut(self) -> None:
        """Closes every connection, as a router does that is switched off and on."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # closed by the other side
                connection.shutdown(socket.SHUT_RDWR)

    def numbers(self, connection: socket.socket) -> Iterator[int]:
        """Yields the numbers of the pictures for one client, each when its time has come."""
        self._connections.add(connection)
        self.clients += 1
        try:
            while True:
                passed = time.perf_counter() - self._start
                number = int(passed * self.rate) + 1
                time.sleep(number / self.rate - passed)
                if not self.silent:
                    yield number % (1 << BITS)
        finally:
            self._connections.discard(connection)

    def _open(self) -> socketserver.ThreadingMixIn:
        raise NotImplementedError


class MjpegServer(Server):
    """`http://.../stream.mjpg` is MJPEG, `/page.html` a page, anything else is not found."""

    scheme, path = "http", "/stream.mjpg"

    def _open(self) -> Any:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/page.html":
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.end_headers()
                    self.wfile.write(PAGE)
                elif self.path == "/film.mp4" and outer.film:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(outer.film)))
                    self.end_headers()
                    self.wfile.write(outer.film)
                elif self.path.split("?")[0] != outer.path:
                    self.send_error(404)
                else:
                    self.send_response(200)
                    self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                    self.end_headers()
                    self.stream()

            def stream(self) -> None:
                for number in outer.numbers(self.connection):
                    buffer = io.BytesIO()
                    height, width = outer.size
                    Image.fromarray(numbered_picture(number, height, width=width)).save(buffer, "JPEG", quality=85)
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {buffer.tell()}\r\n\r\n"
                    outer.sent[number] = time.perf_counter()
                    try:
                        self.wfile.write(head.encode() + buffer.getvalue() + b"\r\n")
                    except OSError:
                        return

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", self.port), Handler)


class RtspServer(Server):
    """`rtsp://.../camera`: H.264 by RTP in the connection of RTSP itself (RFC 2326, section 10.12; RFC 6184)."""

    scheme, path = "rtsp", "/camera"

    def _open(self) -> Any:
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while (request := read_request(self.rfile)) is not None:
                        method, number = request
                        self.wfile.write(answer(method, number, address=outer.address))
                        if method == "PLAY":
                            self.play()
                            return
                except OSError:
                    return

            def play(self) -> None:
                height, width = outer.size
                encoder, counter = h264_encoder(height, width=width, rate=outer.rate), 0
                for number in outer.numbers(self.connection):
                    for unit in encoded(encoder, numbered_picture(number, height, width=width)):
                        for packet in rtp_packets(unit, counter, clock=int(number / outer.rate * 90000)):
                            outer.sent[number] = time.perf_counter()
                            self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                            counter += 1

        server = socketserver.ThreadingTCPServer
        server.allow_reuse_address = True
        return server(("127.0.0.1", self.port), Handler)


def read_request(stream: Any) -> tuple[str, str] | None:
    """Returns the method and the number (CSeq) of the next request, None at the end of the connection."""
    lines = []
    while (line := stream.readline().decode("latin-1")).strip():
        lines.append(line.strip())
    if not lines:
        return None
    return lines[0].split()[0], next(line.split(":")[1].strip() for line in lines if line.lower().startswith("cseq"))


def answer(method: str, number: str, *, address: str) -> bytes:
    """Returns what the server says to a request."""
    description = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=numbers\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
    )
    headers, body = {
        "OPTIONS": (["Public: OPTIONS, DESCRIBE, SETUP, PLAY"], ""),
        "DESCRIBE": ([f"Content-Base: {address}/", "Content-Type: application/sdp"], description),
        "SETUP": (["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"], ""),
        "PLAY": (["Session: 1"], ""),
    }.get(method, ([], ""))
    if body:
        headers = [*headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(["RTSP/1.0 200 OK", f"CSeq: {number}", *headers, "", body]).encode()


def h264_encoder(height: int, *, width: int, rate: float) -> Any:
    """Returns an encoder that holds nothing back and begins anew every second."""
    import av

    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(round(rate)), Fraction(1, round(rate))
    # One slice a picture: the unit that carries it is then the last of its picture.
    encoder.options = {
        "preset": "ultrafast", "tune": "zerolatency", "g": str(round(rate)), "x264-params": "sliced-threads=0:threads=1"
    }  # fmt: skip
    return encoder


def encoded(encoder: Any, picture: np.ndarray) -> list[bytes]:
    """Returns the units (NAL) of a picture."""
    import av

    data = b"".join(bytes(packet) for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0")]


def rtp_packets(unit: bytes, first: int, *, clock: int) -> Iterator[bytes]:
    """Yields a unit as RTP packets: whole, or in fragments (FU-A, RFC 6184 section 5.8)."""
    kind, last_of_picture = unit[0] & 31, unit[0] & 31 in (1, 5)
    pieces = [unit]
    if len(unit) > RTP_BYTES:
        cuts = range(1, len(unit), RTP_BYTES)
        pieces = [
            bytes([unit[0] & 224 | 28, kind | (start == 1) << 7 | (start + RTP_BYTES >= len(unit)) << 6])
            + unit[start : start + RTP_BYTES]
            for start in cuts
        ]
    for offset, piece in enumerate(pieces):
        marker = last_of_picture and offset == len(pieces) - 1
        header = struct.pack(">BBHII", 128, 96 | marker << 7, (first + offset) & 0xFFFF, clock & 0xFFFFFFFF, 1)
        yield header + piece
