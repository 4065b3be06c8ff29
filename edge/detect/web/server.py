"""Serves the page of `edge/detect/web/page`, MediaPipe and one model on this machine, and nothing else."""

from __future__ import annotations

import shutil
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from edge.detect.web.tasks_vision import PAGE
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.graph import read_graphs
from edge.tflite.metadata import NAME
from keras_retina.foundation.errors import InputError

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""The page can ask this server alone, and sends nothing to it but addresses. The page itself says the same."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}


class PageServer(ThreadingHTTPServer):
    """Answers GET and HEAD for the files of `routes`, `{path: file}`; `/` leads to `start`."""

    daemon_threads = True

    def __init__(self, port: int, routes: dict[str, Path], start: str) -> None:
        self.routes, self.start = routes, start
        super().__init__((ADDRESS, port), PageHandler)

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{ADDRESS}:{self.server_port}{self.start}"

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a browser that went away in the middle
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """One request; only paths that are in the table of the server exist, so none leads out of the folders."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_) -> None:
        """Every file of the page would be a line."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # an export that is repeated is seen after a reload
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def _answer(self, with_body: bool) -> None:
        # A page of another site can have its own name point here (DNS rebinding); it cannot change the Host header.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in HOSTS:
            return self._say(HTTPStatus.FORBIDDEN)
        try:
            target = urlsplit(self.path)
        except ValueError:  # `//[` is the beginning of an address of version 6
            return self._say(HTTPStatus.BAD_REQUEST)
        if target.path == "/" and not target.query:
            return self._say(HTTPStatus.FOUND, {"Location": self.server.start})
        path = unquote(target.path)
        file = self.server.routes.get("/index.html" if path == "/" else path)
        if file is None or not file.is_file():
            return self._say(HTTPStatus.NOT_FOUND)
        facts = file.stat()
        tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        if self.headers.get("If-None-Match") == tag:
            return self._say(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
        with file.open("rb") as content:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES[file.suffix])
            self.send_header("Content-Length", str(facts.st_size))
            self.send_header("ETag", tag)
            self.end_headers()
            if with_body:
                shutil.copyfileobj(content, self.wfile)

    def _say(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def page_server(model: Path, tasks_vision: Path, *, port: int) -> PageServer:
    """Returns a server that is bound and not yet running; port 0 is any free one.

    Raises:
        InputError: the port is taken.
    """
    name = f"/model/{model.name}"
    routes = page_routes(PAGE, tasks_vision) | {name: model}
    try:
        return PageServer(port, routes, f"/?model={quote(name[1:])}")
    except (OSError, OverflowError) as error:
        raise InputError(f"--port: expected a free port. Received: {port} ({error}). Choose another one.") from error


def page_routes(page: Path, tasks_vision: Path) -> dict[str, Path]:
    """Returns `{path: file}` of the page's own files and of what it loads from MediaPipe."""
    own = {f"/{file.name}": file for file in page.iterdir() if file.suffix in {".html", ".css", ".mjs"}}
    bundle = [file for file in (*tasks_vision.iterdir(), *(tasks_vision / "wasm").iterdir()) if file.suffix in TYPES]
    return own | {f"/tasks-vision/{file.relative_to(tasks_vision).as_posix()}": file for file in bundle}


def check_model(path: Path) -> None:
    """Raises InputError for a file that is missing, damaged or without the metadata that MediaPipe asks for."""
    read_graphs(path)
    if NAME not in [entry.name for entry in read_flatbuffer(path.read_bytes()).metadata or []]:
        raise InputError(
            f"{path}: expected a .tflite with TFLite metadata, which MediaPipe needs. Received: none. "
            "Choose a file that `keras-retina export` wrote, one without _raw in its name."
        )
