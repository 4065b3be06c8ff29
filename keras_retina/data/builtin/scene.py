"""One picture of the built-in set: background, clutter, objects that hide each other, and what a camera adds.

Labels: a box spans every pixel of its object inside the image, hidden by something in front or not (amodal, clipped to
the image). At least `1 - MOST_HIDDEN` of an object's own pixels can be seen; those outside the image count as hidden.
A placement that would break this for any object is given up, so every object that is drawn is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from keras_retina.data.builtin import shapes
from keras_retina.data.builtin.backdrop import (
    background,
    clutter,
    colour_against,
    soft_blob,
    uniform,
    value_noise,
    whole,
)
from keras_retina.data.builtin.shapes import CLASSES, Paint, Pose, Shape, Sprite

CLASS_SHARES = (0.45, 0.25, 0.15, 0.10, 0.05)  # in the order of builtin_shapes.CLASSES
SMALLEST, LARGEST = 8.0, 200.0  # longer side of a box, pixels
TINY_BELOW, TINY_SHARE = 20.0, 0.04  # a stride of 8 sees little of these: they are there, but they are few
TYPICAL_HUE_SHARE = 0.8  # of a class's objects, as cells are purple and cars are not; clutter has any colour
MOST_HIDDEN = 0.4
LEAST_CONTRAST = 45.0  # grey levels between an object's colour and the average behind it
CLUTTER_EACH = (1, 5)  # unlabelled things behind the objects, and again in front of them
MOST_BOX_IOU = 0.4  # above this, suppression of duplicates would remove right detections


@dataclass
class Layers:
    """The picture as painted so far, and which labelled object is in front at every pixel (-1: none)."""

    canvas: np.ndarray
    owner: np.ndarray
    full: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """A finished picture.

    Attributes:
        image: uint8 [height, width, 3].
        boxes: float32 [objects, 4], `[y1, x1, y2, x2]`, whole pixels.
        classes: int32 [objects], index into `builtin_shapes.CLASSES`.
        masks: bool [objects, height, width], the pixels of each object inside the image, hidden ones included.
        visible: float32 [objects], share of the object's pixels that can be seen, 1 - MOST_HIDDEN .. 1.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    visible: np.ndarray


