"""The server of `serve-web`: only its own files, only this machine, and models that MediaPipe can open."""

from __future__ import annotations

import http.client
import threading

import numpy as np
import pytest

from edge.detect.web.server import ADDRESS, CONTENT_SECURITY_POLICY, check_model, page_server
from edge.detect.web.tasks_vision import PAGE
from edge.tflite.metadata import detector_metadata
from keras_retina.foundation.errors import InputError


@pytest.fixture
def tasks_vision(tmp_path):
    folder = tmp_path / "tasks-vision"
    (folder / "wasm").mkdir(parents=True)
    (folder / "vision_bundle.mjs").write_text("export {};")
    (folder / "wasm" / "vision_wasm_internal.wasm").write_bytes(b"\0asm")
    (folder / "package.json").write_text("{}")
    return folder


@pytest.fixture
def server(tasks_vision, tmp_path):
    (tmp_path / "größe 1.tflite").write_bytes(b"model bytes")
    (tmp_path / "secret.tflite").write_bytes(b"secret")
    with page_server(tmp_path / "größe 1.tflite", tasks_vision, port=0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/?model=x", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.mjs?v=1", "text/javascript; charset=utf-8"),
        ("/tasks-vision/vision_bundle.mjs", "text/javascript; charset=utf-8"),
        ("/tasks-vision/wasm/vision_wasm_internal.wasm", "application/wasm"),
        ("/model/gr%C3%B6%C3%9Fe%201.tflite", "application/octet-stream"),
    ],
)
def test_every_file_comes_with_its_type(server, path, kind):
    answer, body = ask(server, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert len(body) == int(answer.headers["Content-Length"]) > 0
    answer, body = ask(server, path, "HEAD")
    assert (answer.status, body) == (200, b"")


def test_every_answer_says_that_the_page_may_ask_this_server_alone(server):
    policy = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert (policy["default-src"], policy["connect-src"], policy["form-action"]) == ("'none'", "'self'", "'none'")
    assert not [part for part in CONTENT_SECURITY_POLICY.split() if "://" in part or "*" in part or part == "https:"]
    for path in ("/", "/app.mjs", "/no"):
        answer, _ = ask(server, path)
        assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    # For a copy of the page on another server.
    assert f'content="{CONTENT_SECURITY_POLICY}"' in (PAGE / "index.html").read_text(encoding="utf-8")


def test_the_bare_address_leads_to_the_model(server):
    answer, _ = ask(server, "/")
    assert (answer.status, answer.headers["Location"]) == (302, "/?model=model/gr%C3%B6%C3%9Fe%201.tflite")
    assert server.address.endswith(answer.headers["Location"])


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/tasks-vision/../secret.tflite",
        "/tasks-vision/%2e%2e%2fsecret.tflite",
        "/model/secret.tflite",
        "/model/../secret.tflite",
        "/package.json",
        "/tasks-vision/package.json",
        "/wasm",
        "/tasks-vision/",
        "/%00",
    ],
)
def test_nothing_else_is_there(server, path):
    answer, body = ask(server, path)
    assert (answer.status, body) == (404, b"")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:1", 200),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("", 403),
        ("[::1]:8000", 403),
    ],
)
def test_the_page_answers_to_names_of_this_machine_only(server, host, status):
    assert ask(server, "/style.css", Host=host)[0].status == status


def test_a_file_that_has_not_changed_is_not_sent_again(server, tmp_path):
    path = "/model/gr%C3%B6%C3%9Fe%201.tflite"
    tag = ask(server, path)[0].headers["ETag"]
    assert ask(server, path, If_None_Match=tag)[0].status == 304
    (tmp_path / "größe 1.tflite").write_bytes(b"exported again")
    answer, body = ask(server, path, If_None_Match=tag)
    assert (answer.status, body) == (200, b"exported again")


def test_other_methods_are_refused(server):
    assert ask(server, "/style.css", "POST")[0].status == 501


def test_a_taken_port_is_bad_input(server, tasks_vision, tmp_path):
    with pytest.raises(InputError, match=r"--port: expected a free port\. Received: \d+ .* Choose another one"):
        page_server(tmp_path / "secret.tflite", tasks_vision, port=server.server_port)


def test_all_files_of_the_page_are_served_and_load_nothing_from_elsewhere(server):
    files = [file for file in PAGE.iterdir() if file.suffix in {".html", ".css", ".mjs"}]
    assert len(files) >= 8
    for file in files:
        answer, body = ask(server, f"/{file.name}?x")
        assert (answer.status, body) == (200, file.read_bytes())
        assert b"http" not in body.replace(b"http-equiv", b"").replace(b"of https:// and", b"")


def test_a_model_needs_metadata_and_an_undamaged_file(write_tflite, classifier_layers, tiny_spec, tmp_path):
    bare = write_tflite(tmp_path / "bare.tflite", *classifier_layers)
    with pytest.raises(InputError, match=r"bare\.tflite: expected a \.tflite with TFLite metadata.*without _raw"):
        check_model(bare)
    good = write_tflite(
        tmp_path / "good.tflite", *classifier_layers, metadata=detector_metadata(tiny_spec, "labels.txt")
    )
    check_model(good)
    (tmp_path / "noise.tflite").write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / "cut.tflite").write_bytes(good.read_bytes()[:700])
    for name in ("noise", "cut", "missing"):
        with pytest.raises(InputError, match=f"{name}.tflite: expected a"):
            check_model(tmp_path / f"{name}.tflite")
