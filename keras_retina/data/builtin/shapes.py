"""The shapes of the built-in set: signed distances turned into antialiased, shaded, textured sprites.

Everything is NumPy arithmetic on pixel centres, so a sprite does not depend on a drawing library or on the processor.
Unit coordinates `u, v` have the shape's centre at 0 and its outermost point at distance about 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Field = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Sprite:
    """A small picture with transparency: `coverage` [h, w] in 0..1 and `colour` [h, w, 3] in 0..255, both float32.

    `top` and `left` are the image pixel of element [0, 0]; any part of a sprite may lie outside the image.
    """

    top: int
    left: int
    coverage: np.ndarray
    colour: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The pixels that belong to the shape (bool [h, w]): those it covers at least half."""
        return self.coverage >= 0.5


@dataclass(frozen=True)
class Shape:
    """A name, a signed distance `(u, v, variation)` (negative inside) and the points [2, n] that reach furthest out."""

    name: str
    distance: Field
    reach: np.ndarray


@dataclass(frozen=True)
class Pose:
    """Where and how a shape is drawn.

    Attributes:
        y, x: the centre, pixels of the image.
        size: the longer side of the upright box, pixels.
        angle: radians, clockwise on the screen.
        squeeze: the shape's own height / width, 0..1.
        variation: 0..1, the proportions within a class: the width of a ring, the depth of a star.
    """

    y: float
    x: float
    size: float
    angle: float
    squeeze: float
    variation: float


@dataclass(frozen=True)
class Paint:
    """Two colours [3] in 0..255, how they alternate, and the light.

    `pattern` gives the share of `second` at `(u, v, softness)`, softness being one pixel in unit coordinates. `shade`
    is the relative change of brightness from centre to rim in direction `shade_angle`; `rim` darkens the outline.
    """

    first: np.ndarray
    second: np.ndarray
    pattern: Field
    shade: float
    shade_angle: float
    rim: float


