"""Matching: small cases by hand, random ones against loops in plain Python, and again inside tf.data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry import boxes as numpy_boxes
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.candidates import overlapping_pairs
from keras_retina.geometry.matching import BACKGROUND, CROWD_OVERLAP, IGNORED, match, targets
from keras_retina.recipe.training import Matching

# Four anchors of 10 x 10 in a row, overlapping by half, and one far away.
ANCHORS = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [0, 10, 10, 20], [0, 15, 10, 25], [80, 80, 90, 90]], np.float32)


def thresholds_of(positive, negative, force: bool = True) -> Matching:
    """The settings with thresholds that may be tensors, and that no recipe would have checked."""
    return Matching.model_construct(positive=positive, negative=negative, force=force)


match_in_graph = tf.function(
    lambda anchors, boxes, classes, crowd, positive, negative: match(
        anchors, boxes, classes=classes, ignored=crowd, matching=thresholds_of(positive, negative)
    ),
    input_signature=[
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([1, None, 4], tf.float32),
        tf.TensorSpec([1, None], tf.int32),
        tf.TensorSpec([1, None], tf.bool),
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([], tf.float32),
    ],
)


def matched(boxes: list, classes: list | None = None, crowd: list | None = None, anchors=ANCHORS, **settings):
    """`match` of one image, with classes 10, 11, ... (never mistaken for an index) and no crowds."""
    count = len(boxes)
    codes, index = match(
        anchors,
        np.array(boxes, np.float32).reshape(1, -1, 4),
        classes=np.array([range(10, 10 + count) if classes is None else classes], np.int32),
        ignored=np.array([[False] * count if crowd is None else crowd], bool),
        matching=Matching(**settings),
    )
    assert codes.dtype == index.dtype == tf.int32
    return codes[0].numpy().tolist(), index[0].numpy().tolist()


def single_targets(grid, boxes, classes, crowd, weights=(1.0, 1.0, 1.0, 1.0)) -> dict[str, np.ndarray]:
    """`targets` of one image."""
    wanted = targets(
        grid,
        np.asarray(boxes)[None],
        classes=np.asarray(classes)[None],
        ignored=np.asarray(crowd)[None],
        matching=Matching(),
        coder_weights=weights,
    )
    return {name: value[0].numpy() for name, value in wanted.items()}


def slow_match(anchors, boxes, classes, crowd, positive, negative):
    """The documented rules, one anchor and one box at a time."""
    area = lambda box: max(box[2] - box[0], 0) * max(box[3] - box[1], 0)  # noqa: E731

    def intersection(a, b):
        return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)

    def iou(box, anchor):
        return intersection(box, anchor) / (area(box) + area(anchor) - intersection(box, anchor))

    objects = [index for index in range(len(boxes)) if not crowd[index] and area(boxes[index]) > 0]
    index_of = []
    for anchor in anchors:
        ranked = sorted(objects, key=lambda i: (-iou(boxes[i], anchor), i))
        index_of.append(ranked[0] if ranked and iou(boxes[ranked[0]], anchor) >= positive else -1)
    codes = []
    for anchor, index in zip(anchors, index_of, strict=True):
        best = max([iou(boxes[i], anchor) for i in objects], default=0.0)
        crowds = [box for box, is_crowd in zip(boxes, crowd, strict=True) if is_crowd]
        in_crowd = any(intersection(box, anchor) >= CROWD_OVERLAP * area(anchor) for box in crowds)
        codes.append(classes[index] if index >= 0 else IGNORED if in_crowd or best >= negative else BACKGROUND)

    def distance(box, anchor):
        return (box[0] + box[2] - anchor[0] - anchor[2]) ** 2 + (box[1] + box[3] - anchor[1] - anchor[3]) ** 2

    claims: dict[int, tuple[float, int]] = {}
    for i in objects:
        ranked = [(-iou(boxes[i], anchor), distance(boxes[i], anchor), a) for a, anchor in enumerate(anchors)]
        best, _, wanted = min(ranked)
        if best < 0:
            claims[wanted] = min(claims.get(wanted, (0.0, 0)), (best, i))
    for wanted, (_, i) in claims.items():
        index_of[wanted], codes[wanted] = i, classes[i]
    return codes, index_of


def test_positive_ignored_and_background_by_hand():
    # IoU of [0, 0, 10, 12] with the anchors: 100/120 = .83, 70/150 = .47, 20/200 = .1, 0, 0
    assert matched([[0, 0, 10, 12]]) == ([10, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND], [0, -1, -1, -1, -1])


def test_thresholds_are_inclusive_for_positive_and_exclusive_for_background():
    anchor = np.array([[0, 0, 10, 10]], np.float32)
    assert matched([[0, 0, 5, 10]], anchors=anchor, force=False) == ([10], [0])  # IoU is .5
    assert matched([[0, 0, 4, 10]], anchors=anchor, force=False) == ([IGNORED], [-1])  # .4
    assert matched([[0, 0, 3, 10]], anchors=anchor, force=False) == ([BACKGROUND], [-1])  # .3


def test_equal_thresholds_leave_nothing_ignored():
    codes, _ = matched([[0, 0, 10, 12]], negative=0.5)
    assert IGNORED not in codes


def test_an_anchor_takes_the_box_it_overlaps_most():
    # The second anchor overlaps the boxes by 80/120 and by 90/110.
    codes, index = matched([[0, 3, 10, 13], [0, 6, 10, 16]], force=False)
    assert index[1] == 1
    assert codes[1] == 11


def test_of_two_equal_boxes_the_first_is_taken():
    codes, index = matched([[0, 0, 10, 10], [0, 0, 10, 10]])
    assert (codes[0], index[0]) == (10, 0)
    assert 1 not in index


def test_force_gives_a_small_box_its_best_anchor_and_only_that():
    small = [82, 82, 84, 84]  # IoU .04
    assert matched([small], force=False)[0] == [BACKGROUND] * 5
    assert matched([small]) == ([BACKGROUND] * 4 + [10], [-1, -1, -1, -1, 0])


def test_force_takes_the_nearest_centre_when_anchors_tie():
    # Boxes of 2 px inside all three anchors of 200 px: IoU .01 each. The anchors' centres: (5, 10), (10, 10), (5, 15).
    anchors = np.array([[0, 0, 10, 20], [0, 5, 20, 15], [0, 5, 10, 25]], np.float32)
    assert matched([[4, 9, 5, 11]], anchors=anchors)[1] == [0, -1, -1]  # centre (4.5, 10)
    assert matched([[9, 9, 10, 11]], anchors=anchors)[1] == [-1, 0, -1]  # centre (9.5, 10)


def test_force_takes_the_first_anchor_when_centres_tie_too():
    anchors = np.array([[0, 4, 8, 6], [3, 0, 5, 8], [3, 0, 5, 8]], np.float32)
    assert matched([[3, 4, 5, 6]], anchors=anchors)[1] == [0, -1, -1]


def test_a_forced_anchor_leaves_the_box_it_overlaps_more():
    # The anchor overlaps the large box by .81 and the small one by .09, but is the small one's best. The large box
    # has a better anchor of its own.
    anchors = np.array([[0, 0, 10, 10], [0, 0, 9, 9]], np.float32)
    large, small = [0, 0, 9, 9], [7, 7, 10, 10]
    assert matched([large], anchors=anchors)[1] == [0, 0]
    assert matched([large, small], anchors=anchors) == ([11, 10], [1, 0])


def test_of_two_boxes_that_want_one_anchor_the_higher_iou_wins():
    anchor = np.array([[0, 0, 10, 10]], np.float32)
    assert matched([[0, 0, 2, 2], [4, 4, 7, 7]], anchors=anchor) == ([11], [1])
    assert matched([[4, 4, 7, 7], [0, 0, 2, 2]], anchors=anchor) == ([10], [0])


def test_of_two_equal_boxes_that_want_one_anchor_the_first_wins():
    anchor = np.array([[0, 0, 10, 10]], np.float32)
    assert matched([[0, 0, 2, 2], [4, 4, 6, 6]], anchors=anchor) == ([10], [0])


def test_a_box_that_overlaps_no_anchor_is_not_forced():
    assert matched([[50, 50, 60, 60]]) == ([BACKGROUND] * 5, [-1] * 5)


@pytest.mark.parametrize("force", [True, False])
def test_without_boxes_everything_is_background(force: bool):
    assert matched([], force=force) == ([BACKGROUND] * 5, [-1] * 5)


@pytest.mark.parametrize("empty", [[3, 3, 3, 8], [3, 3, 8, 3], [3, 3, 3, 3], [8, 8, 3, 3]])
def test_boxes_without_area_are_never_matched_and_do_no_harm(empty: list):
    alone = matched([[0, 0, 10, 10]])
    codes, index = matched([[0, 0, 10, 10], empty])
    assert (codes, index) == alone
    assert matched([empty])[0] == [BACKGROUND] * 5


def test_anchors_in_a_crowd_are_ignored_unless_positive():
    # The crowd covers all of anchors 0 and 1, half of 2, nothing of 3 and 4; a single object is exactly anchor 0.
    crowd_box, single = [0, 0, 10, 15], [0, 0, 10, 10]
    codes, index = matched([crowd_box, single], crowd=[True, False], negative=0.2)
    assert codes == [11, IGNORED, IGNORED, BACKGROUND, BACKGROUND]
    assert index == [1, -1, -1, -1, -1]


def test_a_crowd_box_is_no_match_even_when_it_fits():
    codes, index = matched([[0, 0, 10, 10]], crowd=[True])
    assert codes == [IGNORED, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND]  # half of anchor 1 is inside
    assert index == [-1] * 5


def test_class_zero_is_a_class():
    assert matched([[0, 0, 10, 10]], classes=[0])[0][0] == 0


corner = st.integers(-4, 24)
anchor_rows = st.tuples(corner, corner, st.integers(1, 16), st.integers(1, 16))
box_rows = st.tuples(corner, corner, st.integers(0, 12), st.integers(0, 12))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    st.lists(anchor_rows, min_size=1, max_size=8),
    st.lists(box_rows, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.3, 0.1)]),
)
def test_equals_the_rules_applied_one_pair_at_a_time(anchor_list, box_list, random, thresholds):
    """Whole numbers, so that ties are exact and happen often."""
    anchors = np.array([(y, x, y + h, x + w) for y, x, h, w in anchor_list], np.float32)
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w in box_list], np.float32).reshape(-1, 4)
    classes = np.array([random.randrange(3) for _ in box_list], np.int32)
    crowd = np.array([random.random() < 0.25 for _ in box_list], bool)
    codes, index = match_in_graph(anchors, boxes[None], classes[None], crowd[None], *thresholds)
    expected = slow_match(anchors.astype(float), boxes.astype(float), classes, crowd, *thresholds)
    assert (codes[0].numpy().tolist(), index[0].numpy().tolist()) == expected


# Four anchors of 16 x 16 in a row, overlapping by half: the first is [-4, -4, 12, 12].
ROW = AnchorGrid(8, 32, levels=(3, 3), size=2.0, scales=(1.0,), ratios=(1.0,))


def test_targets_are_coder_deltas_and_a_flag_on_positive_anchors_and_zeros_elsewhere():
    # IoU with the anchors: 256/304 = .84, 176/384 = .46, 48/512 = .09, 0
    box = np.array([[-4, -4, 12, 15]], np.float32)
    result = single_targets(ROW, box, [7], [False], (10.0, 10.0, 5.0, 5.0))
    assert result["classes"].tolist() == [7, IGNORED, BACKGROUND, BACKGROUND]
    expected = np.zeros((4, 5), np.float32)
    expected[0] = [0, 10 * 1.5 / 16, 0, 5 * math.log(19 / 16), 1]  # the centre is 1.5 px to the right, 19 px wide
    np.testing.assert_allclose(result["boxes"], expected, rtol=1e-6)


def test_targets_of_an_anchor_that_fits_its_box_are_zeros_with_the_flag_set():
    result = single_targets(ROW, ROW.boxes()[3:], [0], [False])
    np.testing.assert_array_equal(result["boxes"][3], [0, 0, 0, 0, 1])


def test_targets_decode_to_the_matched_boxes_and_are_finite():
    grid = AnchorGrid(64, 64, levels=(3, 5))
    anchors = grid.boxes()
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (12, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(0.5, 40, (12, 2))], axis=1).astype(np.float32)
    boxes[3, 2:] = boxes[3, :2]  # one without area
    classes, crowd = np.arange(12), np.zeros(12, bool)
    weights = (10.0, 8.0, 5.0, 4.0)
    result = single_targets(grid, boxes, classes, crowd, weights)
    index = match(anchors, boxes[None], classes=classes[None], ignored=crowd[None], matching=Matching())[1][0].numpy()
    values, positive = result["boxes"], index >= 0
    assert np.all(np.isfinite(values))
    np.testing.assert_array_equal(values[:, 4], positive)
    assert np.all(values[~positive] == 0)
    decoded = numpy_boxes.decode(values[positive, :4], anchors[positive], weights=weights)
    np.testing.assert_allclose(decoded, boxes[index[positive]], atol=1e-3)
    np.testing.assert_array_equal(result["classes"][positive], classes[index[positive]])


def test_targets_are_the_same_image_by_image_and_in_batches_inside_tf_data():
    """Images with different numbers of boxes, padded with boxes without area."""
    grid = AnchorGrid(32, 32, (3, 4))
    generator = np.random.default_rng(1)

    def images():
        for count in (2, 0, 1, 5):
            corners = generator.uniform(0, 24, (count, 2)).astype(np.float32)
            sides = generator.uniform(2, 30, (count, 2)).astype(np.float32)
            crowd = np.arange(count) % 3 == 1
            yield np.concatenate([corners, corners + sides], axis=1), np.arange(count, dtype=np.int32), crowd

    examples = list(images())
    signature = (tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.bool))
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature).padded_batch(4)
    dataset = dataset.map(
        lambda boxes, classes, ignored: targets(
            grid, boxes, classes=classes, ignored=ignored, matching=Matching(), coder_weights=(1.0, 1.0, 1.0, 1.0)
        )
    )
    (batch,) = list(dataset)
    assert dataset.element_spec["classes"].shape[1:] == len(grid.boxes())  # static, so that Keras can build on it
    assert dataset.element_spec["boxes"].shape[1:] == (len(grid.boxes()), 5)
    for image, (boxes, classes, crowd) in enumerate(examples):
        alone = single_targets(grid, boxes, classes, crowd)
        np.testing.assert_array_equal(batch["classes"][image], alone["classes"])
        # A logarithm's last bit depends on how many are taken at once.
        np.testing.assert_allclose(batch["boxes"][image], alone["boxes"], rtol=1e-6, atol=1e-7)


# Anchors that are a grid

GRID = AnchorGrid(96, 64, levels=(3, 5), size=3.0, scales=(1.0, 1.5), ratios=(0.5, 1.0, 3.0))
GRID_ANCHORS, GRID_GROUPS = GRID.boxes(), GRID.groups()


def grid_match(force: bool):
    """`match` on the grid as a graph: (boxes, classes, crowd, positive, negative) of a batch of one image."""
    return tf.function(
        lambda boxes, classes, crowd, positive, negative: match(
            GRID_ANCHORS,
            boxes,
            classes=classes,
            ignored=crowd,
            matching=thresholds_of(positive, negative, force),
            groups=GRID_GROUPS,
        ),
        input_signature=match_in_graph.input_signature[1:],
    )


grid_matches = {force: grid_match(force) for force in (True, False)}


def dense_match(anchors, boxes, classes, crowd, positive, negative, force):
    """The rules on the whole matrix of boxes and anchors, in the same 32 bit arithmetic."""
    tie = np.float32(1e-6)
    boxes = boxes.astype(np.float32).reshape(-1, 4)
    area = lambda rows: np.prod(np.maximum(rows[..., 2:] - rows[..., :2], 0), axis=-1)  # noqa: E731
    low, high = np.maximum(boxes[:, None, :2], anchors[:, :2]), np.minimum(boxes[:, None, 2:], anchors[:, 2:])
    shared = area(np.concatenate([low, high], axis=-1))
    iou = shared / (area(anchors) + area(boxes)[:, None] - shared)
    iou[crowd] = 0
    best = iou.max(axis=0, initial=0)
    matched = np.where((best >= np.float32(positive)) & (best > 0), iou.argmax(axis=0) if len(iou) else -1, -1)
    claims: dict[int, tuple] = {}
    for number, row in enumerate(iou if force else []):
        if row.max() > 0:
            tied = np.flatnonzero(row >= row.max() * (1 - tie))
            offset = (boxes[number, :2] + boxes[number, 2:]) - (anchors[tied, :2] + anchors[tied, 2:])
            distance = np.square(offset).sum(axis=1)
            wanted = tied[distance <= distance.min() * (1 + tie)][0]
            claims[wanted] = min(claims.get(wanted, (0,)), (-row.max(), number))
    for wanted, (_, number) in claims.items():
        matched[wanted] = number
    in_crowd = (shared[crowd] >= np.float32(CROWD_OVERLAP) * area(anchors)).any(axis=0)
    codes = np.where((best >= np.float32(negative)) | in_crowd, IGNORED, BACKGROUND)
    return np.where(matched >= 0, np.append(classes, 0)[matched], codes), matched


side = st.one_of(st.floats(2**-7, 3, width=32), st.floats(3, 60, width=32), st.floats(60, 400, width=32), st.just(0.0))
place = st.floats(-80, 170, width=32)
grid_boxes = st.one_of(
    st.tuples(place, place, side, side),
    st.tuples(*[st.integers(-4, 24).map(lambda number: 4.0 * number)] * 4),  # on the grid: ties, negative sides
    st.just((8.0, 8.0, 24.0, 24.0)),  # the same box twice
    st.just((1e6, -1e30, 1e30, 5.0)),
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(grid_boxes, max_size=12),
    st.randoms(use_true_random=False),
    st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.7, 0.05), (0.3, 0.0)]),
    st.booleans(),
)
def test_on_a_grid_the_result_is_that_of_comparing_all_pairs(box_list, random, thresholds, force):
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w in box_list], np.float32).reshape(-1, 4)
    classes = np.array([random.randrange(3) for _ in box_list], np.int32)
    crowd = np.array([random.random() < 0.25 for _ in box_list], bool)
    codes, index = grid_matches[force](boxes[None], classes[None], crowd[None], *thresholds)
    expected_codes, expected_index = dense_match(GRID_ANCHORS, boxes, classes, crowd, *thresholds, force)
    np.testing.assert_array_equal(index[0], expected_index)
    np.testing.assert_array_equal(codes[0], expected_codes)


def test_hundreds_of_boxes_on_the_grid_of_a_large_input_match_as_all_pairs_do():
    grid = AnchorGrid(512, 384, size=3.0)
    anchors, groups = grid.boxes(), grid.groups()
    generator = np.random.default_rng(2)
    sides = np.exp(generator.uniform(np.log(2), np.log(500), (300, 2)))
    centres = generator.uniform(-20, [532, 404], (300, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    classes, crowd = np.arange(300, dtype=np.int32), np.arange(300) % 10 == 0
    codes, index = match(
        anchors, boxes[None], classes=classes[None], ignored=crowd[None], matching=Matching(), groups=groups
    )
    expected_codes, expected_index = dense_match(anchors, boxes, classes, crowd, 0.5, 0.4, True)
    np.testing.assert_array_equal(index[0], expected_index)
    np.testing.assert_array_equal(codes[0], expected_codes)
    box, _ = overlapping_pairs(tf.constant(boxes), tf.constant(anchors), groups=groups, smallest_iou=0.4)
    assert len(box) < 0.01 * len(boxes) * len(anchors)  # far fewer were compared


@pytest.mark.parametrize("changes", [{"offset": 0.0, "whole_pixels": True}, {"clip": True}])
def test_anchors_of_imported_detectors_match_as_all_pairs_do(changes):
    grid = AnchorGrid(128, 256, size=4.0, **changes)
    generator = np.random.default_rng(3)
    sides = np.exp(generator.uniform(np.log(2), np.log(200), (60, 2)))
    centres = generator.uniform(-10, [138, 266], (60, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    classes, crowd = np.arange(60, dtype=np.int32), np.arange(60) % 10 == 0
    codes, index = match(
        grid.boxes(), boxes[None], classes=classes[None], ignored=crowd[None], matching=Matching(), groups=grid.groups()
    )
    expected_codes, expected_index = dense_match(grid.boxes(), boxes, classes, crowd, 0.5, 0.4, True)
    np.testing.assert_array_equal(index[0], expected_index)
    np.testing.assert_array_equal(codes[0], expected_codes)
