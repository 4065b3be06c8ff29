"""`review.html` and `review.csv`: where a detector disagrees with the labels, the most suspicious first."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from edge.report.formatting import visible
from edge.report.sections.gallery import jpeg_uri
from keras_retina.data.images import read_image
from keras_retina.evaluate.review import SUSPICIOUS, Box, Line, Review
from keras_retina.evaluate.suspicion import KINDS, LEAST, Kind
from keras_retina.foundation.drawing import Colour, draw_boxes
from keras_retina.foundation.files.writing import make_folder, write_file
from keras_retina.foundation.machine import package_version

PAGE, TABLE = "review.html", "review.csv"
COLUMNS = (
    *("rank", "suspicion", "kind", "split", "file", "class", "found class", "confidence"),
    *(f"label {side}" for side in ("x1", "y1", "x2", "y2")),
    *(f"found {side}" for side in ("x1", "y1", "x2", "y2")),
    "where",
)
GREEN, RED, BLUE = (0, 200, 83), (255, 23, 68), (41, 121, 255)
LONG_SIDE = 320
PART = 8  # of the pictures belongs to each kind, so that no filter is empty
CONTEXT = 0.8  # of the longer side of the boxes, on every side of them
TITLES: dict[Kind, str] = {
    "missing_label": "Label missing?",
    "unfound_label": "Nothing found",
    "wrong_class": "Other class?",
    "loose_box": "Box off?",
}


@dataclass(frozen=True)
class Card:
    """One picture of the page."""

    rank: int
    line: Line
    title: str
    text: str
    uri: str
    width: int
    height: int


def write_review(
    folder: Path, review: Review, *, name: str, training_split: str, splits: Sequence[str], pictures: int
) -> tuple[Path, Path]:
    """Writes `review.html`, which loads nothing from elsewhere, and `review.csv`; returns their paths.

    Args:
        name: of the run.
        training_split: the detector has seen its labels, and the page says so.
        splits: that were reviewed.
        pictures: at most so many lines are shown, see `chosen`. The table has all.

    Raises:
        InputError: an image cannot be read, or a file cannot be written.
    """
    make_folder(folder)
    page, table = folder / PAGE, folder / TABLE
    write_file(table, table_text(review.lines).encode("utf-8", "surrogatepass"))
    context: dict[str, Any] = {
        "name": name,
        "review": review,
        "cards": [card(rank, review.lines[rank - 1]) for rank in chosen(review.lines, pictures)],
        "of_each": pictures // PART,
        "kinds": {kind: TITLES[kind] for kind in KINDS},
        "counts": Counter(line.kind for line in review.lines if line.score >= SUSPICIOUS),
        "splits": splits,
        "training_split": training_split if training_split in splits else None,
        "suspicious": SUSPICIOUS,
        "least": LEAST,
        "table": TABLE,
        "version": package_version(),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    text = environment.get_template("review.html.jinja").render(context)
    write_file(page, text.encode("utf-8", "xmlcharrefreplace"))
    return page, table


def chosen(lines: Sequence[Line], pictures: int) -> list[int]:
    """Returns the ranks, from 1, of the lines to show: the first ones, but an eighth of the pictures for each kind."""
    by_kind = [[rank for rank, line in enumerate(lines, start=1) if line.kind == kind] for kind in KINDS]
    kept = {rank for ranks in by_kind for rank in ranks[: pictures // PART]}
    others = [rank for rank in range(1, len(lines) + 1) if rank not in kept]
    return sorted(kept | set(others[: pictures - len(kept)]))


def table_text(lines: Sequence[Line]) -> str:
    """Returns all lines as CSV with the columns `COLUMNS`; boxes are in pixels of the upright image."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, line in enumerate(lines, start=1):
        writer.writerow(
            [
                *(rank, f"{line.score:.4f}", line.kind, line.split, line.record.file_name),
                *(line.label_class or "", line.found_class or ""),
                "" if line.confidence is None else f"{line.confidence:.3f}",
                *_corners(line.label_box),
                *_corners(line.found_box),
                str(line.record.path),
            ]
        )
    return buffer.getvalue()


