"""Objects in a video, a stream or before a camera: capture, network and recording side by side, in three threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from edge.detect.ahead import Ahead, stopped_by_signal
from edge.detect.capture import Frame, Source, SourceError
from edge.detect.events import Events
from edge.detect.lines import Latencies, detection_line, open_lines
from edge.detect.mqtt import publisher
from edge.detect.tracker import Tracker
from edge.detect.video_file import Writer, video_path
from edge.runtime import Detections, Detector
from keras_retina.foundation.drawing import class_colour, draw_boxes
from keras_retina.foundation.files.writing import make_folder

AHEAD = 4  # frames that may wait between two threads
PROGRESS_EVERY = 2.0  # seconds
EVENTS = "events"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Recording:
    """What is kept of the annotated pictures: a file, or in `folder` a file for each stretch with detections.

    Neither of them: nothing.
    """

    file: Path | None = None
    folder: Path | None = None
    title: str = ""

    def path(self, event: int) -> Path | None:
        """Returns the file of a frame in event `event`, or None: the frame is not kept."""
        if self.folder is None:
            return self.file
        return self.folder / f"{self.title}_{event:04d}.webm" if event else None


@dataclass(frozen=True)
class Seen:
    """A frame with what is in it. `numbers`, int `[N]`, are the tracks of the N objects; `event` is 0 outside of one.

    `rate`: frames a second so far.
    """

    frame: Frame
    found: Detections
    numbers: np.ndarray
    event: int
    rate: float


@dataclass
class Watched:
    """What became of a video. `frames` were detected in, `recorded` of them written; `last_index` counts all.

    `recordings` are the files, `codecs` the encoders that were taken; `latencies` those of a live source; `broken` is
    why it ended before its time.
    """

    frames: int = 0
    last_index: int = -1
    recorded: int = 0
    seconds: float = 0.0
    stopped: bool = False
    events: int = 0
    recordings: list[Path] = field(default_factory=list)
    codecs: set[str] = field(default_factory=set)
    latencies: Latencies = field(default_factory=Latencies)
    broken: SourceError | None = None

    @property
    def rate(self) -> float:
        """Frames a second, from the first frame asked for to the last one written."""
        return self.frames / self.seconds if self.seconds else 0.0


def watch(
    detector: Detector,
    source: Source,
    *,
    out_dir: Path,
    score_threshold: float,
    json_lines: str | None = None,
    record: str | None = None,
    every: int = 1,
    mqtt: str | None = None,
    tell: Tell = lambda text: None,
    progress: Tell | None = None,
) -> Watched:
    """Detects in every frame until the source ends or Ctrl-C stops it, and writes the lines and the annotated video.

    Writes `detections.jsonl` (or to `json_lines`), one line a frame: `{"frame", "time", "height", "width",
    "detections": [{"label", "score", "box", "track"}]}`, and of a live source `latency_ms`, from when the frame was
    received until its line is written; and `<title>.webm` into `out_dir`, or what `record` says: a file, `none`, or
    `events`, a file for each stretch with detections, whose number is then in the lines as `event`.

    Of a live source only the newest frame is kept while the network is busy, and pictures that are drawn and encoded
    too slowly are left out of the recording; of a film none is left out. `every`: of so many frames one is looked at.
    `mqtt`: a broker and topic that get the lines too. The first Ctrl-C (or a SIGTERM) finishes the files.

    Raises:
        InputError: a file cannot be written, or would replace the video itself; the broker cannot be reached.
    """
    recording = recording_of(source, out_dir, record=record)
    watched, start = Watched(), time.perf_counter()
    told, size = start, 1 if source.live else AHEAD
    with (
        stopped_by_signal() as stopped,
        publisher(mqtt, tell=tell) as publish,
        open_lines(json_lines, out_dir) as lines,
        Ahead(one_in(every, source.read(stopped)), size, source.live, stopped) as frames,
        Ahead(
            seen(
                detector, source, frames, watched=watched, score_threshold=score_threshold, lines=lines,
                events=record == EVENTS, publish=publish, tell=tell,
            ),
            AHEAD, source.live, stopped,
        ) as pictures,
        Recorder(recording, source.rate / every, watched) as recorder,
    ):  # fmt: skip
        try:
            for one in pictures:
                recorder.write(one, detector.class_names)
                now = time.perf_counter()
                if progress and now - told >= PROGRESS_EVERY:
                    told = now
                    progress(progress_line(watched.frames, source.frame_count if every == 1 else None, rate=one.rate))
        except SourceError as error:
            watched.broken = error
    watched.seconds, watched.stopped = time.perf_counter() - start, stopped.is_set()
    return watched


def recording_of(source: Source, out_dir: Path, *, record: str | None) -> Recording:
    """Returns what `--record` asks for, and makes the folders.

    Raises:
        InputError: it would replace the video itself, is no kind of video, or a folder cannot be made.
    """
    if record == "none":
        return Recording()
    if record == EVENTS:
        video_path(source, out_dir)  # refuses an `out_dir` that is a file
        make_folder(out_dir / EVENTS)
        return Recording(folder=out_dir / EVENTS, title=source.title)
    target = video_path(source, out_dir, named=None if record is None else Path(record))
    make_folder(out_dir)
    make_folder(target.parent)
    return Recording(file=target)


def one_in(every: int, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yields the first of every `every` frames."""
    for frame in frames:
        if frame.index % every == 0:
            yield frame


