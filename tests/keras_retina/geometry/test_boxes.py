"""Boxes against numbers worked out by hand and against loops over single boxes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.geometry import boxes

few = settings(deadline=None, max_examples=40, derandomize=True)
coordinate = st.integers(-40, 80).map(lambda quarter: quarter / 4)


@st.composite
def box_arrays(draw: st.DrawFn, least_side: float = 0.0) -> np.ndarray:
    corner_and_side = st.tuples(coordinate, coordinate, st.integers(0, 60), st.integers(0, 60))
    rows = draw(st.lists(corner_and_side, max_size=6))
    return np.array(
        [(y, x, y + h / 4 + least_side, x + w / 4 + least_side) for y, x, h, w in rows], np.float32
    ).reshape(-1, 4)


def iou_of_two(a: np.ndarray, b: np.ndarray) -> float:
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def test_coco_layout_is_left_top_width_height():
    np.testing.assert_array_equal(boxes.xywh_to_yxyx(np.array([[10, 20, 30, 40]])), [[20, 10, 60, 40]])
    np.testing.assert_array_equal(boxes.yxyx_to_xywh(np.array([[20, 10, 60, 40]])), [[10, 20, 30, 40]])


@few
@given(box_arrays())
def test_layout_conversions_are_inverse(array: np.ndarray):
    np.testing.assert_array_equal(boxes.xywh_to_yxyx(boxes.yxyx_to_xywh(array)), array)


@pytest.mark.parametrize(
    "function", [boxes.xywh_to_yxyx, boxes.yxyx_to_xywh, boxes.area, lambda array: boxes.clip(array, 8, width=8)]
)
def test_an_empty_list_is_zero_boxes(function):
    assert function([]).shape in {(0, 4), (0,)}
    assert function(np.zeros((0, 4))).dtype == np.float32


def test_area_is_zero_for_degenerate_and_swapped_corners():
    #                                       2 x 5          no height      both swapped: not (-2) * (-2) = 4
    np.testing.assert_array_equal(boxes.area([[1, 1, 3, 6], [4, 0, 4, 9], [5, 5, 3, 3]]), [10, 0, 0])


def test_iou_by_hand():
    a = [[0, 0, 4, 4], [0, 0, 2, 2]]
    b = [[2, 2, 6, 6], [0, 0, 4, 4], [4, 0, 8, 4]]  # corner overlap 2 x 2, the same box, touching edge only
    np.testing.assert_allclose(boxes.iou(a, b), [[4 / 28, 1, 0], [0, 4 / 16, 0]], rtol=1e-6)


@few
@given(box_arrays(), box_arrays())
def test_iou_equals_a_loop_over_pairs(a: np.ndarray, b: np.ndarray):
    expected = np.array([[iou_of_two(row, column) for column in b] for row in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(boxes.iou(a, b), expected, rtol=1e-5, atol=1e-7)


@few
@given(box_arrays(), box_arrays())
def test_iou_is_symmetric_and_between_zero_and_one(a: np.ndarray, b: np.ndarray):
    values = boxes.iou(a, b)
    np.testing.assert_array_equal(values, boxes.iou(b, a).T)
    assert np.all((values >= 0) & (values <= 1))


def test_iou_of_a_box_without_area_is_zero_even_with_itself():
    point = [[3, 3, 3, 3]]
    assert boxes.iou(point, point) == 0


def test_clip_keeps_boxes_inside_and_collapses_those_outside():
    clipped = boxes.clip([[-5, 2, 30, 12], [30, 30, 40, 40]], height=10, width=20)
    np.testing.assert_array_equal(clipped, [[0, 2, 10, 12], [10, 20, 10, 20]])
    np.testing.assert_array_equal(boxes.area(clipped), [100, 0])


def test_encode_by_hand():
    # Anchor 10 high, 20 wide, centre (5, 10); box 20 high, 10 wide, centre (7, 6).
    anchor, box = [[0, 0, 10, 20]], [[-3, 1, 17, 11]]
    expected = [[2 / 10, -4 / 20, math.log(2), math.log(0.5)]]
    np.testing.assert_allclose(boxes.encode(box, anchor, weights=(1, 1, 1, 1)), expected, rtol=1e-6)
    np.testing.assert_allclose(
        boxes.encode(box, anchor, weights=(10, 20, 5, 4)),
        np.array(expected) * [10, 20, 5, 4],
        rtol=1e-6,
    )


def test_a_box_equal_to_its_anchor_has_zero_deltas():
    anchors = np.array([[3, 4, 17, 32], [-2, -2, 1, 7]], np.float32)
    np.testing.assert_array_equal(boxes.encode(anchors, anchors, weights=(1, 2, 3, 4)), np.zeros((2, 4)))


def test_decode_is_the_formula_of_the_tflite_operator():
    """The loop is DecodeCenterSizeBoxes of detection_postprocess.cc, with anchors as centre and size."""
    generator = np.random.default_rng(0)
    deltas = generator.normal(size=(20, 4))
    corners = generator.uniform(0, 50, (20, 2))
    anchors = np.concatenate([corners, corners + generator.uniform(5, 60, (20, 2))], axis=1)
    y_scale, x_scale, h_scale, w_scale = 10.0, 9.0, 5.0, 4.0
    expected = []
    for (ty, tx, th, tw), (y1, x1, y2, x2) in zip(deltas, anchors, strict=True):
        anchor_y, anchor_x, anchor_h, anchor_w = (y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1
        centre_y, centre_x = ty / y_scale * anchor_h + anchor_y, tx / x_scale * anchor_w + anchor_x
        half_h = 0.5 * math.exp(th / h_scale) * anchor_h
        half_w = 0.5 * math.exp(tw / w_scale) * anchor_w
        expected.append([centre_y - half_h, centre_x - half_w, centre_y + half_h, centre_x + half_w])
    decoded = boxes.decode(deltas, anchors, weights=(y_scale, x_scale, h_scale, w_scale))
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-4)


@few
@given(box_arrays(least_side=0.25), st.tuples(*[st.floats(0.1, 20)] * 4))
def test_decode_inverts_encode_at_any_weights(array: np.ndarray, weights: tuple[float, ...]):
    anchors = np.tile(np.array([[2, 3, 18, 43]], np.float32), (len(array), 1))
    round_trip = boxes.decode(boxes.encode(array, anchors, weights=weights), anchors, weights=weights)
    np.testing.assert_allclose(round_trip, array, atol=1e-3)


def test_decode_takes_a_batch():
    anchors = np.array([[0, 0, 8, 8], [8, 8, 24, 24]], np.float32)
    batch = np.zeros((3, 2, 4), np.float32)
    np.testing.assert_array_equal(
        boxes.decode(batch, anchors, weights=(1, 1, 1, 1)), np.broadcast_to(anchors, (3, 2, 4))
    )


def test_geometry_needs_no_tensorflow():
    code = "import sys; from keras_retina.geometry import anchors, boxes; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
