"""Anchors written out by hand, against nested loops, and against the traps of other generators."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.geometry.anchors import AnchorGrid


def test_every_anchor_of_a_tiny_input():
    grid = AnchorGrid(8, 16, levels=(2, 3), size=2.0, scales=(1.0,), ratios=(1.0,))
    anchors = grid.boxes()
    expected = [
        # level 2: stride 4, side 8, centres at y 2, 6 and x 2, 6, 10, 14
        [-2, -2, 6, 6],  # -2 == 0.5 * stride (4) - half of the side (8)
        [-2, 2, 6, 10],
        [-2, 6, 6, 14],
        [-2, 10, 6, 18],
        [2, -2, 10, 6],
        [2, 2, 10, 10],
        [2, 6, 10, 14],
        [2, 10, 10, 18],
        # level 3: stride 8, side 16, centres at y 4 and x 4, 12
        [-4, -4, 12, 12],
        [-4, 4, 12, 20],
    ]
    np.testing.assert_array_equal(anchors, expected)
    assert anchors.dtype == np.float32
    assert (grid.per_cell, grid.per_level()) == (1, {2: 8, 3: 2})


def test_ratio_is_height_over_width_and_scale_changes_fastest():
    anchors = AnchorGrid(4, 4, levels=(2, 2), size=4.0, scales=(1.0, 2.0), ratios=(0.25, 4.0)).boxes()
    expected = [
        [2 - 4, 2 - 16, 2 + 4, 2 + 16],  # ratio 0.25: 8 high, 32 wide, area 16 * 16
        [2 - 8, 2 - 32, 2 + 8, 2 + 32],  # the same, scale 2
        [2 - 16, 2 - 4, 2 + 16, 2 + 4],  # ratio 4: 32 high, 8 wide
        [2 - 32, 2 - 8, 2 + 32, 2 + 8],
    ]
    np.testing.assert_allclose(anchors, expected, rtol=1e-6)


def test_equals_nested_loops():
    scales, ratios, size = (1.0, 1.5), (0.5, 1.0, 3.0), 3.0
    expected = []
    for level in (3, 4):
        stride = 2**level
        for row in range(32 // stride):
            for column in range(48 // stride):
                for ratio in ratios:
                    for scale in scales:
                        side = size * stride * scale
                        height, width = side * ratio**0.5, side / ratio**0.5
                        y, x = (row + 0.5) * stride, (column + 0.5) * stride
                        expected.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    np.testing.assert_allclose(AnchorGrid(32, 48, (3, 4), size, scales, ratios).boxes(), expected, rtol=1e-6)


def test_the_papers_family_spans_32_to_813_pixels():
    grid = AnchorGrid(128, 128)
    anchors = grid.boxes()
    sides = np.sqrt((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1]))
    assert sides.min() == pytest.approx(32, rel=1e-5)
    assert sides.max() == pytest.approx(512 * 2 ** (2 / 3), rel=1e-5)  # 812.7
    assert grid.per_cell == 9
    assert len(anchors) == 9 * (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1)


def test_a_ratio_keeps_the_area():
    anchors = AnchorGrid(64, 64, levels=(4, 4), scales=(1.0,)).boxes()
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    np.testing.assert_allclose(areas, 64.0**2, rtol=1e-5)


@pytest.mark.parametrize("pixels", [320, 384, 448])
def test_the_stride_of_level_l_is_exactly_2_to_the_l(pixels: int):
    """At 320 px a generator that divides the input by the size of a rounded feature map drifts on the last levels."""
    grid = AnchorGrid(pixels, pixels, (3, 6), scales=(1.0,), ratios=(1.0,))
    anchors, counts = grid.boxes(), grid.per_level()
    level_of = np.repeat(list(counts), list(counts.values()))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    for level in range(3, 7):
        x = np.unique(centres[level_of == level, 1])
        np.testing.assert_array_equal(x, (np.arange(pixels // 2**level) + 0.5) * 2**level)
        assert x[0] == 2**level / 2 == pixels - x[-1]  # as far from the left border as from the right one


def test_levels_have_the_rows_of_the_feature_maps():
    grid = AnchorGrid(256, 384)
    counts = {3: 9 * 32 * 48, 4: 9 * 16 * 24, 5: 9 * 8 * 12, 6: 9 * 4 * 6, 7: 9 * 2 * 3}
    assert grid.per_level() == counts
    assert sum(counts.values()) == len(grid.boxes())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 320, "width": 384}, r"height must be a multiple of 128.*Received: height=320. Use 256 or 384"),
        ({"height": 384, "width": 100}, r"Received: width=100. Use 128,"),  # 0 is no size
        ({"height": 0, "width": 128}, r"Received: height=0"),
        ({"height": 128, "width": 128, "levels": (5, 3)}, r"Received: levels=\(5, 3\)"),
        ({"height": 128, "width": 128, "size": 0.0}, "positive, finite size.*size=0.0"),
        ({"height": 128, "width": 128, "scales": ()}, r"positive, finite scales"),
        ({"height": 128, "width": 128, "ratios": (1.0, float("nan"))}, r"positive, finite ratios"),
    ],
)
def test_settings_that_make_no_anchors_are_refused(arguments: dict, message: str):
    with pytest.raises(InputError, match=message) as error:
        AnchorGrid(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("levels", "scales"), [((3, 5), (1.0, 1.5)), ((2, 2), (1.0,))])
def test_groups_say_where_every_anchor_is(levels: tuple[int, int], scales: tuple[float, ...]):
    grid = AnchorGrid(64, 32, levels, size=3.0, scales=scales, ratios=(0.5, 2.0))
    anchors, groups = grid.boxes(), grid.groups()
    seen = []
    for number, (first, stride, (rows, columns)) in enumerate(
        zip(groups.first, groups.stride, groups.cells, strict=True)
    ):
        for row in range(rows):
            for column in range(columns):
                index = first + (row * columns + column) * groups.per_cell
                seen.append(index)
                centre = (np.array([row, column]) + 0.5) * stride
                half = groups.sizes[number] / 2
                np.testing.assert_allclose(anchors[index], [*(centre - half), *(centre + half)], rtol=1e-5)
    assert sorted(seen) == list(range(len(anchors)))


def test_torchvision_s_anchors_are_in_whole_pixels_around_the_corner_of_a_cell():
    """By hand: 40 of 32 * 2 ** (1 / 3) = 40.3; half of 40 * sqrt(0.5) is 14.14, of 40 / sqrt(0.5) 28.28."""
    grid = AnchorGrid(16, 8, (3, 3), 4.0, (1.0, 2 ** (1 / 3)), (0.5, 1.0), offset=0.0, whole_pixels=True)
    first = [[-11, -23, 11, 23], [-14, -28, 14, 28], [-16, -16, 16, 16], [-20, -20, 20, 20]]
    second = [[y1 + 8, x1, y2 + 8, x2] for y1, x1, y2, x2 in first]
    np.testing.assert_array_equal(grid.boxes(), [*first, *second])
    np.testing.assert_array_equal(grid.groups().sizes, [[22, 46], [28, 56], [32, 32], [40, 40]])
    assert grid.groups().offset == 0.0


def test_clipped_anchors_end_at_the_border_and_are_no_grid():
    """By hand: around (4, 4) and (12, 4) of an input of 16 x 8, sides of 32 cover it; sides of 8 lie inside."""
    grid = AnchorGrid(16, 8, (3, 3), 1.0, (1.0, 4.0), (1.0,), clip=True)
    np.testing.assert_array_equal(grid.boxes(), [[0, 0, 8, 8], [0, 0, 16, 8], [8, 0, 16, 8], [0, 0, 16, 8]])
    assert grid.groups() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"offset": 1.5}, "Received: offset=1.5"), ({"size": 0.1, "whole_pixels": True}, "size=0.1, which leaves none")],
)
def test_a_centre_outside_the_cell_and_anchors_of_no_pixel_are_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        AnchorGrid(128, 128, **changes)
