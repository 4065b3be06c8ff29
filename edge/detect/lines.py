"""JSON lines: one line for each image or frame, with what was found in it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from edge.runtime import Detections
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import make_folder

LINES = "detections.jsonl"


def detection_line(
    where: dict[str, Any], found: Detections, *, class_names: Sequence[str], tracks: Sequence[int] | None = None
) -> str:
    """Returns `where` and `"detections": [{"label", "score", "box": [y1, x1, y2, x2], "track"}]` as a line of JSON.

    Boxes are in pixels of the image; `track` only where there are tracks.
    """
    rows: list[dict[str, Any]] = [
        {
            "label": class_names[index],
            "score": round(float(score), 4),
            "box": [round(float(side), 2) for side in box],
        }
        for box, score, index in zip(found.boxes, found.scores, found.classes, strict=True)
    ]
    for row, number in zip(rows, tracks if tracks is not None else (), strict=tracks is not None):
        row["track"] = int(number)
    return json.dumps({**where, "detections": rows}) + "\n"


@contextmanager
def open_lines(target: str | None, out_dir: Path) -> Iterator[TextIO]:
    """Opens where the lines go: `-` is standard output, None `detections.jsonl` in `out_dir`, else a file.

    Raises:
        InputError: the file cannot be written.
    """
    if target == "-":
        yield sys.stdout
        return
    path = out_dir / LINES if target is None else Path(target)
    make_folder(path.parent)
    try:
        stream = path.open("w", encoding="utf-8", buffering=1)  # by the line: it can be followed while it grows
    except OSError as error:
        raise InputError(f"--json-lines: expected a file that can be written. Received: {error}.") from error
    with stream:
        yield stream


class Latencies:
    """How old lines were when they were written, in whole milliseconds: small however long a stream runs."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, milliseconds: float) -> None:
        """Counts one."""
        self._counts[round(milliseconds)] += 1

    def percentile(self, percent: float) -> int:
        """Returns the least latency in milliseconds that `percent` of 100 of them do not exceed (nearest rank).

        Raises:
            ValueError: there is none.
        """
        rank = max(1.0, self._counts.total() * percent / 100)
        seen = 0
        for milliseconds, count in sorted(self._counts.items()):
            seen += count
            if seen >= rank:
                return milliseconds
        raise ValueError("expected at least one latency. Received: none.")

    def summary(self) -> str:
        """Returns one line; an empty text without a latency."""
        if not self._counts:
            return ""
        half, most, longest = (self.percentile(percent) for percent in (50, 95, 100))
        return f"from frame to line: median {half} ms, 95 % within {most} ms, longest {longest} ms"
