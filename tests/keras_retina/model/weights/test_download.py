"""Weights that Keras has are downloaded whole or not at all, once, and a process takes what another one got."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import locks
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import kind_of
from keras_retina.model.weights import download, starts
from keras_retina.model.weights.download import downloaded, keras_cache
from keras_retina.model.weights.pretrained import pretrained_network
from keras_retina.model.weights.starts import STARTS, Start
from keras_retina.recipe.backbones import BACKBONE_STARTS
from keras_retina.recipe.model import Backbone

(START,) = STARTS["mobilenet_v1"]  # Keras knows no checksum of it
NAME = "mobilenet_2_5_224_tf_no_top.h5"
WITH_KERAS = [
    (name, start, alpha)
    for name, of_name in STARTS.items()
    for start in of_name
    if start.keras_file is not None
    for alpha in sorted({min(BACKBONE_STARTS[name][start.name]), max(BACKBONE_STARTS[name][start.name])})
]


class Server:
    """Serves one file under every name; of a request the first half at once, the rest when it is `let_go`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked, self.let_go = data, [], threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(server.data)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the client was killed
                    self.wfile.write(server.data[: len(server.data) // 2])
                    server.let_go.wait(60)
                    self.wfile.write(server.data[len(server.data) // 2 :])

            def log_message(self, *_) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def wait_until_asked(self, times: int = 1) -> None:
        deadline = time.monotonic() + 120
        while len(self.asked) < times and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.asked) == times


@pytest.fixture
def weights(tmp_path) -> bytes:
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["kernel"] = np.arange(100_000, dtype=np.float32)
    return (tmp_path / "any.h5").read_bytes()


@pytest.fixture
def server(weights, monkeypatch, tmp_path) -> Iterator[Server]:
    server = Server(weights)
    monkeypatch.setattr(starts, "KERAS_FILES", server.address)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield server
    server.let_go.set()
    server.http.shutdown()


def all_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def ask_for_it(count: int) -> tuple[list[threading.Thread], list[Path]]:
    """Asks for the file in so many threads, which locks tell apart as they do processes."""
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(downloaded(START, 0.25)), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, found


def test_of_several_one_downloads_and_the_others_take_what_is_there(server, tmp_path, weights):
    threads, found = ask_for_it(3)
    server.wait_until_asked()
    time.sleep(0.3)
    assert not (tmp_path / "home" / "models" / NAME).exists()  # half of it is there, under another name
    assert keras_cache(START, 0.25) is None
    server.let_go.set()
    for thread in threads:
        thread.join(60)
    assert found == [tmp_path / "home" / "models" / NAME] * 3
    assert found[0].read_bytes() == weights
    assert server.asked == [f"/mobilenet/{NAME}"]
    assert downloaded(START, 0.25) == keras_cache(START, 0.25) == found[0]
    assert all_files(tmp_path / "home") == {NAME}


def test_without_locks_each_downloads_for_itself_and_the_file_is_whole(server, tmp_path, weights, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    threads, found = ask_for_it(2)
    server.wait_until_asked(2)
    server.let_go.set()
    for thread in threads:
        thread.join(60)
    assert found == [tmp_path / "home" / "models" / NAME] * 2
    assert found[0].read_bytes() == weights
    assert all_files(tmp_path / "home") == {NAME}


KILLED = """
import sys
from keras_retina.model.weights import starts
starts.KERAS_FILES = sys.argv[1]
from keras_retina.model.weights.download import downloaded
downloaded(starts.STARTS["mobilenet_v1"][0], 0.25)
"""


def test_a_process_that_is_killed_leaves_no_part_under_the_name(server, tmp_path, weights):
    process = subprocess.Popen([sys.executable, "-c", KILLED, server.address], stdout=subprocess.DEVNULL)
    server.wait_until_asked()
    process.send_signal(signal.SIGKILL)
    process.wait()
    models = tmp_path / "home" / "models"
    assert not (models / NAME).exists()
    (part,) = models.glob(f".{NAME}.*.unfinished")
    server.let_go.set()
    assert downloaded(START, 0.25).read_bytes() == weights
    assert part.is_dir()  # it may be of another machine, which is at work
    (models / NAME).unlink()
    yesterday = time.time() - 2 * download.LEFT_OVER_SECONDS
    os.utime(part, (yesterday, yesterday))
    downloaded(START, 0.25)
    assert not part.exists()


def test_a_part_that_the_download_of_keras_left_is_replaced(server, tmp_path, weights):
    server.let_go.set()
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / NAME).write_bytes(weights[: len(weights) // 2])
    assert keras_cache(START, 0.25) is None
    assert downloaded(START, 0.25).read_bytes() == weights
    assert len(server.asked) == 1


def refusal(start: Start) -> str:
    with pytest.raises(InputError, match=r"^model\.backbone\.weights: .* could not be downloaded\.") as error:
        downloaded(start, 1.0)
    return str(error.value)


def test_what_is_not_the_file_is_refused_and_not_kept(server, tmp_path):
    server.let_go.set()
    assert "hash does not match" in refusal(STARTS["resnet50"][0])  # Keras knows its checksum
    server.data = b"<html>log in to this network</html>"
    assert "a damaged file from http://127.0.0.1" in refusal(START)
    assert all_files(tmp_path / "home") == set()


def test_a_download_that_fails_is_one_line_with_the_way_out(server, monkeypatch, tmp_path):
    monkeypatch.setattr(starts, "KERAS_FILES", "http://127.0.0.1:1")
    message = refusal(START)
    assert "URL fetch failure on http://127.0.0.1:1/mobilenet/mobilenet_1_0_224_tf_no_top.h5" in message
    assert "put mobilenet_v1_1.0_imagenet_notop.weights.h5 into the folder that KERAS_RETINA_WEIGHTS names." in message
    assert all_files(tmp_path / "home") == set()


def test_an_error_of_ours_is_no_download_that_failed(server, monkeypatch):
    def get_file(*_, **__):
        raise TypeError("ours")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(TypeError):
        downloaded(START, 0.25)


def test_where_home_cannot_be_written_it_is_kept_among_temporary_files(server, tmp_path, monkeypatch):
    server.let_go.set()
    (tmp_path / "home").touch()  # no folder can be made there
    kept = downloaded(START, 0.25)
    assert kept == tmp_path / "temporary" / ".keras" / "models" / NAME
    assert keras_cache(START, 0.25) == kept
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "home"))
    assert "home/models: Not a directory; " in refusal(START)


def test_weights_that_keras_does_not_have_are_in_no_cache(server):
    assert keras_cache(STARTS["efficientnet_lite0"][0], 1.0) is None
    refusal(STARTS["efficientnet_lite0"][0])


def test_a_backbone_begins_with_what_was_downloaded(server, tmp_path):
    settings = Backbone(alpha=0.35)
    network = kind_of(settings).build(settings, include_top=False, weights=None, input_shape=(224, 224, 3))
    network.save_weights(tmp_path / "published.h5")
    server.data = (tmp_path / "published.h5").read_bytes()
    server.let_go.set()
    pretrained = pretrained_network(settings, "imagenet")
    for one, same in zip(network.get_weights(), pretrained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert server.asked == ["/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"]


@pytest.mark.parametrize(
    ("name", "start", "alpha"), WITH_KERAS, ids=[f"{name}_{alpha}" for name, _, alpha in WITH_KERAS]
)
def test_name_address_and_checksum_are_those_of_keras(monkeypatch, name, start, alpha):
    """It fails when another Keras has moved a file."""

    class AskedError(Exception):
        pass

    def get_file(file, origin, **options):
        raise AskedError(file, origin, options.get("file_hash"))

    monkeypatch.setattr("tf_keras.src.utils.data_utils.get_file", get_file)
    settings = Backbone(name=name, alpha=alpha, weights=start.name)
    with pytest.raises(AskedError) as asked:
        kind_of(settings).build(settings, include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    file = start.keras_file
    assert asked.value.args == (file.name(alpha), file.url(alpha), file.md5.get(alpha))
