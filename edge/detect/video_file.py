"""The annotated video: a WebM that browsers and phones play, or what the ending of its name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge.detect.capture import Frame, Source, import_cv2
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.native_notes import native_notes_hidden

CODECS = {
    ".webm": ("VP80",),
    ".mkv": ("VP80",),
    **dict.fromkeys((".mp4", ".m4v", ".mov"), ("avc1", "mp4v")),  # OpenCV's wheels have no encoder for H.264
    ".avi": ("MJPG",),
}
"""FourCC of the codecs for an ending; the first that this OpenCV can write is taken."""

IN_BROWSERS = ("VP80", "avc1")


class Writer:
    """A video at the rate of its source, opened by the first frame; `codec` is then the one that was taken."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path, self._live, self._rate = path, source.live, source.rate
        self._video: Any = None
        self._size = (0, 0)
        self._written = 0
        self.codec = ""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._video is not None:
            self._video.release()

    def write(self, frame: Frame, picture: np.ndarray, *, rate: float) -> None:
        """Writes a frame with the rate in its corner; of a camera as often as its time in the file asks for.

        Args:
            picture: uint8 RGB `[height, width, 3]`.
        """
        cv2 = import_cv2()
        if self._video is None:
            self._open(picture)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        if bgr.shape[1::-1] != self._size:  # a stream may change; the file cannot
            bgr = cv2.resize(bgr, self._size)
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            place = (8, self._size[1] - 8)
            cv2.putText(bgr, f"{rate:.1f} frames/s", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
        for _ in range(copies(frame.seconds, self._rate, written=self._written) if self._live else 1):
            self._video.write(bgr)
            self._written += 1

    def _open(self, picture: np.ndarray) -> None:
        cv2 = import_cv2()
        self._size = (picture.shape[1], picture.shape[0])
        codecs = CODECS[self._path.suffix.lower()]
        for codec in codecs:
            with native_notes_hidden():  # OpenCV tells of WebM's missing tags and of encoders it tries
                code = cv2.VideoWriter_fourcc(*codec)
                self._video = cv2.VideoWriter(str(self._path), code, self._rate, self._size)
            if self._video.isOpened():
                self.codec = codec
                return
        raise InputError(
            f"{printable(self._path)}: expected to write a video of {self._size[0]} x {self._size[1]} pixels. "
            f"Received: a refusal of OpenCV ({' and '.join(codecs)}). Check the folder and the free space, or name "
            "another kind (--video NAME.avi)."
        )


def video_path(source: Source, out_dir: Path, *, named: Path | None = None) -> Path:
    """Returns where the annotated video goes: where `named` says, else `<name>.webm` in `out_dir`.

    Raises:
        InputError: that is the video itself or no kind of video, or `out_dir` is a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--out: expected a folder. Received: {printable(out_dir)}, a file. Choose another name.")
    target = named or out_dir / f"{'camera' if source.live else Path(source.name).stem}.webm"
    if target.suffix.lower() not in CODECS:
        raise InputError(
            f"--video: expected a file that ends with {', '.join(CODECS)}. Received: {printable(target)}. "
            f"{closest(target.suffix.lower(), CODECS)}"
        )
    if not source.live and target.resolve() == Path(source.name).resolve():
        option = "--out: expected another folder than that of" if named is None else "--video: expected another than"
        raise InputError(
            f"{option} the video. Received: {printable(target)}, which would be replaced. Choose another place."
        )
    return target


def copies(seconds: float, rate: float, *, written: int) -> int:
    """Returns how often a camera's frame is written so that the file lasts as long as what it shows."""
    return max(0, int(seconds * rate) + 1 - written)
