"""Where the names of boxes are written, so that none covers another: for every picture with labelled boxes."""

from __future__ import annotations

import numpy as np

ROWS = 4  # of captions above, below or inside a box that are tried where the nearer places are taken


def place_captions(boxes: np.ndarray, sizes: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Returns the top left corner of each caption, int `[n, 2]` as (y, x), inside the picture where it fits at all.

    A caption stands above its box, or else below, inside or beside it: at the first place that no earlier caption
    takes and that hides no other box. Where every place is taken it goes where it covers least of the others.

    Args:
        boxes: `[n, 4]`, y1, x1, y2, x2 in pixels. The first may choose first.
        sizes: height and width of each caption in pixels, `[n, 2]`.
        height, width: of the picture.
    """
    boxes, sizes = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(sizes, np.float64).reshape(-1, 2)
    placed = np.zeros((0, 4))
    for index, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        corners = np.clip(_places(box, size), 0, np.maximum([height, width] - size, 0))
        choices = np.concatenate([corners, corners + size], axis=1)
        covered = _overlaps(choices, placed).sum(axis=1)
        others = np.delete(boxes, index, axis=0)
        areas = np.maximum((others[:, 2:] - others[:, :2]).prod(axis=1), 1)
        hidden = (_overlaps(choices, others) > 0.5 * areas).sum(axis=1)
        best = np.lexsort((np.arange(len(choices)), hidden, np.ceil(covered)))[0]
        placed = np.concatenate([placed, choices[[best]]])
    return np.floor(placed[:, :2]).astype(int)


def _places(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns (y, x) of the places for a caption, the best first."""
    y1, x1, y2, x2 = box
    height, width = size
    left, right = x1, x2 - width
    near = [(y1 - height, left), (y1 - height, right), (y2, left), (y2, right)]
    inside = [(y1, left), (y1, right), (y2 - height, left), (y2 - height, right)]
    beside = [(y1, x2), (y1, x1 - width), (y2 - height, x2), (y2 - height, x1 - width)]
    rows = [
        place
        for row in range(1, ROWS)
        for place in (
            (y1 - (row + 1) * height, left),
            (y2 + row * height, left),
            (y1 + row * height, left),
            (y1 + row * height, right),
        )
    ]
    return np.array([*near, *inside, *beside, *rows])


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the areas that rectangles share, `[first, second]`."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.maximum(bottom_right - top_left, 0).prod(axis=2)
