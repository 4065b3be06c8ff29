"""The anchor boxes of a RetinaNet, as one NumPy array in the order of the model's output rows. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.size import MOST_ANCHORS, anchor_count

SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
_LAST_LEVEL = 20  # whose stride no picture reaches


@dataclass(frozen=True)
class AnchorGroups:
    """The anchors of an `AnchorGrid` by equal level and shape: those of a group are one grid of equal boxes.

    The anchor of group `g` in row `r` and column `c` has the index `first[g] + (r * columns[g] + c) * per_cell` and its
    centre at `(r + offset, c + offset) * stride[g]`.

    Attributes:
        sizes: float32 `[G, 2]`, height and width of one anchor.
        stride: float32 `[G]`, pixels from centre to centre.
        cells: int32 `[G, 2]`, rows and columns.
        first: int32 `[G]`, index of the anchor in the first row and column.
        per_cell: anchors that share a cell of a level.
        offset: of the centres in their cells, in strides.
    """

    sizes: np.ndarray
    stride: np.ndarray
    cells: np.ndarray
    first: np.ndarray
    per_cell: int
    offset: float = 0.5


@dataclass(frozen=True)
class AnchorGrid:
    """Where the anchors of a detector are: on every level the same shapes around the centre of every cell.

    Level `l` has a cell every `2 ** l` pixels (its stride), centred at `(i + offset) * stride`; its anchors have the
    area `(size * stride * scale) ** 2`. Order: level, row, column, ratio, scale (the scale changes fastest).

    Attributes:
        height, width: pixels of the network input, multiples of the last stride, so that every level's feature map has
            exactly `height / stride` rows and no rounding rule is needed.
        levels: first and last pyramid level, both included.
        size: anchor side in strides: 4 is the paper's (32 to 813 px on levels 3 to 7), 3 suits small inputs.
        scales: factors on the side.
        ratios: height / width.
        offset: where a cell has the centre of its anchors, in strides: 0.5 is the middle, 0 its upper left corner.
        whole_pixels: anchors as torchvision makes them: `size * stride * scale` is rounded down to a whole pixel, and
            half of each height and width to the nearest one.
        clip: anchors end at the border of the input, as KerasCV's do; centre and shape are those of what is left.

    Raises:
        InputError: a size, level, scale or ratio that makes no anchors.

    Source: Focal Loss for Dense Object Detection, section 4 (Anchors).
    """

    height: int
    width: int
    levels: tuple[int, int] = (3, 7)
    size: float = 4.0
    scales: Sequence[float] = SCALES
    ratios: Sequence[float] = RATIOS
    offset: float = 0.5
    whole_pixels: bool = False
    clip: bool = False

    def __post_init__(self) -> None:
        _check_sides(self.height, self.width, levels=self.levels)
        for name, given in (("size", self.size), ("scales", self.scales), ("ratios", self.ratios)):
            values = np.atleast_1d(given)
            if not values.size or not np.all((values > 0) & np.isfinite(values)):
                raise InputError(
                    f"Anchors need a positive, finite {name}. Received: {name}={given}. "
                    "Give numbers above 0, at least one."
                )
        count = anchor_count(self.height, self.width, levels=self.levels, per_cell=self.per_cell)
        if count > MOST_ANCHORS:
            raise InputError(
                f"Anchors: expected at most {MOST_ANCHORS:,} of them. Received: {count:,} on {self.height} x "
                f"{self.width} pixels, levels={tuple(self.levels)}. Use a smaller input, or fewer scales and ratios."
            )
        if not 0 <= self.offset <= 1:
            raise InputError(
                f"Anchors need a centre in their cell. Received: offset={self.offset}. Use 0.5, its middle, or 0."
            )
        if self.whole_pixels and not np.all(self._shapes(self.levels[0])):
            raise InputError(
                "Anchors in whole pixels need a height and a width. "
                f"Received: size={self.size}, which leaves none on level {self.levels[0]}. Use a larger one."
            )

    @property
    def per_cell(self) -> int:
        """How many anchors share one cell of a level: every ratio with every scale."""
        return len(self.scales) * len(self.ratios)

    def per_level(self) -> dict[int, int]:
        """Returns how many anchors each level has, in the order of `boxes`."""
        return {level: (self.height >> level) * (self.width >> level) * self.per_cell for level in self._levels()}

    def boxes(self) -> np.ndarray:
        """Returns all anchors, float32 `[A, 4]` as `[y1, x1, y2, x2]` in pixels of the input; some stick out of it, but
        for `clip`.
        """
        boxes = [
            _level_boxes(self.height, self.width, stride=2**level, halves=0.5 * self._shapes(level), offset=self.offset)
            for level in self._levels()
        ]
        found = np.concatenate(boxes).astype(np.float32)
        return np.clip(found, 0, np.array([self.height, self.width] * 2, np.float32)) if self.clip else found

    def groups(self) -> AnchorGroups | None:
        """Returns how the anchors of `boxes` lie, in the order of levels; None where some are clipped."""
        if self.clip:
            return None
        per_cell = self.per_cell
        strides = np.repeat([2**level for level in self._levels()], per_cell)
        cells = np.array([self.height, self.width]) // strides[:, None]
        level_counts = np.array(list(self.per_level().values()))
        level_starts = np.repeat(np.cumsum(level_counts) - level_counts, per_cell)
        first = level_starts + np.tile(np.arange(per_cell), len(level_counts))
        sizes = np.concatenate([self._shapes(level) for level in self._levels()])
        return AnchorGroups(
            sizes.astype(np.float32),
            strides.astype(np.float32),
            cells.astype(np.int32),
            first.astype(np.int32),
            per_cell,
            self.offset,
        )

    def _levels(self) -> range:
        return range(self.levels[0], self.levels[1] + 1)

    def _shapes(self, level: int) -> np.ndarray:
        """Returns `[ratios * scales, 2]` heights and widths in pixels; a ratio keeps the area."""
        sides = np.array([self.size * scale for scale in self.scales], np.float64) * 2**level
        roots = np.sqrt(np.array(self.ratios, np.float64))[:, None]
        if self.whole_pixels:
            sides = np.floor(sides)
        shapes = np.stack([sides * roots, sides / roots], axis=-1).reshape(-1, 2)
        return 2 * np.rint(0.5 * shapes) if self.whole_pixels else shapes


def _level_boxes(height: int, width: int, *, stride: int, halves: np.ndarray, offset: float) -> np.ndarray:
    rows = (np.arange(height // stride) + offset) * stride
    columns = (np.arange(width // stride) + offset) * stride
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None, :]  # [rows, columns, 1, 2]
    return np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4)


def _check_sides(height: int, width: int, *, levels: tuple[int, int]) -> None:
    first, last = levels
    if not 0 <= first <= last <= _LAST_LEVEL:
        raise InputError(
            f"levels must be (first, last) with 0 <= first <= last <= {_LAST_LEVEL}. "
            f"Received: levels={tuple(levels)}. The paper's is (3, 7)."
        )
    stride = 2**last
    for name, value in (("height", height), ("width", width)):
        if value <= 0 or value % stride:
            below = value // stride * stride
            near = " or ".join(str(choice) for choice in (below, below + stride) if choice > 0)
            raise InputError(
                f"Input {name} must be a multiple of {stride}, the stride of the last level {last}. "
                f"Received: {name}={value}. Use {near}, or a smaller last level."
            )
