"""Cameras of this machine: by the system (V4L2, AVFoundation, DirectShow), or by a Raspberry Pi's picamera2."""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.detect.capture import FALLBACK_RATE, Frame, Source, SourceError, frame_rate, import_av, reason_of
from edge.detect.live import read_live
from keras_retina.foundation.errors import InputError

PICAMERA_SIZE = (640, 480)  # width, height
SECOND = 1_000_000_000  # nanoseconds


def camera_name(text: str) -> int | str | None:
    """Returns the camera that `camera:0`, `0` or `/dev/video0` means; None if it is none."""
    numbered = re.fullmatch(r"(?:camera:)?(\d{1,3})", text)
    if numbered:
        return None if Path(text).exists() else int(numbered.group(1))
    return text if re.fullmatch(r"/dev/video\d+", text) else None


def picamera_number(text: str) -> int | None:
    """Returns the number of the camera that `picamera2` or `picamera2:1` means; None if it is none."""
    numbered = re.fullmatch(r"picamera2(?::(\d{1,3}))?", text)
    return int(numbered.group(1) or 0) if numbered and not Path(text).exists() else None


def open_camera(camera: int | str, *, tell: Callable[[str], None]) -> Source:
    """Opens a camera.

    Raises:
        InputError: PyAV is not installed, or the camera is not there or gives no picture.
    """
    av = import_av()
    name = f"camera:{camera}" if isinstance(camera, int) else camera
    try:
        file, form = device_of(camera)
        container = av.open(file, format=form)
    except (av.error.FFmpegError, OSError, LookupError) as error:
        raise InputError(
            f"{name}: expected a camera. Received: none that can be opened ({reason_of(error)}). Connect it, close "
            "other programs that use it, and see that this user may (on Linux: `ls -l /dev/video*`, group video). "
            "The camera of a Raspberry Pi: picamera2."
        ) from error
    rate = frame_rate(container.streams.best("video"))
    read = partial(read_live, container, name, connect=None, reconnect=0.0, tell=tell, endless=True)
    return Source(name, "camera", rate, read, live=True, endless=True)


def device_of(camera: int | str) -> tuple[str, str]:
    """Returns what FFmpeg calls a camera on this system, and the name of the reader that opens it.

    Raises:
        LookupError: there is no camera of that number (Windows).
    """
    if isinstance(camera, str):
        return camera, "v4l2"
    if platform.system() == "Darwin":
        return str(camera), "avfoundation"
    if platform.system() == "Windows":
        devices = [one for one in import_av().enumerate_input_devices("dshow") if "video" in one.media_types]
        return f"video={devices[camera].description}", "dshow"
    return f"/dev/video{camera}", "v4l2"


def open_picamera(number: int) -> Source:
    """Opens a camera of a Raspberry Pi through picamera2, at PICAMERA_SIZE.

    Raises:
        InputError: picamera2 cannot be imported, or there is no such camera.
    """
    name = f"picamera2:{number}"
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise InputError(
            f"{name}: expected picamera2. Received: {error}. Run: sudo apt install python3-picamera2, and make the "
            "environment with --system-site-packages."
        ) from error
    try:
        camera = Picamera2(number)
        # What libcamera calls BGR888 lies in memory as red, green, blue.
        camera.configure(camera.create_video_configuration({"format": "BGR888", "size": PICAMERA_SIZE}))
        camera.start()
    except (RuntimeError, IndexError, OSError) as error:
        raise InputError(f"{name}: expected a camera. Received: {error}. See `rpicam-hello --list-cameras`.") from error
    return Source(name, "camera", FALLBACK_RATE, partial(_read_picamera, camera, name), live=True, endless=True)


def _read_picamera(camera: Any, name: str, stopped: threading.Event) -> Iterator[Frame]:
    index, start = 0, 0.0
    try:
        while not stopped.is_set():
            request = camera.capture_request()
            try:
                image, taken = request.make_array("main"), request.get_metadata().get("SensorTimestamp")
            finally:
                request.release()
            arrived = time.perf_counter()
            if taken is not None:  # when the sensor began the picture, in nanoseconds since the machine started
                arrived -= max(0, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - taken) / SECOND
            start = start or arrived
            yield Frame(index, arrived - start, arrived, partial(np.asarray, image))
            index += 1
    except (RuntimeError, OSError) as error:
        raise SourceError(f"{name}: expected pictures until Ctrl-C. Received: {index}, then none ({error}).") from error
    finally:
        camera.stop()
        camera.close()