def ring(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to a ring; the background shows through its hole."""
    inner = 0.5 + 0.16 * variation
    return np.abs(np.hypot(u, v) - (1.0 + inner) / 2) - (1.0 - inner) / 2


def cross(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to two equal bars that cross in their middle."""
    u, v, width = np.abs(u), np.abs(v), 0.2 + 0.1 * variation
    return np.minimum(np.maximum(u - 0.96, v - width), np.maximum(v - 0.96, u - width))


def star(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to the edges of a five-pointed star, one tip at `(1, 0)`."""
    half, depth = np.pi / 5, 0.4 + 0.1 * variation
    folded = np.abs(np.mod(np.arctan2(v, u) + half, 2 * half) - half)
    radius = np.hypot(u, v)
    # The edge from the tip (1, 0) to the notch; a quarter turn of its direction points outwards.
    along, across = depth * np.cos(half) - 1.0, depth * np.sin(half)
    return ((radius * np.cos(folded) - 1.0) * across - radius * np.sin(folded) * along) / np.hypot(along, across)


def square(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to a square with its corners at distance 1."""
    return np.maximum(np.abs(u), np.abs(v)) - 0.7071


def disc(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to the unit circle."""
    return np.hypot(u, v) - 1.0


def polygon(sides: int) -> Field:
    """Signed distance to the edges of a regular polygon with its corners at distance 1, one of them at `(1, 0)`."""
    half = np.pi / sides

    def distance(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
        folded = np.mod(np.arctan2(v, u), 2 * half) - half
        return np.hypot(u, v) * np.cos(folded) - np.cos(half)

    return distance


def bar(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to one arm of the cross."""
    return np.maximum(np.abs(u) - 0.96, np.abs(v) - 0.16 - 0.1 * variation)


def corner(u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance to two bars that meet at their ends, like an L."""
    width = 0.16 + 0.1 * variation
    lower = np.maximum(np.abs(u) - 0.7, np.abs(v + 0.7 - width) - width)
    upright = np.maximum(np.abs(v) - 0.7, np.abs(u + 0.7 - width) - width)
    return np.minimum(lower, upright)


def plain(u: np.ndarray, v: np.ndarray, softness: float) -> np.ndarray:
    """No pattern: the first colour everywhere."""
    return np.zeros_like(u)


def stripes(count: int) -> Field:
    """Bands across a square, `count` of the second colour between the bands of the first."""
    period = 2 * 0.7071 / (count + 0.5)

    def share(u: np.ndarray, v: np.ndarray, softness: float) -> np.ndarray:
        to_band = np.mod(u + 0.7071 - period / 4, period) - period / 2
        return np.clip(0.5 + (period / 4 - np.abs(to_band)) / softness, 0.0, 1.0)

    return share


def dots(spacing: float) -> Field:
    """Dots of the second colour on a square lattice of the given spacing, one in the centre."""

    def share(u: np.ndarray, v: np.ndarray, softness: float) -> np.ndarray:
        to_u = np.mod(u + spacing / 2, spacing) - spacing / 2
        to_v = np.mod(v + spacing / 2, spacing) - spacing / 2
        return np.clip(0.5 + (0.3 * spacing - np.hypot(to_u, to_v)) / softness, 0.0, 1.0)

    return share


def _around(count: int) -> np.ndarray:
    angles = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)])


_SQUARE_CORNERS = 0.7071 * np.array([[1, 1, -1, -1], [1, -1, 1, -1]])
_CROSS_ENDS = np.array(
    [[0.96, 0.96, -0.96, -0.96, 0.25, -0.25, 0.25, -0.25], [0.25, -0.25, 0.25, -0.25, 0.96, 0.96, -0.96, -0.96]]
)
RING = Shape("ring", ring, _around(64))
CROSS = Shape("cross", cross, _CROSS_ENDS)
STAR = Shape("star", star, _around(5))
STRIPED_SQUARE = Shape("striped square", square, _SQUARE_CORNERS)
DOTTED_DISC = Shape("dotted disc", disc, _around(64))
CLASSES = (RING, CROSS, STAR, STRIPED_SQUARE, DOTTED_DISC)
LOOKALIKES = (
    Shape("plain disc", disc, _around(64)),
    Shape("plain square", square, _SQUARE_CORNERS),
    Shape("triangle", polygon(3), _around(3)),
    Shape("hexagon", polygon(6), _around(6)),
    Shape("bar", bar, _around(2)),
    Shape("corner", corner, _SQUARE_CORNERS),
)


def draw_shape(shape: Shape, pose: Pose, paint: Paint) -> Sprite:
    """Draws one shape at native resolution; coverage goes from 0 to 1 across one pixel at the outline."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    reach_x = cos * shape.reach[0] - sin * pose.squeeze * shape.reach[1]
    reach_y = sin * shape.reach[0] + cos * pose.squeeze * shape.reach[1]
    radius = pose.size / max(np.ptp(reach_x), np.ptp(reach_y))
    top, left = int(np.floor(pose.y - radius)) - 1, int(np.floor(pose.x - radius)) - 1
    side = int(np.ceil(2 * radius)) + 3
    # Double precision, so that no processor's sine or square root moves a pixel across the outline.
    dy = np.arange(side)[:, None] + (top + 0.5 - pose.y)
    dx = np.arange(side)[None, :] + (left + 0.5 - pose.x)
    u = dx * (cos / radius) + dy * (sin / radius)
    v = dy * (cos / (radius * pose.squeeze)) - dx * (sin / (radius * pose.squeeze))
    inside = -radius * shape.distance(u, v, pose.variation)
    coverage = np.clip(inside + 0.5, 0.0, 1.0).astype(np.float32)
    light = 1.0 + paint.shade * (u * np.cos(paint.shade_angle) + v * np.sin(paint.shade_angle))
    light -= paint.rim * np.clip(1.0 - inside / max(1.5, 0.06 * radius), 0.0, 1.0)
    share = paint.pattern(u, v, 1.0 / radius)[..., None]
    colour = (paint.first + (paint.second - paint.first) * share) * light[..., None]
    return Sprite(top, left, coverage, np.clip(colour, 0.0, 255.0).astype(np.float32))


def draw_strokes(y: float, x: float, strokes: np.ndarray, width: float, colour: np.ndarray) -> Sprite:
    """Draws line segments of one width and colour in one sprite: lines, scribbles, rows of letters.

    Args:
        y, x: pixels, where `strokes` has its origin.
        strokes: [n, 4], `(y1, x1, y2, x2)` of each segment, pixels relative to the origin.
    """
    margin = width / 2 + 1.0
    low, high = strokes.reshape(-1, 2).min(axis=0) - margin, strokes.reshape(-1, 2).max(axis=0) + margin
    top, left = int(np.floor(y + low[0])), int(np.floor(x + low[1]))
    height, breadth = int(np.ceil(high[0] - low[0])) + 1, int(np.ceil(high[1] - low[1])) + 1
    rows = np.arange(height)[:, None] + (top + 0.5 - y)
    columns = np.arange(breadth)[None, :] + (left + 0.5 - x)
    nearest = np.full((height, breadth), np.inf)
    for y1, x1, y2, x2 in strokes:
        length = max((y2 - y1) ** 2 + (x2 - x1) ** 2, 1e-6)
        along = np.clip(((rows - y1) * (y2 - y1) + (columns - x1) * (x2 - x1)) / length, 0.0, 1.0)
        nearest = np.minimum(nearest, (rows - y1 - along * (y2 - y1)) ** 2 + (columns - x1 - along * (x2 - x1)) ** 2)
    coverage = np.clip(width / 2 + 0.5 - np.sqrt(nearest), 0.0, 1.0).astype(np.float32)
    return Sprite(top, left, coverage, np.broadcast_to(colour.astype(np.float32), (height, breadth, 3)))
