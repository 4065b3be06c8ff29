"""Streams of real servers on this machine: cut and back, silent, of another size, and what is none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge.detect import live
from edge.detect.capture import SourceError
from edge.detect.live import is_address, open_address, shown_address
from keras_retina.foundation.errors import InputError

pytest.importorskip("av", reason="needs PyAV: pip install av")
from streams import MjpegServer, RtspServer, number_in, numbered_picture

PATIENCE = 15.0  # seconds; only a test that fails waits so long


def read(source, frames: int, *, at=lambda index: None) -> list[int]:
    """Returns the numbers in so many pictures, and calls `at` with the index of each."""
    stopped, numbers = threading.Event(), []
    give_up = threading.Timer(PATIENCE, stopped.set)
    give_up.start()
    for frame in source.read(stopped):
        numbers.append(number_in(frame.image))
        at(frame.index)
        if len(numbers) == frames:
            stopped.set()
    give_up.cancel()
    return numbers


@pytest.mark.parametrize("server", [MjpegServer, RtspServer])
def test_a_stream_gives_its_pictures_in_order_and_is_back_after_a_cut(server):
    told = []
    with server() as running:
        source = open_address(running.address, tell=told.append, reconnect=0.2)
        assert (source.live, source.endless, source.frame_count) == (True, True, None)
        numbers = read(source, 40, at=lambda index: running.cut() if index == 5 else None)
    assert len(numbers) == 40
    assert numbers == sorted(set(numbers))
    assert [line.split(": ", 1)[1][:7] for line in told] == ["cut off", "back af"]
    assert "trying again every 0.2 s" in told[0]


def test_a_stream_that_goes_and_comes_at_the_same_place_is_found_again(monkeypatch):
    """The server itself is gone for a while; the port stays."""
    monkeypatch.setattr(live, "REMINDER", 0.1)
    told = []
    first = MjpegServer()
    port = int(first.address.rsplit(":", 1)[1].split("/")[0])
    again = []

    def restart(index: int) -> None:
        if index == 3:
            first.__exit__()
            timer = threading.Timer(0.6, lambda: again.append(MjpegServer(port=port).__enter__()))
            timer.start()

    first.__enter__()
    numbers = read(open_address(first.address, tell=told.append, reconnect=0.1), 8, at=restart)
    again[0].__exit__()
    assert len(numbers) == 8
    assert "cut off after " in told[0]
    assert any("still not back" in line and "Connection refused" in line for line in told[1:-1])
    assert "back after" in told[-1]


def test_a_connection_without_a_byte_counts_as_cut(monkeypatch):
    monkeypatch.setattr(live, "SILENCE", 0.5)
    told = []
    with MjpegServer() as running:

        def heard(text: str) -> None:
            told.append(text)
            running.silent = False

        source = open_address(running.address, tell=heard, reconnect=0.1)
        # Frames on their way still come after the silence begins: only `heard` ends it.
        numbers = read(source, 8, at=lambda index: setattr(running, "silent", True) if index == 3 else None)
    assert len(numbers) == 8
    assert "nothing came for 0.5 s" in told[0]


def test_the_event_ends_the_wait_for_a_stream_that_is_gone():
    running = MjpegServer().__enter__()
    source = open_address(running.address, tell=lambda text: stopped.set(), reconnect=PATIENCE)
    stopped, start = threading.Event(), time.perf_counter()
    for frame in source.read(stopped):
        if frame.index == 1:
            running.__exit__()
    assert time.perf_counter() - start < PATIENCE / 2


def test_a_picture_of_another_size_comes_as_it_is():
    shapes = []
    with MjpegServer(size=(120, 160)) as running:
        stopped = threading.Event()
        for frame in open_address(running.address, tell=print).read(stopped):
            shapes.append(frame.image.shape)
            running.size = (96, 128)
            if frame.image.shape == (96, 128, 3) or len(shapes) > 100:
                stopped.set()
    assert shapes[0] == (120, 160, 3)
    assert shapes[-1] == (96, 128, 3)


def test_a_raw_stream_in_a_connection_is_read_when_its_kind_is_said(make_film, tmp_path):
    film = make_film(
        tmp_path / "raw.h264", [numbered_picture(k, 96, width=128) for k in range(20)], "libx264", form="h264"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(film.read_bytes())
                time.sleep(0.3)  # the end comes when the pictures were read

        threading.Thread(target=send, daemon=True).start()
        source = open_address(f"tcp://127.0.0.1:{listening.getsockname()[1]}", tell=print, form="h264")
        assert read(source, 15) == list(range(15))


def test_a_film_behind_an_address_is_read_to_its_end(make_film, tmp_path):
    film = make_film(tmp_path / "film.mp4", [numbered_picture(k, 96, width=128) for k in range(12)], "libx264")
    with MjpegServer(film=film.read_bytes()) as running:
        source = open_address(running.address.replace("stream.mjpg", "film.mp4"), tell=print)
        assert (source.live, source.title, source.frame_count) == (False, "film", 12)
        assert read(source, 99) == list(range(12))


def test_what_is_no_stream_is_refused_with_one_line_and_without_the_password(capfd):
    with MjpegServer() as running:
        place = running.address.removeprefix("http://").removesuffix("/stream.mjpg")
        for address, said in (
            (f"http://me:secret@{place}/page.html", "text/html, a web page"),
            (f"http://me:secret@{place}/nothing?password=secret", "404"),
            ("rtsp://me:secret@127.0.0.1:9/x", "Connection refused"),
            ("htp://me:secret@camera/x", "Did you mean 'http'"),
        ):
            with pytest.raises(InputError, match=said) as caught:
                open_address(address, tell=print)
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "address", ["http://me:secret@[bad/x", "rtsp://[::1", "http://me:secret@a..b/x", f"http://{'a' * 70}.x/y"]
)
def test_an_address_that_is_none_is_one_line_without_the_password(address):
    with pytest.raises(InputError, match="expected a") as caught:
        open_address(address, tell=print)
    assert "secret" not in str(caught.value)


def test_a_server_that_promises_pictures_and_sends_none_is_an_error(monkeypatch):
    monkeypatch.setattr(live, "OPENING", 1.0)
    monkeypatch.setattr(live, "SILENCE", 0.5)
    with MjpegServer() as running:
        running.silent = True
        with pytest.raises((InputError, SourceError), match="Received: "):
            read(open_address(running.address, tell=print), 1)


def test_addresses_are_told_from_paths():
    assert all(is_address(text) for text in ("rtsp://a/b", "HTTP://a", "tcp://1.2.3.4:5"))
    assert not any(is_address(text) for text in ("a.mp4", "C:\\film.mp4", "C:/film.mp4", "/dev/video0", "a/b:c//d"))
    assert shown_address("rtsp://u:p@w@host:554/a?x=1#y") == "rtsp://host:554/a"
    assert shown_address("http://host/a@b") == "http://host/a@b"
    for password in ("p/w", "p#w", "p?w"):  # they should have been written as %2F, %23 and %3F
        assert shown_address(f"rtsp://u:{password}@host/a?x=1") == "rtsp://host/a"


@pytest.mark.parametrize(("ending", "codec"), [("mjpeg", "mjpeg"), ("h264", "libx264")])
@pytest.mark.parametrize("said", [True, False])
def test_standard_input_is_read_to_its_end(make_film, tmp_path, ending, codec, said):
    pictures = [numbered_picture(k, 96, width=128) for k in range(9)]
    film = make_film(tmp_path / f"raw.{ending}", pictures, codec, form=ending)
    code = (
        "import sys, threading; sys.path.append(sys.argv[1]); from streams import number_in\n"
        "from edge.detect.live import open_standard_input\n"
        "source = open_standard_input(sys.argv[2] or None, tell=print)\n"
        "print([number_in(frame.image) for frame in source.read(threading.Event())], source.live, source.endless)"
    )
    streams = Path(__file__).parents[3] / "benchmarks" / "files"
    with film.open("rb") as data:
        done = subprocess.run(
            [sys.executable, "-c", code, str(streams), ending if said else ""],
            stdin=data, capture_output=True, text=True, check=True, cwd=streams.parents[1], env=os.environ,
        )  # fmt: skip
    assert done.stdout.strip() == f"{list(range(9))} True False"


def test_standard_input_that_is_no_video_is_refused(tmp_path):
    code = (
        "from edge.detect.live import open_standard_input\n"
        "try:\n    open_standard_input(None, tell=print)\nexcept ValueError as error:\n    print(error)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], input="hello\n" * 99, capture_output=True, text=True, check=True, cwd=root
    )
    assert "standard input: expected a video. Received: nothing of the kind" in done.stdout
    assert "--input-format mjpeg, h264" in done.stdout


def test_the_number_of_a_picture_is_read_back():
    for number in (0, 1, 777, 65535):
        assert number_in(numbered_picture(number, 96, width=128)) == number
    assert not np.array_equal(numbered_picture(1, 96, width=128), numbered_picture(2, 96, width=128))
