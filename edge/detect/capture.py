"""Frames of a video, by PyAV, and what can be wrong with one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp"),
    *(".h264", ".264", ".h265", ".hevc", ".mjpeg", ".mjpg"),
)
FALLBACK_RATE = 15.0  # frames a second of a source that does not say
ENOUGH = 0.9  # share of the frames, or of the time, that makes a complete video: what containers say is often not exact
SLACK = 0.5  # seconds that may lack in any case


class SourceError(InputError):
    """A source ended before its time, or broke. What came before is finished and kept."""


@dataclass(frozen=True)
class Frame:
    """`index` counts from 0, also what is left out; `seconds` since the first frame.

    `arrived` is `time.perf_counter()` when the frame was received, still encoded; `picture` returns its pixels.
    """

    index: int
    seconds: float
    arrived: float
    picture: Callable[[], np.ndarray]

    @cached_property
    def image(self) -> np.ndarray:
        """uint8 RGB `[height, width, 3]`, converted when it is first asked for: many frames of a camera never are."""
        return self.picture()


@dataclass(frozen=True)
class Source:
    """An opened video, stream or camera.

    `name` is for people; `title` names what is written about it; `frame_count` is what a file says, or None; `rate` is
    in frames a second. `read` yields the frames until it ends or the event is set, and closes the source; it raises
    SourceError where more was to be expected. A `live` source does not wait for whoever reads it, an `endless` one has
    no end of its own.
    """

    name: str
    title: str
    rate: float
    read: Callable[[threading.Event], Iterator[Frame]]
    live: bool = False
    endless: bool = False
    frame_count: int | None = None
    path: Path | None = None


@dataclass
class Pictures:
    """Iterates over the decoded frames of a container, each with the time at which its bytes had been received.

    `damaged` counts what could not be decoded and was left out; `cut_off` tells that the container ended in the middle.
    """

    container: Any
    live: bool
    damaged: int = 0
    cut_off: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        av = import_av()
        stream = self.container.streams.best("video")
        # Threads that decode several frames at once hold back as many.
        stream.thread_type = "SLICE" if self.live else "AUTO"
        stream.codec_context.copy_opaque = True
        packets = self.container.demux(stream)
        while not self.stopped.is_set():
            try:
                packet = next(packets, None)
            except (av.error.EOFError, av.error.InvalidDataError):
                self.cut_off = True
                return
            if packet is None:
                return
            packet.opaque = time.perf_counter()
            if packet.size:  # the last one is empty; one that is damaged in the middle of a film is not its end
                self.cut_off = packet.is_corrupt
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            for frame in decoded:
                yield frame, frame.opaque or packet.opaque


def open_video(path: Path) -> Source:
    """Opens a video file.

    Raises:
        InputError: PyAV is not installed, there is no file, or it is no video that FFmpeg can open.
    """
    av = import_av()
    name = printable(path)
    if not path.is_file():
        raise InputError(f"{name}: expected a video file. Received: no such file. Correct the path.")
    try:
        container = av.open(f"file:{path}")  # so that `12:30.mp4` is no address
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{name}: expected a video. Received: {path.stat().st_size} bytes that cannot be opened as one "
            f"({reason_of(error)}); it may be cut off. Repair or convert the file (ffmpeg -i FILE fixed.mp4)."
        ) from error
    return film(container, name, title=path.stem, path=path)


def film(container: Any, name: str, *, title: str, path: Path | None = None) -> Source:
    """Returns an opened container that has an end as a source.

    Raises:
        InputError: there is no video in it.
    """
    stream = video_stream(container, name)
    rate, counted = frame_rate(stream), stream.frames or None
    duration = None if container.duration is None else container.duration / 1e6
    read = partial(_read_film, container, name, rate=rate, counted=counted, duration=duration)
    count = counted or (int(duration * rate) if duration else None)
    return Source(name, title, rate, read, frame_count=count, path=path)


def video_stream(container: Any, name: str) -> Any:
    """Returns the stream of pictures in an opened container.

    Raises:
        InputError: there is none; the container is closed.
    """
    stream = container.streams.best("video")
    if stream is None:
        kinds = ", ".join(sorted({str(one.type) for one in container.streams})) or "nothing that can be read"
        container.close()
        raise InputError(
            f"{name}: expected a video. Received: {kinds}, without pictures. Pass one with pictures, or repair it."
        )
    return stream


def frame_rate(stream: Any) -> float:
    """Returns frames a second of a stream, FALLBACK_RATE where it does not say or says what cannot be."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 1 <= rate < 1000 else FALLBACK_RATE


def _read_film(
    container: Any, name: str, stopped: threading.Event, *, rate: float, counted: int | None, duration: float | None
) -> Iterator[Frame]:
    pictures, converter, first, index = Pictures(container, False, stopped=stopped), reformatter(), None, 0
    seconds = 0.0
    try:
        for decoded, arrived in pictures:
            time_in_film = decoded.time if decoded.time is not None else index / rate
            first = time_in_film if first is None else first
            seconds = time_in_film - first
            yield Frame(index, seconds, arrived, partial(rgb_pixels, converter, decoded))
            index += 1
    finally:
        container.close()
    missing = missing_frames(
        index, counted=counted, seconds=seconds + 1 / rate, duration=duration, cut_off=pictures.cut_off
    )
    if missing and not stopped.is_set():
        raise SourceError(f"{name}: expected a complete video. Received: {missing}.")


def missing_frames(received: int, *, counted: int | None, seconds: float, duration: float | None, cut_off: bool) -> str:
    """Returns what is missing of a video that was read to its end, or an empty text.

    Args:
        counted: frames that its index names, or None: then only the time can tell.
        seconds: the end of its last frame.
        duration: how long it says that it is, or None.
        cut_off: it ended in the middle of a frame.
    """
    of_how_many = f"{received} of {counted} frames" if counted else f"{received} frames"
    if cut_off:
        return f"{of_how_many}, then the file ends in the middle"
    if counted and received < ENOUGH * counted:
        return f"{of_how_many}, the rest is not there or cannot be decoded"
    if not counted and received and duration and seconds < min(ENOUGH * duration, duration - SLACK):
        return f"{of_how_many}, {seconds:.1f} of {duration:.1f} s, the rest is not there or cannot be decoded"
    return "" if received else "no frame"


def reformatter() -> Any:
    """Returns what converts frames: one for all frames of a source, because setting one up costs as much as a frame."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def rgb_pixels(converter: Any, decoded: Any) -> np.ndarray:
    """Returns a decoded frame as uint8 RGB `[height, width, 3]`, upright as its film says that it is shown."""
    pixels = converter.reformat(decoded, format="rgb24", threads=1).to_ndarray()
    turns = round(decoded.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def reason_of(error: BaseException) -> str:
    """Returns what FFmpeg said, without the address, in which there may be a password."""
    return printable(getattr(error, "strerror", None) or type(error).__name__)


def import_av() -> Any:
    """Returns PyAV.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"expected PyAV, for videos, streams and cameras. Received: {error}. Run: pip install 'keras-retina[video]'"
        ) from error
    return av
