"""Maps of a pyramid are found in any order of outputs and sides, and joined to one table, finest level first."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.heads.head import Output, Seen
from edge.detectors.heads.levels.maps import LAYOUTS, arranged, pyramid_of
from edge.tflite.read_metadata import FileMetadata

HEIGHT, WIDTH = 64, 96
SIZES = {8: (8, 12), 16: (4, 6), 32: (2, 3)}
# How a map [rows, columns, anchors, channels] gets the sides of a layout.
SIDES = {"h": 0, "w": 1, "a": 2, "c": 3}


def seen_of(arrays, height=HEIGHT, width=WIDTH):
    outputs = tuple(Output(str(place), "float32", np.asarray(one, np.float32)) for place, one in enumerate(arrays))
    return Seen(height, width, outputs, schema.ModelT(), FileMetadata())


def values_of(seen):
    return [output.values for output in seen.outputs]


def laid(grid, layout):
    """Returns `[rows, columns, 3, channels]` as an output of the layout."""
    rows, columns, anchors, channels = grid.shape
    if "n" in layout:
        flat = grid.reshape(rows * columns, anchors, channels)
        if "a" not in layout:
            flat = flat.reshape(rows * columns, anchors * channels)
        order = [list("nac" if "a" in layout else "nc").index(side) for side in layout]
        return flat.transpose(order)[None]
    if "a" not in layout:
        return grid.reshape(rows, columns, anchors * channels).transpose(["hwc".index(side) for side in layout])[None]
    return grid.transpose([SIDES[side] for side in layout])[None]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_order_of_sides_gives_the_same_table(layout):
    random = np.random.default_rng(0)
    grids = {stride: random.normal(size=(*size, 3, 7)).astype(np.float32) for stride, size in SIZES.items()}
    seen = seen_of([laid(grids[stride], layout) for stride in (16, 32, 8)])
    pyramid = pyramid_of(seen)
    assert (pyramid.strides, pyramid.channels, pyramid.has_anchors) == ((8, 16, 32), [21], "a" in layout)
    expected = np.concatenate([grids[stride].reshape(-1, 21) for stride in (8, 16, 32)])
    assert np.array_equal(pyramid.table(values_of(seen)), expected)
    assert pyramid.told() == "3 maps, 1 on each of strides 8, 16, 32, joined to 126 rows"
    assert pyramid.places(0.0)[[1, 96, 120]].tolist() == [[8, 0, 8], [0, 0, 16], [0, 0, 32]]


def test_levels_that_do_not_divide_the_input_are_rounded_up():
    seen = seen_of([np.zeros((1, -(-52 // stride), -(-70 // stride), 40)) for stride in (8, 16, 32, 64)], 52, 70)
    assert pyramid_of(seen).strides == (8, 16, 32, 64)


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 8, 12, 9)],
        [(1, 8, 12, 9), (1, 4, 6, 9), (1, 2, 3, 8)],  # other channels
        [(1, 8, 12, 9), (1, 4, 6, 9), (1, 4, 6, 9)],  # a level twice, one not at all
        [(1, 8, 12, 9), (1, 4, 6, 9), (1, 9, 2, 3)],  # sides in two orders
        [(2, 8, 12, 9), (2, 4, 6, 9), (2, 2, 3, 9)],  # two pictures
        [(1, 8, 12, 0), (1, 4, 6, 0), (1, 2, 3, 0)],
        [(1, 16, 24, 9), (1, 16, 24, 2), (1, 16, 24, 2)],  # CenterNet
        [(1, 8, 12, 9), (1, 4, 6, 9), (1, 2, 3, 9), (1, 16, 24, 32)],  # a map of masks beside
    ],
)
def test_anything_else_is_no_pyramid(shapes):
    assert pyramid_of(seen_of([np.zeros(shape) for shape in shapes])) is None


def maps_of(*widths, scores=None):
    """One map a width on each level, filled with its place; the one at `scores` has 0.5, the others -7."""
    arrays = []
    for rows, columns in SIZES.values():
        for place, width in enumerate(widths):
            arrays.append(np.full((1, rows, columns, width), 0.5 if place == scores else -7.0))
    return seen_of(arrays)


@pytest.mark.parametrize("widths", [(64, 3), (4, 1, 3), (5, 32)])
def test_maps_apart_are_brought_into_the_order_that_a_head_has(widths):
    seen = maps_of(*widths[::-1])
    pyramid = pyramid_of(seen)
    found = arranged(pyramid, values_of(seen), widths=widths, scores=len(widths) - 1)
    assert [[one.channels for one in level] for level in found.levels] == [list(widths)] * 3
    assert found.table(values_of(seen)).shape == (126, sum(widths))
    assert arranged(pyramid, values_of(seen), widths=(*widths[:-1], 9), scores=0) is None


def test_of_two_maps_as_wide_the_one_from_0_to_1_has_the_scores():
    seen = maps_of(4, 1, 4, scores=0)
    found = arranged(pyramid_of(seen), values_of(seen), widths=(4, 1, 4), scores=2)
    table = found.table(values_of(seen))
    assert (table[:, :5] == -7).all()
    assert (table[:, 5:] == 0.5).all()
    undecided = maps_of(4, 1, 4)
    assert arranged(pyramid_of(undecided), values_of(undecided), widths=(4, 1, 4), scores=2) is None
    one_class = maps_of(1, 4, 1)
    assert arranged(pyramid_of(one_class), values_of(one_class), widths=(4, 1, 1), scores=2) is not None


def test_one_map_for_each_level_holds_all_parts_or_none():
    seen = maps_of(67)
    pyramid = pyramid_of(seen)
    assert arranged(pyramid, values_of(seen), widths=(64, 3), scores=1) is pyramid
    assert arranged(pyramid, values_of(seen), widths=(64, 4), scores=1) is None


@pytest.mark.parametrize("layout", ["nc", "cn"])
def test_a_map_of_as_many_channels_as_cells_is_read_like_the_others(layout):
    """24 channels, and 24 cells on the second level."""
    random = np.random.default_rng(0)
    grids = [random.normal(size=(*size, 3, 8)).astype(np.float32) for size in SIZES.values()]
    seen = seen_of([laid(grid, layout) for grid in grids])
    expected = np.concatenate([grid.reshape(-1, 24) for grid in grids])
    assert np.array_equal(pyramid_of(seen).table(values_of(seen)), expected)
