"""Boxes and labels on an image, with Pillow: for TensorBoard pictures, `detect` and the report."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_retina.foundation.captions import place_captions

Colour = tuple[int, int, int]

MINIMUM_FONT_SIZE = 10  # pixels

# In an order in which each is as far as it can be from those before it, for people with and without red-green weakness
# (distance in CIELAB); light enough for black letters, dark and strong enough to be seen on a photograph.
PALETTE: tuple[Colour, ...] = (
    (255, 90, 60),
    (0, 120, 255),
    (0, 255, 240),
    (225, 0, 210),
    (255, 225, 0),
    (195, 90, 120),
    (0, 255, 150),
    (105, 150, 75),
    (165, 255, 90),
    (240, 165, 255),
)


def class_colour(index: int) -> Colour:
    """Returns the colour of a class index, repeating after `len(PALETTE)` classes."""
    return PALETTE[index % len(PALETTE)]


def label_colours(labels: Sequence[str]) -> list[Colour]:
    """Returns a colour for each label where no class index is known, in one order of names as in any other.

    It depends on the text, so that a name mostly keeps its colour from picture to picture. Names whose colours would be
    the same get the next free ones, up to `len(PALETTE)` names.
    """
    taken: dict[str, int] = {}
    for name in sorted(set(labels)):
        first = zlib.crc32(name.encode("utf-8", "surrogatepass"))
        steps = (slot % len(PALETTE) for slot in range(first, first + len(PALETTE)))
        free = (slot for slot in steps if slot not in taken.values())
        taken[name] = next(free, first % len(PALETTE))
    return [PALETTE[taken[label]] for label in labels]


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
    """Draws labelled boxes on a copy of an image, the highest score on top, and each name where it covers no other.

    Args:
        image: uint8 [height, width, 3], RGB.
        boxes: [n, 4], `[y1, x1, y2, x2]` in pixels of `image`. Parts outside the image are cut off; a box with a
            coordinate that is not finite (a diverged training) is not drawn.
        labels: n names; an empty one draws the box alone.
        scores: n values in 0..1, written behind the name in percent.
        colours: n RGB triples. Default: `label_colours` of the names.
        line_width: pixels. Default: grows with the image, 1 at 200 pixels.
        font_size: pixels. Default: grows with the image, and is smaller where the boxes are.

    Returns:
        uint8 [height, width, 3]; `image` is not changed.

    Raises:
        ValueError: an array has another shape, length or type.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"draw_boxes expects a uint8 image [height, width, 3]. Received: image={image.dtype} {list(image.shape)}."
            " Convert it to 8-bit RGB first."
        )
    canvas = Image.fromarray(np.ascontiguousarray(image))
    draw_boxes_on(
        canvas, boxes, labels=labels, scores=scores, colours=colours, line_width=line_width, font_size=font_size
    )
    return np.array(canvas)


def draw_boxes_on(
    canvas: Image.Image,
    boxes: np.ndarray,
    *,
    labels: Sequence[str],
    scores: Sequence[float] | np.ndarray | None = None,
    colours: Sequence[Colour] | None = None,
    line_width: int | None = None,
    font_size: int | None = None,
) -> None:
    """Does what `draw_boxes` does, on an RGB picture itself: a large one has no room for copies."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4) if np.size(boxes) == 0 else np.asarray(boxes, np.float64)
    _check(boxes, labels=labels, scores=scores, colours=colours)
    width, height = canvas.size
    line_width = line_width or max(1, round(max(height, width) / 260))
    colours = label_colours(labels) if colours is None else colours
    draw = ImageDraw.Draw(canvas)
    order = _best_last(boxes, scores)
    drawable = [int(index) for index in order if np.isfinite(boxes[index]).all()]
    corners = {index: _corners(boxes[index], height, width=width) for index in drawable}
    for index in drawable:
        draw.rectangle(corners[index], outline=tuple(colours[index]), width=line_width)
    texts = {index: _caption(labels[index], None if scores is None else float(scores[index])) for index in drawable}
    named = [index for index in reversed(drawable) if texts[index]]
    placed = [np.array(corners[index])[[1, 0, 3, 2]] + [0, 0, 1, 1] for index in named]  # inclusive pixels to edges
    font = ImageFont.load_default(size=font_size or fitting_font_size(placed, height, width=width))
    plates = [_plate(draw, texts[index], font) for index in named]
    places = place_captions(np.array(placed), np.array(plates), height=height, width=width)
    for index, plate, place in reversed(list(zip(named, plates, places.tolist(), strict=True))):
        _draw_caption(draw, texts[index], place=place, plate=plate, colour=tuple(colours[index]), font=font)


def fitting_font_size(boxes: Sequence[np.ndarray], height: int, *, width: int) -> int:
    """Returns the font size in pixels for names beside boxes `[n, 4]`, y1, x1, y2, x2.

    It grows with the picture, which is shown at the size of a screen, and shrinks down to what can still be read there
    where the boxes are smaller than the names would be.
    """
    longer = max(height, width)
    largest, smallest = longer / 38, longer / 70
    if len(boxes):
        corners = np.array(boxes, np.float64)
        largest = min(largest, float(np.median(corners[:, 2:] - corners[:, :2])) / 3)
    return max(MINIMUM_FONT_SIZE, round(max(largest, smallest)))


def _best_last(boxes: np.ndarray, scores: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """Returns the order to draw in; without scores small boxes come last, whose names are understood only beside."""
    if scores is not None:
        return np.argsort(np.asarray(scores, np.float64), kind="stable")
    return np.argsort(-np.abs((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), kind="stable")


def _check(boxes, *, labels, scores, colours) -> None:
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


def _plate(draw: ImageDraw.ImageDraw, text: str, font: Any) -> tuple[int, int]:
    """Returns height and width of the plate that a text stands on; all texts of a font are equally high."""
    left, _, right, _ = draw.textbbox((0, 0), text, font=font)
    ascent, descent = font.getmetrics()
    return ascent + descent + 2, int(np.ceil(right - left)) + 6


def _draw_caption(
    draw: ImageDraw.ImageDraw, text: str, *, place: Sequence[int], plate: Sequence[int], colour: tuple, font: Any
) -> None:
    (y, x), (height, width) = place, plate
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    left = draw.textbbox((0, 0), text, font=font)[0]
    draw.text((x + 3 - left, y + 1), text, fill=(0, 0, 0) if luminance > 120 else (255, 255, 255), font=font)
