"""Where the names of points in a chart go: beside their point, further away with a line to it, never on each other."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHARACTER_WIDTH = 6.4  # upper estimate of the average advance at 11 units; DejaVu Sans is among the widest
HEIGHT = 12.0
MARKER = 5.0  # radius of a point
GAP = 4.0  # between a point and its name
RINGS = (14.0, 28.0, 42.0, 56.0, 70.0, 90.0, 110.0, 130.0)  # further away, with a line
DIRECTIONS = 24
SHUFFLES = 15
CROSSING, LOST = 1_000.0, 10_000.0  # as if a line were so long

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in units of the view box."""


@dataclass(frozen=True)
class Place:
    """`box` of a name; `line` from the edge of its point to the name, where that is not beside it.

    `anchor` is the SVG text-anchor that keeps the end of the name at its point, however wide the font really is.
    """

    box: Box
    anchor: str
    line: tuple[float, float, float, float] | None = None


def place_names(
    points: Sequence[tuple[float, float]], names: Sequence[str], *, markers: Sequence[tuple[float, float]], inside: Box
) -> list[Place | None]:
    """Returns a place for the name of each point that covers no marker and no other name; None where the chart is full.

    Args:
        points: `(x, y)` of the point that each name belongs to.
        markers: `(x, y)` of everything drawn as a point.
        inside: names stay within it.
    """
    near = [beside(*point, _width(name)) for point, name in zip(points, names, strict=True)]
    far = [around(*point, _width(name)) for point, name in zip(points, names, strict=True)]
    around_markers = [(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in markers]
    best: tuple[float, list[Place | None]] = (math.inf, [])
    for order in _orders(points):
        best = min(
            best,
            _placed(order, points, candidates=(near, far), markers=around_markers, inside=inside),
            key=lambda tried: tried[0],
        )
        if best[0] == 0:
            break
    return best[1]


def _orders(points: Sequence[tuple[float, float]]) -> Iterator[list[int]]:
    """Who comes first may step where others cannot: as given, from each side, and then by chance."""
    numbers = list(range(len(points)))
    yield numbers
    for direction in (1, -1):
        for axis in (0, 1):
            yield sorted(numbers, key=lambda number: direction * points[number][axis])
    chance = random.Random(0)
    for _ in range(SHUFFLES):
        yield chance.sample(numbers, len(numbers))


def _placed(
    order: Sequence[int],
    points: Sequence[tuple[float, float]],
    *,
    candidates: tuple[Sequence[Sequence[Place]], Sequence[Sequence[Place]]],
    markers: Sequence[Box],
    inside: Box,
) -> tuple[float, list[Place | None]]:
    """Places names one after the other; returns how much line they need, lines over something and lost names most."""
    taken, cost = list(markers), 0.0
    places: list[Place | None] = [None] * len(points)
    for choices in candidates:
        for number in order:
            if places[number] is not None:
                continue
            free = [place for place in choices[number] if _is_free(place.box, taken, inside=inside)]
            clear = (place for place in free if not _crosses(place, taken, point=points[number]))
            place = next(clear, free[0] if free else None)
            if place is not None:
                places[number] = place
                taken.append(place.box)
    for place, point in zip(places, points, strict=True):
        if place is None:
            cost += LOST
        elif place.line is not None:
            cost += math.dist(place.line[:2], place.line[2:]) + (CROSSING if _crosses(place, taken, point=point) else 0)
    return cost, places


def beside(x: float, y: float, width: float) -> list[Place]:
    """Returns the eight places that touch a point, the best first: right, left, above, below, the four corners."""
    far, near, middle = MARKER + GAP, MARKER, y - HEIGHT / 2
    return [
        *(_place(x + far, middle, width=width, anchor="start"), _place(x - far, middle, width=width, anchor="end")),
        *(_place(x, y - far - HEIGHT, width=width, anchor="middle"), _place(x, y + far, width=width, anchor="middle")),
        *(
            _place(x + near, y - near - HEIGHT, width=width, anchor="start"),
            _place(x + near, y + near, width=width, anchor="start"),
        ),
        *(
            _place(x - near, y - near - HEIGHT, width=width, anchor="end"),
            _place(x - near, y + near, width=width, anchor="end"),
        ),
    ]


def around(x: float, y: float, width: float) -> list[Place]:
    """Returns places on rings around a point, the nearest first, each with the line that belongs to it."""
    places = []
    for radius in RINGS:
        for number in range(DIRECTIONS):
            angle = 2 * math.pi * number / DIRECTIONS
            across, down = math.cos(angle), math.sin(angle)
            tip_x, tip_y = x + radius * across, y + radius * down
            anchor = "middle" if abs(across) < 0.3 else "start" if across > 0 else "end"
            line = (x + MARKER * across, y + MARKER * down, tip_x, tip_y)
            places.append(_place(tip_x, tip_y - HEIGHT / 2 + down * HEIGHT / 2, width=width, anchor=anchor, line=line))
    return places


def _width(name: str) -> float:
    return len(name) * CHARACTER_WIDTH


def _place(
    x: float, top: float, *, width: float, anchor: str, line: tuple[float, float, float, float] | None = None
) -> Place:
    left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return Place((left, top, left + width, top + HEIGHT), anchor, line)


def _is_free(box: Box, taken: Sequence[Box], *, inside: Box) -> bool:
    within = box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3]
    return within and not any(_overlap(box, other) for other in taken)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def _crosses(place: Place, taken: Sequence[Box], *, point: tuple[float, float]) -> bool:
    """Whether the line runs through another name or another point."""
    if place.line is None:
        return False
    x1, y1, x2, y2 = place.line
    steps = [(x1 + (x2 - x1) * share / 20, y1 + (y2 - y1) * share / 20) for share in range(21)]
    own = (place.box, *(box for box in taken if box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]))
    others = [box for box in taken if box not in own]
    return any(box[0] <= x <= box[2] and box[1] <= y <= box[3] for box in others for x, y in steps)
