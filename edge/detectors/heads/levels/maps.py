"""Outputs that are one map or several for each level of a pyramid, and how they are joined to one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.detectors.heads.grid import STRIDES, cells
from edge.detectors.heads.head import Output, Seen, are_shares

# The sides of an output behind the batch: height, width, number of cells, anchor of a cell, channel.
LAYOUTS = ("hwc", "chw", "nc", "cn", "hwac", "ahwc", "achw", "nac", "anc")
ANCHORS = 3  # of a cell, where it has several


@dataclass(frozen=True)
class Map:
    """One output: its place in the file, the order of its sides, and its size in cells and channels."""

    place: int
    layout: str
    cells: int
    channels: int

    def table(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Returns `[cells, channels]`, row by row; the channels of the first anchor come first."""
        order = [self.layout.index(side) for side in "hwnac" if side in self.layout]
        return outputs[self.place][0].transpose(order).reshape(self.cells, self.channels)


@dataclass(frozen=True)
class Pyramid:
    """The maps of each level, finest level first; `height` and `width` are those of the input."""

    height: int
    width: int
    strides: tuple[int, ...]
    levels: tuple[tuple[Map, ...], ...]

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
        """Returns `6 maps, 2 on each of strides 8, 16, 32, joined to 8400 rows`."""
        number = len(self.levels[0])
        rows = sum(level[0].cells for level in self.levels)
        strides = ", ".join(map(str, self.strides))
        return f"{number * len(self.levels)} maps, {number} on each of strides {strides}, joined to {rows} rows"


def pyramid_of(seen: Seen) -> Pyramid | None:
    """Returns the maps of a file by level, whatever their order; None where its outputs are something else.

    All maps have one order of sides, and each level has as many maps as the others, of the same channels.
    """
    for strides in STRIDES:
        if len(strides) == 1 or len(seen.outputs) % len(strides):
            continue
        sizes = [(-(-seen.height // stride), -(-seen.width // stride)) for stride in strides]
        for layout in LAYOUTS:
            levels = _levels(seen.outputs, sizes, layout=layout)
            if levels is not None:
                return Pyramid(seen.height, seen.width, strides, levels)
    return None


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


def _taken(maps: list[Map], width: int) -> Map:
    return maps.pop(next(place for place, one in enumerate(maps) if one.channels == width))


def _levels(
    outputs: Sequence[Output], sizes: Sequence[tuple[int, int]], *, layout: str
) -> tuple[tuple[Map, ...], ...] | None:
    found: list[list[Map]] = [[] for _ in sizes]
    for place, output in enumerate(outputs):
        shape = output.shape
        if len(shape) != 1 + len(layout) or shape[0] != 1:
            return None
        sides = dict(zip(layout, shape[1:], strict=True))
        level = next((level for level, size in enumerate(sizes) if _fits(sides, *size)), None)
        if level is None or sides["c"] == 0:
            return None
        rows, columns = sizes[level]
        found[level].append(Map(place, layout, rows * columns, sides["c"] * sides.get("a", 1)))
    channels = [sorted(one.channels for one in level) for level in found]
    if not channels[0] or any(one != channels[0] for one in channels):
        return None
    return tuple(tuple(level) for level in found)


def _fits(sides: dict[str, int], rows: int, columns: int) -> bool:
    expected = {"h": rows, "w": columns, "n": rows * columns, "a": ANCHORS}
    return all(size == expected.get(side, size) for side, size in sides.items())
