"""Boxes and labels on an image, with Pillow: for TensorBoard pictures, `detect` and the report."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Saturated mid-tones told apart on photographs, dark enough or light enough for one readable text colour each.
PALETTE: tuple[Colour, ...] = (
    (255, 99, 71),
    (46, 204, 113),
    (52, 152, 255),
    (255, 200, 40),
    (186, 104, 255),
    (0, 206, 209),
    (255, 105, 180),
    (154, 205, 50),
    (255, 140, 0),
    (120, 144, 255),
)


def class_colour(index: int) -> Colour:
    """Returns the colour of a class index, repeating after `len(PALETTE)` classes."""
    return PALETTE[index % len(PALETTE)]


def label_colour(label: str) -> Colour:
    """Returns a colour that depends on the text only, so that a class keeps it in every picture and every process."""
    return PALETTE[zlib.crc32(label.encode("utf-8", "surrogatepass")) % len(PALETTE)]


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    *,
    labels: Sequence[str],
    scores: Sequence[float] | np.ndarray | None = None,
    colours: Sequence[Colour] | None = None,
    line_width: int | None = None,
    font_size: int | None = None,
) -> np.ndarray:
    """Draws labelled boxes on a copy of an image, the highest score on top.

    Args:
        image: uint8 [height, width, 3], RGB.
        boxes: [n, 4], `[y1, x1, y2, x2]` in pixels of `image`. Parts outside the image are cut off; a box with a
            coordinate that is not finite (a diverged training) is not drawn.
        labels: n names; an empty one draws the box alone.
        scores: n values in 0..1, written behind the name in percent.
        colours: n RGB triples. Default: `label_colour` of each name.
        line_width: pixels. Default: grows with the image, 1 at 200 pixels.
        font_size: pixels. Default: grows with the image, 10 at 300 pixels.

    Returns:
        uint8 [height, width, 3]; `image` is not changed.

    Raises:
        ValueError: an array has another shape, length or type.
    """
    image = np.asarray(image)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4) if np.size(boxes) == 0 else np.asarray(boxes, np.float64)
    _check(image, boxes, labels=labels, scores=scores, colours=colours)
    height, width = image.shape[:2]
    line_width = line_width or max(1, round(max(height, width) / 260))
    font = ImageFont.load_default(size=font_size or max(10, round(max(height, width) / 38)))
    canvas = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(canvas)
    order = range(len(boxes)) if scores is None else np.argsort(np.asarray(scores, np.float64), kind="stable")
    drawable = [int(index) for index in order if np.isfinite(boxes[index]).all()]
    for index in drawable:
        colour = label_colour(labels[index]) if colours is None else colours[index]
        corners = _corners(boxes[index], height, width=width)
        draw.rectangle(corners, outline=tuple(colour), width=line_width)
        text = _caption(labels[index], None if scores is None else float(scores[index]))
        if text:
            _draw_caption(draw, text, corners=corners, colour=tuple(colour), font=font, width=width, height=height)
    return np.asarray(canvas, np.uint8).copy()


def _check(image, boxes, *, labels, scores, colours) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"draw_boxes expects a uint8 image [height, width, 3]. Received: image={image.dtype} {list(image.shape)}."
            " Convert it to 8-bit RGB first."
        )
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"draw_boxes expects boxes [n, 4]. Received: boxes={list(boxes.shape)}. Pass one row a box.")
    for name, values in (("labels", labels), ("scores", scores), ("colours", colours)):
        if values is not None and len(values) != len(boxes):
            raise ValueError(
                f"draw_boxes expects one entry a box in {name}. Received: {len(values)} {name} for {len(boxes)} boxes."
                " Pass sequences of the same length."
            )


def _corners(box: np.ndarray, height: int, *, width: int) -> list[int]:
    """Returns `[left, top, right, bottom]`, inclusive pixels inside the image, for coordinates in any order."""
    top, bottom = np.clip(np.sort(box[[0, 2]]), 0, height - 1)
    left, right = np.clip(np.sort(box[[1, 3]]), 0, width - 1)
    return [round(float(value)) for value in (left, top, right, bottom)]


def _caption(label: str, score: float | None) -> str:
    name = "".join(character if character.isprintable() else " " for character in label).strip()
    name = name if len(name) <= 24 else name[:23] + "…"
    percent = "" if score is None or not np.isfinite(score) else f"{100.0 * score:.0f}%"
    return f"{name} {percent}".strip()


def _draw_caption(
    draw, text: str, *, corners: list[int], colour: tuple[int, ...], font, width: int, height: int
) -> None:
    """Writes the text on a plate above the box, or inside its top edge where there is no room above."""
    left, top = corners[:2]
    box = draw.textbbox((0, 0), text, font=font)
    plate_width, plate_height = box[2] - box[0] + 4, box[3] - box[1] + 4
    x = int(max(0, min(left, width - plate_width)))
    y = int(top - plate_height if top >= plate_height else min(top, max(0, height - plate_height)))
    draw.rectangle([x, y, x + plate_width, y + plate_height], fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.text((x + 2 - box[0], y + 2 - box[1]), text, fill=(0, 0, 0) if luminance > 120 else (255, 255, 255), font=font)