def summary(review: Review, splits: Sequence[str]) -> dict[str, Any]:
    """Returns the counts as JSON: lines by kind, and for each class its labels and how many of them are suspicious."""
    strong = Counter(line.kind for line in review.lines if line.score >= SUSPICIOUS)
    return {
        "splits": list(splits),
        "labels": review.labels,
        "lines": len(review.lines),
        "suspicious_from": SUSPICIOUS,
        "suspicious": {kind: strong[kind] for kind in KINDS},
        "classes": {
            one.name: {
                "labels": one.labels,
                "suspicious": one.suspicious,
                "share": None if one.share is None else round(one.share, 4),
                "missing": one.missing,
            }
            for one in review.classes
        },
    }


def card(rank: int, line: Line) -> Card:
    """Draws one line: the label green, what was found red, other labels near it blue."""
    picture = close_up(read_image(line.record.path), line)
    return Card(rank, line, TITLES[line.kind], sentence(line), jpeg_uri(picture), picture.shape[1], picture.shape[0])


def sentence(line: Line) -> str:
    """Says what the picture shows."""
    sure = "" if line.confidence is None else f" ({100 * line.confidence:.0f} %)"
    if line.kind == "missing_label":
        return f"{line.found_class} found{sure}, not labelled"
    if line.kind == "unfound_label":
        return f"labelled {line.label_class}, hardly found"
    if line.kind == "wrong_class":
        return f"labelled {line.label_class}, found as {line.found_class}{sure}"
    return f"labelled {line.label_class}, found with another box{sure}"


def close_up(pixels: np.ndarray, line: Line) -> np.ndarray:
    """Cuts out the boxes of a line with what is around them, `LONG_SIDE` pixels long, and draws them."""
    height, width = pixels.shape[:2]
    top, left, bottom, right = _view(line, height=height, width=width)
    cut = pixels[top:bottom, left:right]
    scale = LONG_SIDE / max(cut.shape[:2])
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    canvas = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC))
    offset = np.array([top, left, top, left], np.float32)
    others = [box for box in line.record.boxes if not _is_same(box, line.label_box)]
    canvas = _draw(canvas, [(box - offset) * scale for box in others], colour=BLUE, width=2)
    for box, colour in ((line.label_box, GREEN), (line.found_box, RED)):
        if box is not None:
            canvas = _draw(canvas, [(np.array(box, np.float32) - offset) * scale], colour=colour, width=3)
    return canvas


def _draw(canvas: np.ndarray, boxes: Sequence[np.ndarray], *, colour: Colour, width: int) -> np.ndarray:
    height, across = canvas.shape[:2]
    inside = [box for box in boxes if box[2] > 0 and box[3] > 0 and box[0] < height and box[1] < across]
    stacked = np.array(inside, np.float32).reshape(-1, 4)
    labels, colours = [""] * len(inside), [colour] * len(inside)
    return draw_boxes(canvas, stacked, labels=labels, colours=colours, line_width=width)


def _view(line: Line, *, height: int, width: int) -> tuple[int, int, int, int]:
    boxes = np.array([box for box in (line.label_box, line.found_box) if box is not None], np.float32)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    around = CONTEXT * max(float((high - low).max()), 8.0)
    top, left = (int(max(0, value - around)) for value in low)
    bottom = int(min(height, np.ceil(high[0] + around)))
    right = int(min(width, np.ceil(high[1] + around)))
    return min(top, height - 1), min(left, width - 1), max(bottom, top + 1), max(right, left + 1)


def _is_same(box: np.ndarray, other: Box | None) -> bool:
    return other is not None and bool(np.abs(box - np.array(other, np.float32)).max() < 0.1)


def _corners(box: Box | None) -> tuple[float | str, ...]:
    if box is None:
        return "", "", "", ""
    y1, x1, y2, x2 = box
    return x1, y1, x2, y2
