"""Matching: small cases by hand, random ones against loops in plain Python, and again inside tf.data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina import boxes as numpy_boxes
from keras_retina.anchors import anchor_boxes
from keras_retina.legacy_keras import tf
from keras_retina.matching import BACKGROUND, CROWD_OVERLAP, IGNORED, match, targets

# Four anchors of 10 x 10 in a row, overlapping by half, and one far away.
ANCHORS = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [0, 10, 10, 20], [0, 15, 10, 25], [80, 80, 90, 90]], np.float32)

match_in_graph = tf.function(
    match,
    input_signature=[
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.bool),
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([], tf.float32),
    ],
)


def matched(boxes: list, classes: list | None = None, crowd: list | None = None, anchors=ANCHORS, **settings):
    """`match` with classes 10, 11, ... (so that a class is never mistaken for an index) and no crowds."""
    count = len(boxes)
    codes, index = match(
        anchors,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(range(10, 10 + count) if classes is None else classes, np.int32),
        np.array([False] * count if crowd is None else crowd, bool),
        **settings,
    )
    assert codes.dtype == index.dtype == tf.int32
    return codes.numpy().tolist(), index.numpy().tolist()


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
    codes, index = match_in_graph(anchors, boxes, classes, crowd, *thresholds)
    expected = slow_match(anchors.astype(float), boxes.astype(float), classes, crowd, *thresholds)
    assert (codes.numpy().tolist(), index.numpy().tolist()) == expected


def test_targets_are_coder_deltas_and_a_flag_on_positive_anchors_and_zeros_elsewhere():
    box = np.array([[0, 0, 10, 12]], np.float32)
    result = targets(ANCHORS, box, [7], [False], coder_weights=(10.0, 10.0, 5.0, 5.0))
    assert result["classes"].numpy().tolist() == [7, IGNORED, BACKGROUND, BACKGROUND, BACKGROUND]
    expected = np.zeros((5, 5), np.float32)
    expected[0] = [0, 10 * 1 / 10, 0, 5 * math.log(1.2), 1]  # the centre is 1 px to the right, 12 px wide instead of 10
    np.testing.assert_allclose(result["boxes"], expected, rtol=1e-6)


def test_targets_of_an_anchor_that_fits_its_box_are_zeros_with_the_flag_set():
    result = targets(ANCHORS, ANCHORS[4:], [0], [False])
    np.testing.assert_array_equal(result["boxes"][4], [0, 0, 0, 0, 1])


def test_targets_decode_to_the_matched_boxes_and_are_finite():
    anchors = anchor_boxes(64, 64, levels=(3, 5))
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (12, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(0.5, 40, (12, 2))], axis=1).astype(np.float32)
    boxes[3, 2:] = boxes[3, :2]  # one without area
    classes, crowd = np.arange(12), np.zeros(12, bool)
    weights = (10.0, 8.0, 5.0, 4.0)
    result = targets(anchors, boxes, classes, crowd, weights)
    _, index = match(anchors, boxes, classes, crowd)
    values, positive = result["boxes"].numpy(), index.numpy() >= 0
    assert np.all(np.isfinite(values))
    np.testing.assert_array_equal(values[:, 4], positive)
    assert np.all(values[~positive] == 0)
    decoded = numpy_boxes.decode(values[positive, :4], anchors[positive], weights)
    np.testing.assert_allclose(decoded, boxes[index.numpy()[positive]], atol=1e-3)
    np.testing.assert_array_equal(result["classes"].numpy()[positive], classes[index.numpy()[positive]])


def test_targets_are_the_same_eagerly_and_inside_tf_data_with_changing_numbers_of_boxes():
    anchors = anchor_boxes(32, 32, levels=(3, 4))
    generator = np.random.default_rng(1)

    def images():
        for count in (2, 0, 1, 5):
            corners = generator.uniform(0, 24, (count, 2)).astype(np.float32)
            sides = generator.uniform(2, 30, (count, 2)).astype(np.float32)
            crowd = np.arange(count) % 3 == 1
            yield np.concatenate([corners, corners + sides], axis=1), np.arange(count, dtype=np.int32), crowd

    examples = list(images())
    signature = (tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.bool))
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)
    dataset = dataset.map(lambda boxes, classes, crowd: targets(anchors, boxes, classes, crowd)).batch(4)
    (batch,) = list(dataset)
    assert dataset.element_spec["classes"].shape[1:] == len(anchors)  # static, so that Keras can build on it
    assert dataset.element_spec["boxes"].shape[1:] == (len(anchors), 5)
    for image, (boxes, classes, crowd) in enumerate(examples):
        eager = targets(anchors, boxes, classes, crowd)
        np.testing.assert_array_equal(batch["classes"][image], eager["classes"])
        np.testing.assert_array_equal(batch["boxes"][image], eager["boxes"])