def seen(
    detector: Detector,
    source: Source,
    frames: Iterable[Frame],
    *,
    watched: Watched,
    score_threshold: float,
    lines: TextIO,
    events: bool,
    publish: Tell,
    tell: Tell,
) -> Iterator[Seen]:
    """Detects in each frame, follows the objects, and writes and publishes its line before anything is drawn.

    Counts in `watched`. `events`: numbers the stretches with detections in the lines.
    """
    tracker, stretches, start = Tracker(), Events(), time.perf_counter()
    size = None
    for frame in frames:
        height, width = frame.image.shape[:2]
        if size not in (None, (height, width)):
            tell(f"{source.name}: the picture is now {width} x {height} pixels; boxes are in these from here on")
        size = height, width
        found = detector.detect(frame.image, score_threshold)
        numbers = tracker.update(found.boxes, found.classes, frames=frame.index - watched.last_index)
        where = {"frame": frame.index, "time": round(frame.seconds, 4), "height": height, "width": width}
        event = stretches.update(frame.seconds, len(found.scores) > 0) if events else 0
        if event:
            where["event"] = event
        if source.live:
            latency = 1000 * (time.perf_counter() - frame.arrived)
            watched.latencies.add(latency)
            where["latency_ms"] = round(latency, 1)
        line = detection_line(where, found, class_names=detector.class_names, tracks=numbers.tolist())
        lines.write(line)
        lines.flush()
        publish(line)
        watched.frames, watched.last_index, watched.events = watched.frames + 1, frame.index, stretches.count
        yield Seen(frame, found, numbers, event, watched.frames / (time.perf_counter() - start))


class Recorder:
    """Draws and writes the frames that a recording keeps, a file after the other."""

    def __init__(self, recording: Recording, rate: float, watched: Watched) -> None:
        self._recording, self._rate, self._watched = recording, rate, watched
        self._writer: Writer | None = None
        self._path: Path | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, one: Seen, class_names: tuple[str, ...]) -> None:
        """Writes a frame with boxes, track numbers and the rate."""
        path = self._recording.path(one.event)
        if path != self._path:
            self._close()
            self._path = path
        if path is None:
            return
        if self._writer is None:
            self._writer = Writer(path, self._rate)
            self._watched.recordings.append(path)
        picture = annotated(one.frame.image, one.found, class_names=class_names, numbers=one.numbers)
        self._watched.recorded += self._writer.write(one.frame, picture, rate=one.rate)
        self._watched.codecs.add(self._writer.codec)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.__exit__()
            self._writer = None


def annotated(image: np.ndarray, found: Detections, *, class_names: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    """Returns a copy with boxes in the colour of their track and `#number label score`.

    `image` is uint8 RGB `[height, width, 3]`; `numbers`, int `[N]`, are the tracks of the N objects found.
    """
    labels = [f"#{number} {class_names[index]}" for number, index in zip(numbers, found.classes, strict=True)]
    return draw_boxes(
        image,
        found.boxes,
        labels=labels,
        scores=found.scores,
        colours=[class_colour(int(number)) for number in numbers],
    )


def progress_line(written: int, expected: int | None, *, rate: float) -> str:
    """Returns how far it is and how fast."""
    return f"frame {written}{f' of {expected}' if expected else ''}: {rate:.1f} frames/s"
