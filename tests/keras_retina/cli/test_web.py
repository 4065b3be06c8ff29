"""`keras-retina serve-web` as a person meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest


@pytest.fixture
def package(tmp_path):
    """What the verb looks for in the npm package."""
    folder = tmp_path / "tasks-vision"
    (folder / "wasm").mkdir(parents=True)
    (folder / "vision_bundle.mjs").write_text("export {};")
    (folder / "wasm" / "vision_wasm_internal.wasm").write_bytes(b"\0asm")
    return folder


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "keras_retina", "serve-web", *map(str, arguments)]


def take_interrupts() -> None:
    """Shells start background jobs, of which this test may be one, with interrupts ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_address_is_said_the_page_is_there_and_an_interrupt_ends_it(
    package, write_tflite, classifier_layers, tmp_path
):
    model = write_tflite(tmp_path / "m.tflite", *classifier_layers, metadata=b"any")
    arguments = command(model, "--port", 0, "--no-browser", "--tasks-vision", package)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, env=environment, preexec_fn=take_interrupts, **pipes) as process:
        line = process.stdout.readline()
        try:
            (address,) = re.findall(r"m\.tflite is at (http://127\.0\.0\.1:\d+/\S+) \(Ctrl-C ends\)", line)
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert b"<title>Object detector</title>" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
            timer = threading.Timer(60, process.kill)
            timer.start()
            out, error = process.communicate()
            timer.cancel()
    assert (process.returncode, out.split(), error) == (0, ["ended"], "")


def test_a_file_that_cannot_be_shown_is_one_line(package, write_tflite, classifier_layers, tmp_path):
    bare = write_tflite(tmp_path / "bare.tflite", *classifier_layers)
    for path, told in ((bare, "TFLite metadata"), (tmp_path / "none.tflite", "no such file")):
        result = subprocess.run(command(path, "--tasks-vision", package), capture_output=True, text=True, timeout=300)
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"keras-retina: {path}: expected a .tflite")
        assert told in line
