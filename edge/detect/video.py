"""Objects in a video or in front of a camera: capture, network and drawing side by side, in three threads."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from edge.detect.capture import Frame, Source
from edge.detect.lines import detection_line, open_lines
from edge.detect.tracker import Tracker
from edge.detect.video_file import Writer, video_path
from edge.runtime import Detections, Detector
from keras_retina.foundation.drawing import class_colour, draw_boxes
from keras_retina.foundation.files import make_folder

Item = TypeVar("Item")

WAKE_UP = 0.2  # seconds; a signal handler sets `stopped` but cannot wait for the lock to wake others
LAST_ITEM = 5.0  # seconds that a stage may take for the item it is at; a camera may hang for ever


class Ahead(Generic[Item]):
    """Iterates over `items` in a thread and hands them on in order, as a context manager that ends the thread.

    At most `size` items wait. When they do, the thread waits too; with `drop_old` it drops the oldest of them instead,
    for a camera, whose pictures must not grow old. An error in the thread is raised by the iteration, after the items
    before it. When `stopped` is set, which may be done by any thread or signal handler, the iteration ends.
    """

    def __init__(
        self, items: Iterable[Item], size: int, drop_old: bool = False, stopped: threading.Event | None = None
    ) -> None:
        self._items, self._size, self._drop_old = items, size, drop_old
        self._stopped = stopped or threading.Event()
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = self._left = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Ahead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._thread.join(LAST_ITEM)

    def __iter__(self) -> Iterator[Item]:
        while (item := self._next()) is not None:
            yield item

    def _over(self) -> bool:
        return self._left or self._stopped.is_set()

    def _next(self) -> Item | None:
        with self._changed:
            while not self._waiting and not self._ended and not self._over():
                self._changed.wait(WAKE_UP)
            if self._over():
                return None
            if self._waiting:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            if self._error:
                raise self._error
            return None

    def _work(self) -> None:
        items = iter(self._items)
        try:
            while not self._over() and (item := next(items, None)) is not None:
                if not self._put(item):
                    break
            if isinstance(items, Generator):
                items.close()  # here, so that what it opened is closed by the thread that used it
        except BaseException as error:  # raised again where the items are taken
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        with self._changed:
            while len(self._waiting) >= self._size and not self._drop_old and not self._over():
                self._changed.wait(WAKE_UP)
            if self._over():
                return False
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
            self._waiting.append(item)
            self._changed.notify_all()
            return True


AHEAD = 4  # frames that may wait between two threads
PROGRESS_EVERY = 2.0  # seconds
Found = tuple[Frame, Detections]


@dataclass(frozen=True)
class Watched:
    """What became of a video. `frames` were detected in and written; `last_index` counts those left out as well.

    `codec` is the FourCC of the written video, empty without a frame.
    """

    picture: Path
    codec: str
    frames: int
    last_index: int
    seconds: float
    stopped: bool

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
    progress: Callable[[str], None] | None = None,
    video: Path | None = None,
) -> Watched:
    """Detects in every frame until the source ends or Ctrl-C stops it, and writes the annotated video and the lines.

    Writes `<name>.webm` into `out_dir`, or `video`, with boxes, track numbers and the rate; and `detections.jsonl` (or
    to `json_lines`), one line a frame: `{"frame", "time", "detections": [{"label", "score", "box", "track"}]}`. Of a
    camera only the newest frame is kept while the network is busy; of a file none is left out. The first Ctrl-C (or
    a SIGTERM) finishes both files at the next frame.

    Raises:
        InputError: a file cannot be written, or would replace the video itself.
    """
    target = video_path(source, out_dir, named=video)
    make_folder(out_dir)
    make_folder(target.parent)
    tracker, start, written, last = Tracker(), time.perf_counter(), 0, -1
    told, size = start, 1 if source.live else AHEAD
    with (
        stopped_by_signal() as stopped,
        Ahead(source.frames(), size, source.live, stopped) as frames,
        Ahead(detections(detector, frames, score_threshold=score_threshold), size, stopped=stopped) as found,
        open_lines(json_lines, out_dir) as lines,
        Writer(target, source) as writer,
    ):
        for frame, objects in found:
            numbers = tracker.update(objects.boxes, objects.classes, frames=frame.index - last)
            written, last, now = written + 1, frame.index, time.perf_counter()
            rate = written / (now - start)
            writer.write(
                frame, annotated(frame.image, objects, class_names=detector.class_names, numbers=numbers), rate=rate
            )
            where = {"frame": frame.index, "time": round(frame.seconds, 4)}
            lines.write(detection_line(where, objects, class_names=detector.class_names, tracks=numbers.tolist()))
            if progress and now - told >= PROGRESS_EVERY:
                told = now
                progress(progress_line(written, source.frame_count, rate=rate))
    return Watched(target, writer.codec, written, last, time.perf_counter() - start, stopped.is_set())


def detections(detector: Detector, frames: Iterable[Frame], *, score_threshold: float) -> Iterator[Found]:
    """Yields each frame with what is in it."""
    for frame in frames:
        yield frame, detector.detect(frame.image, score_threshold)


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


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Lets the first Ctrl-C or SIGTERM set the event, and the second one do what it did before.

    Does nothing outside the main thread, where signals do not arrive.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_: object) -> None:
        stopped.set()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()
