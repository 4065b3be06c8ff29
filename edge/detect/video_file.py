"""The annotated video: a WebM that browsers and phones play, or what the ending of its name asks for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge.detect.capture import Frame, Source, import_av, reason_of
from keras_retina.foundation.errors import InputError, closest, printable

CODECS = {
    ".webm": ("libvpx",),
    ".mkv": ("libvpx",),
    **dict.fromkeys((".mp4", ".m4v", ".mov"), ("libx264", "mpeg4")),  # some builds of FFmpeg are without x264
    ".avi": ("mjpeg",),
}
"""Encoders for an ending; the first that this FFmpeg has is taken."""

IN_BROWSERS = ("libvpx", "libx264")

# Fast enough to write while a camera runs; the quality is what a person needs to see what was found. VP8 gets one
# thread: where other threads are busy, two of them were measured several times slower.
_OPTIONS = {
    "libvpx": {"deadline": "realtime", "cpu-used": "16", "crf": "24", "b": "4M", "threads": "1", "lag-in-frames": "0"},
    "libx264": {"preset": "ultrafast", "crf": "23", "movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "mpeg4": {"q": "4"},
    "mjpeg": {"q": "4"},
}
_TICKS = 1000  # a second; an .avi counts frames instead


class Writer:
    """A video with the times of its source, opened by the first frame; `codec` is then the encoder that was taken."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, Fraction(rate).limit_denominator(1000)
        self._per_second = float(rate) if path.suffix.lower() == ".avi" else _TICKS
        self._container: Any = None
        self._stream: Any = None
        self._first, self._last = 0.0, -1
        self.codec = ""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def write(self, frame: Frame, picture: np.ndarray, *, rate: float) -> bool:
        """Writes a frame at its time, with the rate in its corner; False: it is no later than the last, and left out.

        Args:
            picture: uint8 RGB `[height, width, 3]`; of another size than the first, it is scaled to that.
        """
        if self._container is None:
            self._open(picture)
            self._first = frame.seconds
        time = round((frame.seconds - self._first) * self._per_second)
        if time <= self._last:
            return False
        image = import_av().VideoFrame.from_ndarray(with_rate(picture, rate), format="rgb24")
        image.pts, image.time_base, self._last = time, self._stream.codec_context.time_base, time
        width, height = self._stream.width, self._stream.height
        try:
            self._container.mux(self._stream.encode(image.reformat(width, height, format=self._stream.pix_fmt)))
        except OSError as error:
            raise InputError(
                f"{printable(self._path)}: expected to go on writing a video. Received: {reason_of(error)}. "
                "See the free space."
            ) from error
        return True

    def _open(self, picture: np.ndarray) -> None:
        av = import_av()
        codecs = CODECS[self._path.suffix.lower()]
        self.codec = next((codec for codec in codecs if codec in av.codecs_available), codecs[-1])
        even = 1 if self.codec == "libvpx" else 2  # the others have half as many colours as pixels, in whole numbers
        height, width = (max(even, side // even * even) for side in picture.shape[:2])
        options = dict(_OPTIONS[self.codec])
        movie = {"movflags": options.pop("movflags")} if "movflags" in options else {}
        try:
            container = av.open(f"file:{self._path}", "w", options=movie)
            stream = container.add_stream(self.codec, rate=self._rate, options=options)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if self.codec == "mjpeg" else "yuv420p"
            by_frames = self._path.suffix.lower() == ".avi"
            stream.codec_context.time_base = 1 / self._rate if by_frames else Fraction(1, _TICKS)
            container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{printable(self._path)}: expected to write a video of {width} x {height} pixels. Received: "
                f"{reason_of(error)} ({self.codec}). Check the folder and the free space, or name another kind "
                "(--record NAME.avi)."
            ) from error
        self._container, self._stream = container, stream


def with_rate(picture: np.ndarray, rate: float) -> np.ndarray:
    """Returns a copy of uint8 RGB `[height, width, 3]` with frames a second in its lower left corner."""
    image = Image.fromarray(picture)
    place = (8, max(0, picture.shape[0] - 8))
    ImageDraw.Draw(image).text(
        place, f"{rate:.1f} frames/s", (255, 255, 255), ImageFont.load_default(14), "ls", stroke_width=2,
        stroke_fill=(0, 0, 0),
    )  # fmt: skip
    return np.asarray(image)


def video_path(source: Source, out_dir: Path, *, named: Path | None = None) -> Path:
    """Returns where the annotated video goes: where `named` says, else `<title>.webm` in `out_dir`.

    Raises:
        InputError: that is the video itself or no kind of video, or `out_dir` is a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--out: expected a folder. Received: {printable(out_dir)}, a file. Choose another name.")
    target = named or out_dir / f"{source.title}.webm"
    if target.suffix.lower() not in CODECS:
        raise InputError(
            f"--record: expected none, events, or a file that ends with {', '.join(CODECS)}. Received: "
            f"{printable(target)}. {closest(target.suffix.lower(), CODECS)}"
        )
    if source.path is not None and target.resolve() == source.path.resolve():
        option = "--out: expected another folder than that of" if named is None else "--record: expected another than"
        raise InputError(
            f"{option} the video. Received: {printable(target)}, which would be replaced. Choose another place."
        )
    return target
