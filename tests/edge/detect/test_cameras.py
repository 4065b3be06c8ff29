"""Cameras: their names, one that is not there, a test picture of FFmpeg's, and a Raspberry Pi's, simulated."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edge.detect import cameras
from edge.detect.cameras import camera_name, open_camera, open_picamera, picamera_number
from edge.detect.capture import SourceError
from keras_retina.foundation.errors import InputError

av = pytest.importorskip("av", reason="needs PyAV: pip install av")


def test_names_of_cameras(tmp_path, monkeypatch):
    names = {"camera:0": 0, "2": 2, "/dev/video1": "/dev/video1", "a.mp4": None, "camera:": None, "folder/1": None}
    assert {name: camera_name(name) for name in names} == names
    assert [picamera_number(name) for name in ("picamera2", "picamera2:1", "picamera", "camera:0")] == [
        0,
        1,
        None,
        None,
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").mkdir()
    assert camera_name("2") is None  # a folder of that name
    assert camera_name("camera:2") == 2


def test_a_camera_that_is_not_there_is_refused_with_one_line(capfd):
    for camera in (97, "/dev/video97"):
        with pytest.raises(InputError, match="97: expected a camera. Received: none that can be opened"):
            open_camera(camera, tell=print)
    assert capfd.readouterr().err == ""


def test_each_system_has_its_own_name_for_a_camera(monkeypatch):
    devices = [
        SimpleNamespace(description="Mic", media_types=["audio"]),
        SimpleNamespace(description="Cam", media_types=["video"]),
    ]
    monkeypatch.setattr(av, "enumerate_input_devices", lambda reader: devices)
    for system, expected in (
        ("Linux", ("/dev/video0", "v4l2")),
        ("Darwin", ("0", "avfoundation")),
        ("Windows", ("video=Cam", "dshow")),
    ):
        monkeypatch.setattr(cameras.platform, "system", lambda system=system: system)
        assert cameras.device_of(0) == expected
    with pytest.raises(InputError, match="camera:1: expected a camera"):
        open_camera(1, tell=print)
    assert cameras.device_of("/dev/video5") == ("/dev/video5", "v4l2")


def test_a_camera_gives_frames_until_it_is_unplugged(monkeypatch):
    """FFmpeg's test picture, five frames of it, opened and read as a device is."""
    monkeypatch.setattr(cameras, "device_of", lambda camera: ("testsrc=size=64x48:rate=20,trim=end_frame=5", "lavfi"))
    source = open_camera(0, tell=print)
    assert (source.live, source.endless, source.rate, source.title) == (True, True, 20.0, "camera")
    shapes = []
    with pytest.raises(SourceError, match=r"camera:0: expected pictures until Ctrl-C\. Received: 5, then none"):
        for frame in source.read(threading.Event()):
            shapes.append(frame.image.shape)
    assert shapes == [(48, 64, 3)] * 5


class Picamera2:
    """What `open_picamera` uses of picamera2; the fourth request fails, as that of an unplugged camera."""

    opened: list = []

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.taken, self.calls = 0, []
        self.opened.append(self)

    def create_video_configuration(self, main: dict) -> dict:
        assert main == {"format": "BGR888", "size": (640, 480)}
        return main

    def __getattr__(self, name: str):
        return lambda *given: self.calls.append(name)

    def capture_request(self):
        self.taken += 1
        if self.taken == 4:
            raise RuntimeError("camera frontend has timed out")
        began = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 30_000_000
        image = np.full((480, 640, 3), self.taken, np.uint8)
        return SimpleNamespace(
            make_array=lambda stream: image, get_metadata=lambda: {"SensorTimestamp": began}, release=lambda: None
        )


def test_frames_of_picamera2_are_as_old_as_their_sensor_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Picamera2))
    frames, ages = [], []
    with pytest.raises(SourceError, match="picamera2:0: expected pictures until Ctrl-C. Received: 3, then none"):
        for frame in open_picamera(0).read(threading.Event()):
            frames.append(frame)
            ages.append(time.perf_counter() - frame.arrived)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 3]
    assert min(ages) >= 0.03
    assert Picamera2.opened[-1].calls == ["configure", "start", "stop", "close"]
    with pytest.raises(InputError, match="picamera2:1: expected a camera. Received: list index"):
        open_picamera(1)


def test_a_machine_without_picamera2_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(InputError, match="sudo apt install python3-picamera2"):
        open_picamera(0)
