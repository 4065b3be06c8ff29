"""Frames of a video file or a camera, by OpenCV, and what can be wrong with them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
FALLBACK_RATE = 15.0  # frames a second of a camera that does not say
ESTIMATE = 0.9  # share of the frames that a container without a frame count may lack: it is then guessed from the time


@dataclass(frozen=True)
class Frame:
    """`index` counts from 0, also what is left out; `seconds` since the first frame; `image` uint8 RGB `[h, w, 3]`."""

    index: int
    seconds: float
    image: np.ndarray


@dataclass(frozen=True)
class Source:
    """An opened video or camera. `name` is the path of a file; `frame_count` what it says, or None; `rate` a second."""

    name: str
    live: bool
    rate: float
    frame_count: int | None
    capture: Any

    def frames(self) -> Iterator[Frame]:
        """Yields the frames, and closes the source when it ends or the iteration is closed."""
        from_bgr = import_cv2().COLOR_BGR2RGB
        start = None
        try:
            index = 0
            while True:
                arrived, image = self.capture.read()
                if not arrived:
                    return
                now = time.perf_counter()
                start = now if start is None else start
                seconds = now - start if self.live else index / self.rate
                yield Frame(index, seconds, import_cv2().cvtColor(image, from_bgr))
                index += 1
        finally:
            self.capture.release()


def camera_name(text: str) -> int | str | None:
    """Returns the camera that `camera:0`, `0` or `/dev/video0` means, for OpenCV; None if it is a path."""
    numbered = re.fullmatch(r"(?:camera:)?(\d{1,3})", text)
    if numbered:
        return None if Path(text).exists() else int(numbered.group(1))
    return text if re.fullmatch(r"/dev/video\d+", text) else None


def open_camera(camera: int | str) -> Source:
    """Opens a camera.

    Raises:
        InputError: OpenCV is not installed, or the camera is not there or gives no picture.
    """
    cv2 = import_cv2()
    name = f"camera:{camera}" if isinstance(camera, int) else camera
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise InputError(
            f"{name}: expected a camera. Received: none that can be opened. Connect it, close other programs that use "
            "it, and see that this user may (on Linux: `ls -l /dev/video*`, group video)."
        )
    rate = capture.get(cv2.CAP_PROP_FPS)
    return Source(name, True, rate if 1 <= rate <= 240 else FALLBACK_RATE, None, capture)


def open_video(path: Path) -> Source:
    """Opens a video file.

    Raises:
        InputError: OpenCV is not installed, there is no file, or it is no video that OpenCV's FFmpeg can open.
    """
    cv2 = import_cv2()
    name = printable(path)
    if not path.is_file():
        raise InputError(f"{name}: expected a video file. Received: no such file. Correct the path.")
    # The other readers of a file complain on standard error whatever the level is.
    reader = cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY
    capture = cv2.VideoCapture(str(path), reader)
    if not capture.isOpened():
        cut = " that ends too early" if is_cut_off(path) else ""
        raise InputError(
            f"{name}: expected a video. Received: {path.stat().st_size} bytes{cut} that cannot be opened as one. "
            "Repair or convert the file (ffmpeg -i FILE fixed.mp4)."
        )
    rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return Source(str(path), False, rate if 0 < rate < 1000 else FALLBACK_RATE, count if count > 0 else None, capture)


def missing_frames(path: Path, received: int, *, expected: int | None) -> str:
    """Returns what is missing of a video that was read to its end, or an empty text."""
    of_how_many = f"{received} of {expected} frames" if expected else f"{received} frames"
    if is_cut_off(path):
        return f"{of_how_many}, then the file ends in the middle"
    if expected and received < ESTIMATE * expected:
        return f"{of_how_many}, the rest cannot be decoded"
    return "" if received else "no frame"


def is_cut_off(path: Path) -> bool:
    """Tells from the lengths of its parts that an AVI or MP4/MOV file is incomplete; False for other containers.

    OpenCV says nothing: FFmpeg decodes the frames there are, and half of the last one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        avi, mp4 = start[:4] == b"RIFF" and start[8:] == b"AVI ", start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide")
        position = 0
        while (avi or mp4) and position < size:
            file.seek(position)
            length = _part_length(file.read(16), avi)
            if length is None:
                return False
            position += length
    return position > size


def _part_length(header: bytes, avi: bool) -> int | None:
    """Returns the length of the part that begins so, header included; None if it reaches to the end or is unknown."""
    if len(header) < 8:
        return None
    if avi:
        length = int.from_bytes(header[4:8], "little") + 8
        return length + length % 2
    length = int.from_bytes(header[:4], "big")
    if length == 1:
        length = int.from_bytes(header[8:16], "big")
    return length if length >= 8 else None


def import_cv2() -> Any:
    """Returns OpenCV, told to keep its own and FFmpeg's complaints to itself: ours are one line.

    Raises:
        InputError: it cannot be imported.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"expected OpenCV, for videos and cameras. Received: {error}. Run: pip install 'keras-retina[video]' "
            "(libGL missing, as on a server: pip install opencv-python-headless instead)."
        ) from error
    if "OPENCV_LOG_LEVEL" not in os.environ:  # read at import only, and somebody else may have imported it
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