def window(sprite: Sprite, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a sprite inside the image: slices of the image and slices of the sprite, of equal shape."""
    rows, columns = sprite.coverage.shape
    top, left = min(max(sprite.top, 0), height), min(max(sprite.left, 0), width)
    bottom, right = max(min(sprite.top + rows, height), top), max(min(sprite.left + columns, width), left)
    inner = slice(top - sprite.top, bottom - sprite.top), slice(left - sprite.left, right - sprite.left)
    return (slice(top, bottom), slice(left, right)), inner


def hides_too_much(layers: Layers, sprite: Sprite) -> bool:
    """Whether painting the sprite would hide more than `MOST_HIDDEN` of a labelled object that is there already."""
    outer, inner = window(sprite, *layers.owner.shape)
    under = layers.owner[outer][sprite.mask[inner]]
    for index, lost in enumerate(np.bincount(under[under >= 0], minlength=len(layers.full))):
        if lost and np.count_nonzero(layers.owner == index) - lost < (1.0 - MOST_HIDDEN) * layers.full[index]:
            return True
    return False


def put(layers: Layers, sprite: Sprite, owner: int = -1) -> None:
    """Paints a sprite in front of everything; `owner` is the index of the labelled object, -1 for clutter."""
    outer, inner = window(sprite, *layers.owner.shape)
    part = layers.canvas[outer]
    part += sprite.coverage[inner][..., None] * (sprite.colour[inner] - part)
    layers.owner[outer][sprite.mask[inner]] = owner


def box_of(mask: np.ndarray) -> np.ndarray:
    """The tight box of a mask, float32 `[y1, x1, y2, x2]`; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros(4, np.float32)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


def box_iou(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes with area."""
    overlap = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0.0, None).prod()
    return float(overlap / ((box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - overlap))


def paint_for(rng: np.random.Generator, shape: Shape, size: float, behind: np.ndarray) -> Paint:
    """Colours that stand out from the colour behind, most often near the hue of the class, and the class's texture."""
    hue = CLASSES.index(shape) / len(CLASSES) if rng.random() < TYPICAL_HUE_SHARE else None
    first = colour_against(rng, behind, LEAST_CONTRAST, hue)
    pattern: shapes.Field
    second, pattern = first, shapes.plain
    if shape is shapes.STRIPED_SQUARE:
        # At least about 4 pixels a period: finer stripes would only be seen as grey.
        second, pattern = colour_against(rng, first, 80.0), shapes.stripes(min(whole(rng, 2, 4), max(1, int(size / 6))))
    elif shape is shapes.DOTTED_DISC:
        second, pattern = colour_against(rng, first, 80.0), shapes.dots(max(uniform(rng, 0.42, 0.6), 8.0 / size))
    return Paint(first, second, pattern, uniform(rng, 0.0, 0.25), uniform(rng, 0, 2 * np.pi), uniform(rng, -0.1, 0.45))


def object_size(rng: np.random.Generator, largest: float) -> float:
    """The longer side of an object's box, pixels: few tiny ones, most of them mid-sized."""
    if rng.random() < TINY_SHARE:
        return uniform(rng, SMALLEST, TINY_BELOW)
    return float(TINY_BELOW * (largest / TINY_BELOW) ** ((rng.random() + rng.random()) / 2))


def position(rng: np.random.Generator, size: float, length: int) -> float:
    """A centre along one side of the image; objects from 40 pixels on may reach a little over the edge."""
    inset = 0.36 * size if size >= 40 else 0.5 * size + 1.0
    return uniform(rng, inset, length - inset)


def place_object(rng: np.random.Generator, layers: Layers, size: float) -> None:
    """Puts one labelled object in front, hiding no other too much; tries elsewhere, then smaller, then gives up."""
    height, width = layers.owner.shape
    label = int(np.searchsorted(np.cumsum(CLASS_SHARES)[:-1], rng.random(), side="right"))
    angle, squeeze, variation = uniform(rng, 0, 2 * np.pi), uniform(rng, 0.78, 1.0), float(rng.random())
    for attempt in range(40):
        size = max(0.85 * size, TINY_BELOW) if attempt % 8 == 7 and size > TINY_BELOW else size
        y, x = position(rng, size, height), position(rng, size, width)
        if layers.boxes and rng.random() < 0.35:  # lean on another object, or occlusion would be rare
            near, turn = layers.boxes[whole(rng, 0, len(layers.boxes) - 1)], uniform(rng, 0, 2 * np.pi)
            apart = 0.42 * (size + float((near[2:] - near[:2]).max()))
            y = min(max(float(near[0] + near[2]) / 2 + apart * np.sin(turn), 0.5 * size + 1), height - 0.5 * size - 1)
            x = min(max(float(near[1] + near[3]) / 2 + apart * np.cos(turn), 0.5 * size + 1), width - 0.5 * size - 1)
        top, left = max(int(y - size / 2), 0), max(int(x - size / 2), 0)
        behind = layers.canvas[top : int(y + size / 2) + 1, left : int(x + size / 2) + 1]
        paint = paint_for(rng, CLASSES[label], size, behind.mean(axis=(0, 1)))
        sprite = shapes.draw_shape(CLASSES[label], Pose(y, x, size, angle, squeeze, variation), paint)
        outer, inner = window(sprite, height, width)
        mask = np.zeros((height, width), bool)
        mask[outer] = sprite.mask[inner]
        box, full = box_of(mask), int(np.count_nonzero(sprite.mask))
        fits = SMALLEST <= (box[2:] - box[:2]).max() <= LARGEST and mask.sum() >= (1.0 - MOST_HIDDEN) * full
        if (
            not fits
            or any(box_iou(box, other) > MOST_BOX_IOU for other in layers.boxes)
            or hides_too_much(layers, sprite)
        ):
            continue
        put(layers, sprite, len(layers.full))
        layers.full.append(full)
        layers.boxes.append(box)
        layers.classes.append(label)
        layers.masks.append(mask)
        return


def place_clutter(rng: np.random.Generator, layers: Layers, count: int) -> None:
    """Puts unlabelled things in front, half of them near an object, none where it would hide an object too much."""
    height, width = layers.owner.shape
    for _ in range(count):
        for _ in range(6):
            y, x = uniform(rng, 0, height), uniform(rng, 0, width)
            if layers.boxes and rng.random() < 0.5:
                box = layers.boxes[whole(rng, 0, len(layers.boxes) - 1)]
                y, x = uniform(rng, float(box[0]), float(box[2])), uniform(rng, float(box[1]), float(box[3]))
            sprite = clutter(rng, y, x)
            if not hides_too_much(layers, sprite):
                put(layers, sprite)
                break


def blur(canvas: np.ndarray, side: float) -> np.ndarray:
    """Mixes each row with the two beside it, which get the weight `side` each; edge rows repeat themselves."""
    beside = np.float32(side) * canvas
    mixed = np.float32(1.0 - 2.0 * side) * canvas
    mixed[1:] += beside[:-1]
    mixed[:-1] += beside[1:]
    mixed[0] += beside[0]
    mixed[-1] += beside[-1]
    return mixed


def camera(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """A slight blur, uneven light and noise: float32 canvas to uint8 image."""
    height, width = canvas.shape[:2]
    side = uniform(rng, 0.0, 0.22)
    image = blur(blur(canvas, side).swapaxes(0, 1), side).swapaxes(0, 1)
    light = 0.12 * value_noise(rng, height, width, 0.6 * max(height, width)) + uniform(rng, 0.8, 1.15)
    image *= light.astype(np.float32)[..., None]
    strength = np.float32(2 * uniform(rng, 2.0, 9.0))
    grain = rng.random((height, width, 3), dtype=np.float32)
    grain *= strength
    image += grain
    image += 0.5 - strength / 2
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def draw_scene(rng: np.random.Generator, height: int, width: int, empty: bool) -> Scene:
    """Draws one picture with its labels: 2 to 9 objects (fewer if they do not fit), or only clutter if `empty`."""
    layers = Layers(background(rng, height, width), np.full((height, width), -1, np.int16))
    for _ in range(whole(rng, 0, 3)):
        put(layers, soft_blob(rng, uniform(rng, 0, height), uniform(rng, 0, width)))
    place_clutter(rng, layers, whole(rng, *CLUTTER_EACH))
    sizes = [] if empty else [object_size(rng, min(LARGEST, 0.8 * min(height, width))) for _ in range(whole(rng, 2, 9))]
    # Large objects go mostly to the back: the other way round they would find no place to be.
    for size in sorted(sizes, key=lambda size: -size * uniform(rng, 0.5, 2.0)):
        place_object(rng, layers, size)
    place_clutter(rng, layers, whole(rng, *CLUTTER_EACH))
    visible = [np.count_nonzero(layers.owner == index) / full for index, full in enumerate(layers.full)]
    return Scene(
        image=camera(rng, layers.canvas),
        boxes=np.array(layers.boxes, np.float32).reshape(-1, 4),
        classes=np.array(layers.classes, np.int32),
        masks=np.array(layers.masks, bool).reshape(-1, height, width),
        visible=np.array(visible, np.float32),
    )
