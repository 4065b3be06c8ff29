"""The shapes of the built-in set: signed distances turned into antialiased, shaded, textured sprites.

Everything is NumPy arithmetic on pixel centres, so a sprite does not depend on the version of a drawing library.
Unit coordinates `u, v` have the shape's centre at 0 and its outermost point at distance 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASS_NAMES = ("ring", "cross", "star", "striped square", "dotted disc")
LOOKALIKES = ("disc", "square", "triangle", "hexagon", "bar", "corner")
SQUARE_SIDE = 1.0 / np.sqrt(2.0)  # half the side of a square whose corners are at distance 1
_CIRCLE = np.stack([np.cos(np.arange(96) * np.pi / 48), np.sin(np.arange(96) * np.pi / 48)])


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
        """The pixels that belong to the shape (bool): those it covers at least half."""
        return self.coverage >= 0.5


@dataclass(frozen=True)
class Pose:
    """Where and how a shape is drawn: `size` is the longer side of its upright box, `squeeze` its height / width.

    `variation` in 0..1 changes the proportions within a class: the width of a ring, the depth of a star.
    """

    y: float
    x: float
    size: float
    angle: float
    squeeze: float
    variation: float


def regular_polygon(u: np.ndarray, v: np.ndarray, sides: int) -> np.ndarray:
    """Signed distance to the regular polygon with its corners at distance 1."""
    half = np.pi / sides
    folded = np.mod(np.arctan2(v, u), 2 * half) - half
    return np.hypot(u, v) * np.cos(folded) - np.cos(half)


def star(u: np.ndarray, v: np.ndarray, points: int, depth: float) -> np.ndarray:
    """Signed distance to the lines of a star with its tips at distance 1 and its notches at distance `depth`."""
    half = np.pi / points
    folded = np.abs(np.mod(np.arctan2(v, u) + half, 2 * half) - half)
    radius = np.hypot(u, v)
    # One edge runs from the tip (1, 0) to the notch; its outward normal is the edge turned by a quarter.
    edge_x, edge_y = depth * np.cos(half) - 1.0, depth * np.sin(half)
    length = np.hypot(edge_x, edge_y)
    return ((radius * np.cos(folded) - 1.0) * edge_y - radius * np.sin(folded) * edge_x) / length


def segment(u: np.ndarray, v: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Distance to the line segment from `start` to `end`, both `(u, v)`."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / max(du * du + dv * dv, 1e-6), 0.0, 1.0)
    return np.hypot(u - start[0] - along * du, v - start[1] - along * dv)


def distance(kind: str, u: np.ndarray, v: np.ndarray, variation: float) -> np.ndarray:
    """Signed distance (negative inside) to one of `CLASS_NAMES` or `LOOKALIKES`, in unit coordinates."""
    square = np.maximum(np.abs(u), np.abs(v))
    if kind == "ring":
        inner = 0.5 + 0.16 * variation
        return np.abs(np.hypot(u, v) - (1.0 + inner) / 2) - (1.0 - inner) / 2
    if kind == "cross":
        width = 0.2 + 0.1 * variation
        arm = np.minimum(np.maximum(np.abs(u), np.abs(v) / width * 0.95), np.maximum(np.abs(v), np.abs(u) / width * 0.95))
        return np.where(arm <= 0.95, np.minimum(np.abs(u), np.abs(v)) - width, square - 0.95)
    if kind == "star":
        return star(u, v, 5, 0.4 + 0.1 * variation)
    if kind in ("striped square", "square"):
        return square - SQUARE_SIDE
    if kind in ("dotted disc", "disc"):
        return np.hypot(u, v) - 1.0
    if kind == "triangle":
        return regular_polygon(u, v, 3)
    if kind == "hexagon":
        return regular_polygon(u, v, 6)
    width = 0.16 + 0.1 * variation
    if kind == "bar":
        return np.maximum(np.abs(u) - 0.95, np.abs(v) - width)
    first = np.maximum(np.abs(u) - 0.7, np.abs(v + 0.7 - width) - width)
    second = np.maximum(np.abs(v) - 0.7, np.abs(u + 0.7 - width) - width)
    return np.minimum(first, second)  # corner: two bars that meet like an L
