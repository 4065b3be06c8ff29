"""Outputs that are maps for each level of a pyramid, or one for each kind of value, and how they become one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.detectors.heads.grid import STRIDES, cells
from edge.detectors.heads.head import Found, Head, Output, Read, Seen, are_shares

# The sides of an output behind the batch: height, width, number of cells, anchor of a cell, channel.
LAYOUTS = ("hwc", "chw", "nc", "cn", "hwac", "ahwc", "achw", "nac", "anc")
JOINED_LAYOUTS = ("nc", "cn")  # of outputs that have the cells of all levels below each other
ANCHORS = 3  # of a cell, where it has several and the user does not say how many

Reading = tuple[Head, int]
"""A head, and how sure it is (`levels.recognise`)."""


@dataclass(frozen=True)
class Map:
    """One output, or its rows from `first` on: its place in the file, the order of its sides, cells and channels."""

    place: int
    layout: str
    cells: int
    channels: int
    first: int = 0

    def table(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Returns `[cells, channels]`, row by row; the channels of the first anchor come first."""
        order = [self.layout.index(side) for side in "hwnac" if side in self.layout]
        table = outputs[self.place][0].transpose(order).reshape(-1, self.channels)
        return table[self.first : self.first + self.cells]


@dataclass(frozen=True)
class Pyramid:
    """The maps of each level, finest level first; `height` and `width` are those of the input."""

    height: int
    width: int
    strides: tuple[int, ...]
    levels: tuple[tuple[Map, ...], ...]
    joined: bool = False

    @property
    def channels(self) -> list[int]:
        """The channels of the maps of one level, smallest first: those of every level are alike."""
        return sorted(one.channels for one in self.levels[0])

    @property
    def has_anchors(self) -> bool:
        return "a" in self.levels[0][0].layout

    def table(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Returns `[n, channels]` of all levels: maps of one level beside each other, levels below each other."""
        levels = [np.concatenate([one.table(outputs) for one in level], axis=1) for level in self.levels]
        return np.concatenate(levels)

    def places(self, offset: float) -> np.ndarray:
        """Returns x, y and stride of each row of the table, as `grid.cells`."""
        return cells(self.strides, self.height, width=self.width, offset=offset)

    def told(self) -> str:
        """Returns `6 maps, 2 on each of strides 8, 16, 32, joined to 8400 rows`; or `2 tables of 8400 rows, ...`."""
        number = len(self.levels[0])
        rows = sum(level[0].cells for level in self.levels)
        strides = ", ".join(map(str, self.strides))
        if self.joined:
            return f"{number} tables of {rows} rows, one for each cell of strides {strides}"
        return f"{number * len(self.levels)} maps, {number} on each of strides {strides}, joined to {rows} rows"


def pyramid_of(seen: Seen) -> Pyramid | None:
    """Returns the maps of a file by level, whatever their order; None where its outputs are something else.

    All maps have one order of sides, and each level has as many maps as the others, of the same channels. Or the file
    has one output for each kind of value, with the cells of all levels below each other.
    """
    per_cell = anchors_per_cell(seen)
    several = [strides for strides in STRIDES if len(strides) > 1]
    for strides in several:
        sizes = _sizes(strides, seen)
        for layout in LAYOUTS:
            levels = _levels(seen.outputs, sizes, layout=layout, per_cell=per_cell)
            if levels is not None:
                return Pyramid(seen.height, seen.width, strides, levels)
    for strides in several if len(seen.outputs) > 1 else ():  # a single one is read as a table (`heads.tables`)
        for layout in JOINED_LAYOUTS:
            levels = _joined_levels(seen.outputs, _sizes(strides, seen), layout=layout)
            if levels is not None:
                return Pyramid(seen.height, seen.width, strides, levels, joined=True)
    return None


def anchors_per_cell(seen: Seen) -> int:
    """Returns how many anchors a cell has, where it has any: as many as the user gives, else ANCHORS."""
    return ANCHORS if seen.anchors is None else len(seen.anchors[0]) // 2


def arranged(pyramid: Pyramid, outputs: Sequence[np.ndarray], *, widths: Sequence[int], scores: int) -> Pyramid | None:
    """Returns the pyramid with the maps of each level in an order in which they have these numbers of channels.

    One map for each level holds all of them already. `scores` is the place of the class scores in `widths`: where
    another map is as wide, they are the map whose values are all from 0 to 1. None where nothing or too much fits.
    """
    if len(pyramid.levels[0]) == 1:
        return pyramid if pyramid.channels == [sum(widths)] else None
    if pyramid.channels != sorted(widths):
        return None
    levels = []
    for level in pyramid.levels:
        alike = [one for one in level if one.channels == widths[scores]]
        if len(alike) > 1 and widths[scores] > 1:  # of width 1 is also an objectness: it does not matter which is which
            alike = [one for one in alike if are_shares(one.table(outputs))]
            if len(alike) != 1:
                return None
        rest = [one for one in level if one is not alike[0]]
        ordered = [alike[0] if place == scores else _taken(rest, width) for place, width in enumerate(widths)]
        levels.append(tuple(ordered))
    return dataclasses.replace(pyramid, levels=tuple(levels))


def are_sums(scores: np.ndarray, column: np.ndarray) -> bool:
    """Whether a column is the sum of the scores of each row, at most 1, but for the rounding of int8."""
    if not are_shares(scores) or not are_shares(column):
        return False
    rounding = 0.02 + 0.002 * scores.shape[1]
    return bool((np.abs(np.minimum(scores.sum(axis=1), 1) - column) <= rounding).all())


def sureness(pyramid: Pyramid, *, scores: bool, boxes: Sequence[np.ndarray]) -> int:
    """Returns 2 where scores are from 0 to 1 and no part of the boxes is, 1 where they are maps apart, otherwise 0."""
    if scores and not any(are_shares(part) for part in boxes):
        return 2
    return int(len(pyramid.levels[0]) > 1)


def read_joined(
    outputs: Sequence[np.ndarray],
    score_threshold: float,
    *,
    pyramid: Pyramid,
    change: Callable[[np.ndarray], np.ndarray],
    rest: Read,
) -> Found:
    """Joins the maps, brings the table into the form of a file that has one, and reads it as such a file."""
    return rest([change(pyramid.table(outputs))[None]], score_threshold)


def _taken(maps: list[Map], width: int) -> Map:
    return maps.pop(next(place for place, one in enumerate(maps) if one.channels == width))


def _sizes(strides: Sequence[int], seen: Seen) -> list[tuple[int, int]]:
    return [(-(-seen.height // stride), -(-seen.width // stride)) for stride in strides]


def _joined_levels(
    outputs: Sequence[Output], sizes: Sequence[tuple[int, int]], *, layout: str
) -> tuple[tuple[Map, ...], ...] | None:
    numbers = [rows * columns for rows, columns in sizes]
    channels = []
    for output in outputs:
        sides = dict(zip(layout, output.shape[1:], strict=False))
        if len(output.shape) != 3 or output.shape[0] != 1 or sides["n"] != sum(numbers) or sides["c"] == 0:
            return None
        channels.append(sides["c"])
    return tuple(
        tuple(Map(place, layout, number, width, sum(numbers[:level])) for place, width in enumerate(channels))
        for level, number in enumerate(numbers)
    )


def _levels(
    outputs: Sequence[Output], sizes: Sequence[tuple[int, int]], *, layout: str, per_cell: int
) -> tuple[tuple[Map, ...], ...] | None:
    if len(outputs) % len(sizes):
        return None
    found: list[list[Map]] = [[] for _ in sizes]
    for place, output in enumerate(outputs):
        shape = output.shape
        if len(shape) != 1 + len(layout) or shape[0] != 1:
            return None
        sides = dict(zip(layout, shape[1:], strict=True))
        level = next((level for level, size in enumerate(sizes) if _fits(sides, *size, per_cell=per_cell)), None)
        if level is None or sides["c"] == 0:
            return None
        rows, columns = sizes[level]
        found[level].append(Map(place, layout, rows * columns, sides["c"] * sides.get("a", 1)))
    channels = [sorted(one.channels for one in level) for level in found]
    if not channels[0] or any(one != channels[0] for one in channels):
        return None
    return tuple(tuple(level) for level in found)


def _fits(sides: dict[str, int], rows: int, columns: int, *, per_cell: int) -> bool:
    expected = {"h": rows, "w": columns, "n": rows * columns, "a": per_cell}
    return all(size == expected.get(side, size) for side, size in sides.items())
