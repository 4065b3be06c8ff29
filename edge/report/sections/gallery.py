"""The same images for ground truth, float and int8 side by side, as JPEG data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edge.report.detections import (
    NO_BOXES,
    Boxes,
    Choice,
    choose_images,
    group_labels,
    group_results,
    match,
    matched,
    score_images,
)
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset
from keras_retina.foundation.drawing import PALETTE, class_colour, draw_boxes
from keras_retina.foundation.errors import InputError

LONG_SIDE = 560
JPEG_QUALITY = 78
LINE_WIDTH, FONT_SIZE = 2, 14
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Panel:
    """One drawn image: `caption` counts what is right and wrong, `alt` says it for a screen reader."""

    title: str
    slot: int | None
    uri: str
    width: int
    height: int
    caption: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """One row of the gallery; `problem` stands where the panels would be when the image cannot be read."""

    file_name: str
    reason: str
    panels: tuple[Panel, ...]
    problem: str


@dataclass(frozen=True)
class Shown:
    """Detections of one file and how it is called and coloured in the report."""

    title: str
    slot: int
    found: dict[int, Boxes]


def shown(title: str, slot: int, *, results: list[dict[str, Any]]) -> Shown:
    """Prepares the results list of one file for the gallery."""
    return Shown(title, slot, group_results(results))


def gallery(
    ground_truth: dict[str, Any],
    dataset: Dataset,
    *,
    files: Sequence[Shown],
    show_score: float,
    count: int = 6,
) -> list[Picture]:
    """Draws the chosen images.

    Args:
        files: the float file, then the int8 file if there is one.

    Returns:
        No pictures when the data set has none of the labelled images.
    """
    labels = group_labels(ground_truth)
    records = {record.image_id: record for record in dataset.records if record.image_id in labels}
    labels = {image_id: labels[image_id] for image_id in records}
    second = files[1] if len(files) > 1 else None
    scored = score_images(labels, files[0].found, second=second.found if second else None, show_score=show_score)
    names = {entry["id"]: str(entry["name"]) for entry in ground_truth["categories"]}
    pictures = []
    for choice in choose_images(scored, files[0].title, second=second.title if second else None, count=count):
        record = records[choice.image_id]
        try:
            pixels = read_image(record.path)
        except InputError as error:
            pictures.append(Picture(record.file_name, choice.reason, (), str(error)))
            continue
        panels = _panels(pixels, choice, truth=labels[choice.image_id], files=files, names=names, show_score=show_score)
        pictures.append(Picture(record.file_name, choice.reason, panels, ""))
    return pictures


def class_legend(ground_truth: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns (name, css colour) of every class, as drawn in the pictures."""
    return [
        (str(entry["name"]), "#{:02x}{:02x}{:02x}".format(*class_colour(index)))
        for index, entry in enumerate(ground_truth["categories"])
    ]


def _panels(
    pixels: np.ndarray,
    choice: Choice,
    *,
    truth: Boxes,
    files: Sequence[Shown],
    names: dict[int, str],
    show_score: float,
) -> tuple[Panel, ...]:
    thumb, scale = _thumb(pixels)
    objects = f"{len(truth)} labelled object" + ("" if len(truth) == 1 else "s")
    drawn = _draw(thumb, scale, found=truth, names=names, prefixes=[""] * len(truth), scores=None)
    panels = [_panel("Ground truth", None, drawn=drawn, found=truth, names=names, caption=objects)]
    reference = files[0].found.get(choice.image_id, NO_BOXES).above(show_score)
    for index, file in enumerate(files):
        found = file.found.get(choice.image_id, NO_BOXES).above(show_score)
        pairs = match(found, truth)
        right = int((pairs >= 0).sum())
        caption = f"{right} of {len(truth)} found, {len(found) - right} false"
        if index:
            caption += f"; {matched(found, reference)} of {len(reference)} as {files[0].title}"
        missed = truth.boxes[np.setdiff1d(np.arange(len(truth)), pairs)] * scale
        below = draw_boxes(
            thumb, missed, labels=[""] * len(missed), scores=None, colours=[BLACK] * len(missed), line_width=4
        )
        below = draw_boxes(
            below,
            missed,
            labels=["missed"] * len(missed),
            scores=None,
            colours=[WHITE] * len(missed),
            line_width=2,
            font_size=FONT_SIZE,
        )
        drawn = _draw(
            below,
            scale,
            found=found,
            names=names,
            prefixes=["" if pair >= 0 else "false" for pair in pairs],
            scores=found.scores,
        )
        panels.append(_panel(file.title, file.slot, drawn=drawn, found=found, names=names, caption=caption))
    return tuple(panels)


def _draw(
    thumb: np.ndarray,
    scale: float,
    *,
    found: Boxes,
    names: dict[int, str],
    prefixes: Sequence[str],
    scores: np.ndarray | None,
) -> np.ndarray:
    index_of = {category: index for index, category in enumerate(names)}
    colours = [class_colour(index_of.get(int(category), 0)) for category in found.categories]
    classes = [names.get(int(category), "unknown class") for category in found.categories]
    if len(names) <= len(PALETTE):  # the legend says it, and names would hide the objects
        classes = ["" for _ in classes]
    labels = [f"{prefix} {name}".strip() for prefix, name in zip(prefixes, classes, strict=True)]
    return draw_boxes(
        thumb,
        found.boxes * scale,
        labels=labels,
        scores=scores,
        colours=colours,
        line_width=LINE_WIDTH,
        font_size=FONT_SIZE,
    )


def _panel(
    title: str, slot: int | None, *, drawn: np.ndarray, found: Boxes, names: dict[int, str], caption: str
) -> Panel:
    counts = [
        f"{int((found.categories == category).sum())} {name}"
        for category, name in names.items()
        if (found.categories == category).any()
    ]
    alt = f"{title}: {', '.join(counts) or 'no boxes'}. {caption}."
    return Panel(title, slot, jpeg_uri(drawn), drawn.shape[1], drawn.shape[0], caption, alt)


def _thumb(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Scales to LONG_SIDE, up as well as down: boxes and scores need room in small images too."""
    height, width = pixels.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)), scale


def jpeg_uri(pixels: np.ndarray) -> str:
    """Returns a uint8 RGB image as a `data:` URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
