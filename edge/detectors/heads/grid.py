"""The cells that dense heads predict for: which strides give the number of rows, and whether boxes lie on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.detectors.heads.head import Seen

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (4, 8, 16), (16, 32), (8, 16), (8,), (16,), (32,))
ON_GRID = 0.9  # correlation with the cells; of boxes it is over 0.95, of anything else in the known heads under 0.5


@dataclass(frozen=True)
class Rows:
    """One output as `[rows, columns]`, a row for each prediction; `per_cell` predictions for each cell.

    `channels_first` says that the file has columns before rows.
    """

    values: np.ndarray
    strides: tuple[int, ...]
    per_cell: int
    channels_first: bool

    @property
    def columns(self) -> int:
        return int(self.values.shape[1])

    def told(self) -> str:
        """Returns `8400 rows, one for each cell of strides 8, 16, 32`."""
        number = {1: "one", 3: "three"}.get(self.per_cell, str(self.per_cell))
        return f"{len(self.values)} rows, {number} for each cell of strides {', '.join(map(str, self.strides))}"


def cells(strides: Sequence[int], height: int, *, width: int, offset: float = 0.5) -> np.ndarray:
    """Returns float32 `[n, 3]` (x, y, stride) of every cell, in pixels, level by level, row by row.

    `offset` 0.5 is the middle of a cell, 0 its upper left corner.
    """
    levels = []
    for stride in strides:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        place = np.stack([(x.ravel() + offset) * stride, (y.ravel() + offset) * stride], axis=1)
        levels.append(np.concatenate([place, np.full((len(place), 1), stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)


def rows_of(seen: Seen) -> Rows | None:
    """Returns the only output of a file as rows, None where it has no side that is a number of cells."""
    if len(seen.outputs) != 1 or len(seen.outputs[0].shape) != 3 or seen.outputs[0].shape[0] != 1:
        return None
    values = seen.outputs[0].values[0]
    for channels_first in (False, True):
        table = values.T if channels_first else values
        found = strides_of(len(table), seen.height, width=seen.width)
        if found is not None and table.shape[1] >= 5:
            return Rows(table, *found, channels_first)
    return None


def strides_of(rows: int, height: int, *, width: int) -> tuple[tuple[int, ...], int] | None:
    """Returns the strides whose cells give this number of rows, and how many rows a cell has; None where none do."""
    for strides in STRIDES:
        number = sum(-(-height // stride) * -(-width // stride) for stride in strides)
        for per_cell in (1, 3) if len(strides) > 1 else (1,):
            if rows == number * per_cell:
                return strides, per_cell
    return None


def units_on_grid(rows: Rows, height: int, *, width: int) -> str | None:
    """Returns `pixels` or `shares` where the first two columns are x and y of boxes on their cells; None otherwise."""
    levels = [cells([stride], height, width=width)[:, :2] for stride in rows.strides]
    # The anchors of a cell stand beside each other in one order of export, the cells of an anchor in the other.
    orders = (
        np.concatenate([np.repeat(level, rows.per_cell, axis=0) for level in levels]),
        np.concatenate([np.tile(level, (rows.per_cell, 1)) for level in levels]),
    )
    found = rows.values[:, :2].astype(np.float64)
    if not np.isfinite(found).all() or (found.std(axis=0) == 0).any():
        return None
    for order in orders:
        if all(np.corrcoef(found[:, side], order[:, side])[0, 1] > ON_GRID for side in (0, 1)):
            return "pixels" if found[:, 0].std() > 0.1 * order[:, 0].std() else "shares"
    return None


def means(values: np.ndarray) -> np.ndarray:
    """Returns `[n, 4]`, the mean step of each of the four distributions before softmax in `[n, 4 * bins]`."""
    logits = values.reshape(len(values), 4, values.shape[1] // 4)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    steps = np.arange(logits.shape[2], dtype=np.float32)
    return (weights * steps).sum(axis=2) / weights.sum(axis=2)
