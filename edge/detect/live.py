"""Streams: an address in a network, and standard input. A cut stream is opened again; old frames are left to go."""

from __future__ import annotations

import base64
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from edge.detect.capture import (
    Frame,
    Pictures,
    Source,
    SourceError,
    film,
    frame_rate,
    import_av,
    reason_of,
    reformatter,
    rgb_pixels,
    video_stream,
)
from keras_retina.foundation.errors import InputError, closest, printable

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp")
FORMATS = ("mjpeg", "h264", "hevc", "mpegts")
"""What a stream without a name or a header may be told to be: names of FFmpeg's demuxers."""

PLAYLISTS = ("hls", "dash")

RECONNECT = 0.5  # seconds before each try to open a cut stream again
OPENING = 10.0  # seconds that opening may take
SILENCE = 5.0  # seconds without a byte after which a connection counts as cut
REMINDER = 60.0  # seconds between two lines about a stream that stays away

# FFmpeg looks at a stream before it gives out the first frame: here until it knows the codec, at most half a second.
# (Its `nobuffer` throws away what it looked at, and with it the key frame that the next seconds cannot do without.)
_LIVE = {"analyzeduration": "500000", "probesize": "1000000", "fpsprobesize": "0"}
_RTSP = {"rtsp_flags": "prefer_tcp", "reorder_queue_size": "0"}

Tell = Callable[[str], None]


def is_address(text: str) -> bool:
    """Tells whether a source is an address in a network, and not a path."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text) is not None


def shown_address(address: str) -> str:
    """Returns an address without user, password and query, in which cameras take passwords too.

    Where it cannot be parsed, all before the last @ is left out: a password with a slash looks like a path.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises what `urlsplit` lets pass
    except ValueError:
        scheme, _, rest = address.partition("://")
        return printable(f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}")
    return printable(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def open_address(address: str, *, tell: Tell, reconnect: float = RECONNECT, form: str | None = None) -> Source:
    """Opens a stream, or a video that lies behind an address.

    What has a length is a film: every frame is used, and it ends. Everything else is live, and opened again each
    `reconnect` seconds when it is cut or silent for SILENCE seconds; `tell` gets a line when it goes and when it is
    back.

    Raises:
        InputError: PyAV is not installed, nobody answers, or what answers is no video.
    """
    name = shown_address(address)
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError(
            f"{name}: expected an address such as rtsp://HOST/PATH. Received: one that cannot be parsed. Correct it; "
            "an IPv6 address stands in brackets, as in rtsp://[::1]/PATH."
        ) from error
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise InputError(
            f"{name}: expected an address of {', '.join(SCHEMES)}. Received: {printable(scheme)}. "
            f"{closest(scheme, SCHEMES)}"
        )
    connect = partial(_connect, address, name, form=form)
    container = connect()
    title = PurePosixPath(parts.path).stem or "stream"
    listed = container.format.name in PLAYLISTS  # its size is that of the list
    if container.duration or (scheme.startswith("http") and not listed and (container.size or 0) > 0):
        return film(container, name, title=title)
    stream = video_stream(container, name)
    read = partial(read_live, container, name, connect=connect, reconnect=reconnect, tell=tell)
    return Source(name, title, frame_rate(stream), read, live=True, endless=True)


def open_standard_input(form: str | None, *, tell: Tell) -> Source:
    """Opens a video on standard input; it ends when its writer does.

    Raises:
        InputError: PyAV is not installed, or what comes is no video.
    """
    av = import_av()
    try:
        container = av.open("pipe:0", format=form, options=dict(_LIVE))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"standard input: expected a video{f' of {form}' if form else ''}. Received: nothing of the kind "
            f"({reason_of(error)}). Say what it is: --input-format {', '.join(FORMATS)}."
        ) from error
    stream = video_stream(container, "standard input")
    read = partial(read_live, container, "standard input", connect=None, reconnect=0.0, tell=tell)
    return Source("standard input", "stdin", frame_rate(stream), read, live=True)


def read_live(
    container: Any,
    name: str,
    stopped: threading.Event,
    *,
    connect: Callable[[], Any] | None,
    reconnect: float,
    tell: Tell,
    endless: bool = False,
) -> Iterator[Frame]:
    """Yields the frames of an opened container as they come, and closes it.

    When it ends, `connect` opens it again; without `connect` that is the end, and an error where it is `endless`.

    Raises:
        SourceError: not one frame came, or an endless source without `connect` ended.
    """
    index, start, lost = 0, 0.0, None
    while container is not None:
        pictures, converter, reason = Pictures(container, True, stopped=stopped), reformatter(), "it ended"
        try:
            for decoded, arrived in pictures:
                if lost is not None:
                    tell(f"{name}: back after {arrived - lost:.1f} s")
                    lost = None
                start = start or arrived
                yield Frame(index, arrived - start, arrived, partial(rgb_pixels, converter, decoded))
                index += 1
        except (import_av().error.FFmpegError, OSError) as error:
            reason = _reason(error)
        finally:
            container.close()
        if stopped.is_set():
            return
        if not index:
            raise SourceError(f"{name}: expected pictures. Received: none ({reason}). See that the source sends.")
        if connect is None:
            if endless:
                raise SourceError(f"{name}: expected pictures until Ctrl-C. Received: {index}, then none ({reason}).")
            return
        if lost is None:
            lost = time.perf_counter()
            tell(f"{name}: cut off after {index} frames ({reason}); trying again every {reconnect:g} s")
        container = _connect_again(connect, stopped, lost=lost, name=name, reconnect=reconnect, tell=tell)


def _connect_again(
    connect: Callable[[], Any], stopped: threading.Event, *, lost: float, name: str, reconnect: float, tell: Tell
) -> Any:
    """Returns an opened container, or None when the event is set."""
    told = time.perf_counter()
    while not stopped.wait(reconnect):
        try:
            return connect()
        except InputError as error:
            now = time.perf_counter()
            if now - told >= REMINDER:
                told = now
                tell(f"{name}: still not back after {now - lost:.0f} s. {error}")
    return None


def _connect(address: str, name: str, *, form: str | None) -> Any:
    av = import_av()
    options = {**_LIVE, **(_RTSP if address.lower().startswith("rtsp") else {})}
    try:
        return av.open(address, format=form, options=options, timeout=(OPENING, SILENCE))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{name}: expected a video stream. Received: {_answer(address) or _reason(error)}. "
            "Open the address in a player (VLC, ffplay), and correct it."
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, import_av().error.ExitError):  # what its clock of OPENING and SILENCE raises
        return f"nothing came for {SILENCE:g} s"
    return reason_of(error)


def _answer(address: str) -> str:
    """Returns what a web server sends where it is no video, for example a page; empty where that is not known."""
    if not address.lower().startswith("http"):
        return ""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host, fragment="")))
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(unquote(user).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as answer:
            kind = str(answer.headers.get_content_type())
    except (OSError, HTTPException, ValueError):  # FFmpeg's reason is as good; ValueError: no name of a host
        return ""
    what = {"text/html": ", a web page", "application/json": ", data"}.get(kind, "")
    return f"{printable(kind)}{what}, which is no video that can be read"
