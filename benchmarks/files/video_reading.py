"""Reading a film with PyAV against OpenCV: decoding and conversion to RGB, in turns, on films that are drawn here.

    pip install opencv-contrib-python
    python benchmarks/files/video_reading.py [--rounds 7] [--frames 600]

Prints JSON: for each film the milliseconds a frame of each reader, median and fastest of the rounds, its processor time
(median), and the medians of the rounds' ratios of both. In every round the readers take turns, so that a busy machine
slows both alike. A film is read from opening it to its end, as `keras-retina detect` does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
from streams import numbered_picture

from edge.detect.capture import open_video
from keras_retina.foundation.machine import machine_name

FILMS = {  # name: encoder, height, width, share of the frames
    "h264_480.mp4": ("libx264", 480, 640, 1.0),
    "h264_1080.mp4": ("libx264", 1080, 1920, 0.25),
    "mpeg4_480.mp4": ("mpeg4", 480, 640, 1.0),
    "mjpeg_480.avi": ("mjpeg", 480, 640, 1.0),
    "vp8_480.webm": ("libvpx", 480, 640, 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=600)
    arguments = parser.parse_args()
    result: dict[str, object] = {
        "machine": machine_name(),
        "av": av.__version__,
        "opencv": cv2.__version__,
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, height, width, share) in FILMS.items():
            path, frames = Path(folder) / name, round(arguments.frames * share)
            write_film(path, codec, height=height, width=width, frames=frames)
            result[name] = compare(path, frames, rounds=arguments.rounds)
    print(json.dumps(result, indent=1))


def write_film(path: Path, codec: str, *, height: int, width: int, frames: int) -> None:
    """Draws a film of moving numbered pictures at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"libx264": {"preset": "veryfast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}.get(
            codec, {"q": "4"}
        )
        pictures = [
            av.VideoFrame.from_ndarray(numbered_picture(number, height, width=width), format="rgb24")
            for number in range(50)
        ]
        for number in range(frames):
            picture = pictures[number % 50]
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def by_pyav(path: Path) -> int:
    """Reads a film as the package does; returns how many frames there are."""
    return sum(frame.image.ndim == 3 for frame in open_video(path).read(threading.Event()))


def by_opencv(path: Path) -> int:
    """Reads a film with OpenCV's FFmpeg and turns its BGR into RGB."""
    capture, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
    while True:
        arrived, picture = capture.read()
        if not arrived:
            capture.release()
            return count
        count += cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).ndim == 3


def compare(path: Path, frames: int, *, rounds: int) -> dict[str, object]:
    """Returns milliseconds a frame of both readers."""
    readers: dict[str, Callable[[Path], int]] = {"pyav": by_pyav, "opencv": by_opencv}
    times: dict[str, list[float]] = {name: [] for name in readers}
    used: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds + 1):
        for name in sorted(readers, reverse=turn % 2 == 0):
            start, processor = time.perf_counter(), time.process_time()
            if (count := readers[name](path)) != frames:
                raise RuntimeError(f"{path.name}: expected {frames} frames. Received: {name}={count}.")
            if turn:  # the first is warm-up
                times[name].append(1000 * (time.perf_counter() - start) / frames)
                used[name].append(1000 * (time.process_time() - processor) / frames)
    return {
        "frames": frames,
        **{name: {"median": round(statistics.median(each), 3), "fastest": round(min(each), 3),
                  "processor": round(statistics.median(used[name]), 3)} for name, each in times.items()},
        "pyav_of_opencv": ratio(times), "pyav_of_opencv_processor": ratio(used),
    }  # fmt: skip


def ratio(values: dict[str, list[float]]) -> float:
    """Returns the median of what PyAV took of OpenCV's, round by round."""
    return round(statistics.median(a / b for a, b in zip(values["pyav"], values["opencv"], strict=True)), 2)


if __name__ == "__main__":
    main()
