"""JSON lines: one line for each image or frame, with what was found in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from edge.runtime import Detections
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import make_folder

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
