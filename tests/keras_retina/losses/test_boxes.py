"""Losses of boxes: smooth L1 and three overlaps, by hand and against finite differences."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.boxes import decode, encode
from keras_retina.geometry.boxes_tf import complete_iou, distance_iou, generalized_iou
from keras_retina.losses import BoxLoss, CIoULoss, DIoULoss, GIoULoss
from keras_retina.losses.boxes import smooth_l1

CODER = (10.0, 10.0, 5.0, 5.0)
GRID = AnchorGrid(32, 32, levels=(3, 3), scales=(1.0,), ratios=(0.5, 1.0, 2.0))  # 48 anchors


def value_and_gradient(loss: keras.losses.Loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    y_pred = tf.convert_to_tensor(y_pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(tf.convert_to_tensor(y_true), y_pred)
    return float(value), tape.gradient(value, y_pred).numpy()


@pytest.mark.parametrize("beta", [0.1, 1 / 9, 1.0, 3.0])
def test_smooth_l1_is_continuous_with_slope_1_at_beta(beta: float):
    step = 1e-3 * beta
    distances = tf.constant([beta - step, beta, beta + step, 10 * beta, -10 * beta])
    with tf.GradientTape() as tape:
        tape.watch(distances)
        values = smooth_l1(distances, beta)
    slopes = tape.gradient(values, distances).numpy()
    np.testing.assert_allclose(values[:3], [0.5 * beta - step, 0.5 * beta, 0.5 * beta + step], rtol=1e-4)
    np.testing.assert_allclose(values[3:], [9.5 * beta] * 2, rtol=1e-6)
    np.testing.assert_allclose(slopes, [0.999, 1, 1, 1, -1], rtol=1e-4)


def test_smooth_l1_by_hand():
    # beta .5: .5 * .04 / .5, 1.2 - .25; beta 0 is plain L1
    np.testing.assert_allclose(smooth_l1(tf.constant([0.2, -1.2, 0.0]), 0.5), [0.04, 0.95, 0], rtol=1e-6)
    np.testing.assert_allclose(smooth_l1(tf.constant([0.2, -1.2, 0.0]), 0.0), [0.2, 1.2, 0], rtol=1e-6)


def test_smooth_l1_is_huber_over_beta():
    differences = np.random.default_rng(0).normal(0, 0.3, (50,)).astype(np.float32)
    huber = [float(keras.losses.huber([0.0], [d], delta=0.1)) / 0.1 for d in differences]
    np.testing.assert_allclose(smooth_l1(tf.constant(differences), 0.1), huber, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0])
def test_smooth_l1_has_finite_gradients_for_zero_and_huge_differences(beta: float):
    differences = tf.constant([0.0, 1e30, -1e30])
    with tf.GradientTape() as tape:
        tape.watch(differences)
        values = smooth_l1(differences, beta)
    np.testing.assert_allclose(tape.gradient(values, differences), [0, 1, -1], rtol=1e-6)


def test_box_loss_by_hand():
    y_true = np.zeros((2, 3, 5), np.float32)
    y_true[0, 0] = [0.0, 0.0, 0.0, 0.0, 1]
    y_true[1, 2] = [1.0, 2.0, 0.0, -1.0, 1]
    y_pred = np.full((2, 3, 4), 0.5, np.float32)
    # beta .1 takes .05 off each distance: 4 * .45 and .45 + 1.45 + .45 + 1.45; two positives
    value, gradient = value_and_gradient(BoxLoss(beta=0.1, weight=3.0), y_true, y_pred)
    assert value == pytest.approx(3.0 * (1.8 + 3.8) / 2, rel=1e-5)
    np.testing.assert_allclose(gradient[1, 2], [-1.5, -1.5, 1.5, 1.5], rtol=1e-5)
    assert np.all(gradient[y_true[..., 4] == 0] == 0)


def test_the_flag_and_not_the_value_says_which_anchors_count():
    """An anchor that fits its box has deltas of zero and is trained; unmatched anchors may hold any value."""
    y_true = np.array([[[0, 0, 0, 0, 1], [5, 5, 5, 5, 0]]], np.float32)
    value, gradient = value_and_gradient(BoxLoss(beta=0.0), y_true, np.ones((1, 2, 4), np.float32))
    assert value == pytest.approx(4)
    np.testing.assert_array_equal(gradient[0], [[1, 1, 1, 1], [0, 0, 0, 0]])


def test_box_loss_of_a_batch_without_positives_is_zero_with_zero_gradient():
    value, gradient = value_and_gradient(BoxLoss(), np.zeros((2, 3, 5), np.float32), np.ones((2, 3, 4), np.float32))
    assert value == 0
    assert np.all(gradient == 0)


# Overlaps


def test_distance_iou_by_hand():
    """Shifted by half of its width: IoU 1/3; centres 5 apart, the enclosing box 10 x 15."""
    first, second = tf.constant([[0.0, 0, 10, 10]]), tf.constant([[0.0, 5, 10, 15]])
    assert float(distance_iou(first, second)[0]) == pytest.approx(1 / 3 - 25 / 325)
    apart = tf.constant([[0.0, 30, 10, 40]])
    assert float(distance_iou(first, apart)[0]) == pytest.approx(-900 / 1700)
    assert float(distance_iou(first, first)[0]) == 1.0


def test_complete_iou_by_hand():
    """A box in the middle of one twice as wide: IoU 1/2, the same centre, aspects 1 and 2."""
    first, second = tf.constant([[0.0, 5, 10, 15]]), tf.constant([[0.0, 0, 10, 20]])
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    assert float(complete_iou(first, second)[0]) == pytest.approx(0.5 - v * v / (0.5 + v), rel=1e-5)
    assert float(complete_iou(first, first)[0]) == 1.0
    larger = tf.constant([[-5.0, 0, 15, 20]])  # of the same aspect and centre
    assert float(complete_iou(first, larger)[0]) == pytest.approx(0.25)


def matched_batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns targets and deltas of one image with every anchor of GRID, and the boxes that both mean."""
    generator, anchors = np.random.default_rng(0), GRID.boxes()
    sizes = np.tile(anchors[:, 2:] - anchors[:, :2], 2)
    labelled = anchors + (generator.uniform(-0.2, 0.2, anchors.shape) * sizes).astype(np.float32)
    predicted = anchors + (generator.uniform(-0.2, 0.2, anchors.shape) * sizes).astype(np.float32)
    flags = (np.arange(48) % 3 == 0).astype(np.float32)[:, None]
    targets = np.concatenate([encode(labelled, anchors, weights=CODER) * flags, flags], axis=-1)[None].astype(
        np.float32
    )
    return targets, encode(predicted, anchors, weights=CODER)[None].astype(np.float32), labelled, predicted


@pytest.mark.parametrize(
    ("loss", "overlap"),
    [
        (GIoULoss(CODER, 0.5), generalized_iou),
        (DIoULoss(GRID, CODER, weight=0.5), distance_iou),
        (CIoULoss(GRID, CODER, weight=0.5), complete_iou),
    ],
    ids=["giou", "diou", "ciou"],
)
def test_a_loss_of_an_overlap_is_that_of_the_boxes_in_pixels(loss, overlap):
    targets, deltas, labelled, predicted = matched_batch()
    expected = np.where(targets[0, :, 4] > 0.5, 1 - overlap(tf.constant(labelled), tf.constant(predicted)).numpy(), 0)
    np.testing.assert_allclose(loss.of_anchors(targets, tf.constant(deltas))[0], 0.5 * expected, atol=2e-5)
    value, gradient = value_and_gradient(loss, targets, deltas)
    assert value == pytest.approx(0.5 * expected.sum() / 16, rel=1e-4)
    assert (gradient[0][targets[0, :, 4] < 0.5] == 0).all() and (gradient[0][targets[0, :, 4] > 0.5] != 0).any(-1).all()


@pytest.mark.parametrize("name", ["giou", "diou"])
def test_the_gradient_of_an_overlap_is_its_slope(name):
    targets, deltas, labelled, _ = matched_batch()
    loss, overlap = {"giou": (GIoULoss(CODER), generalized_iou), "diou": (DIoULoss(GRID, CODER), distance_iou)}[name]
    _, gradient = value_and_gradient(loss, targets, deltas)
    anchors, step = GRID.boxes()[:1].astype(np.float64), 1e-3
    for column in range(4):
        ends = []
        for sign in (1, -1):
            moved = deltas[0, :1].astype(np.float64)
            moved[0, column] += sign * step
            box = tf.constant(decode(moved, anchors, weights=CODER), tf.float64)
            ends.append(1 - float(overlap(tf.constant(labelled[:1], tf.float64), box)[0]))
        slope = (ends[0] - ends[1]) / (2 * step) / 16
        assert gradient[0, 0, column] == pytest.approx(slope, rel=1e-2, abs=1e-6)


def test_no_gradient_flows_through_the_weight_of_the_aspects():
    """At equal IoU and centres the gradient of CIoU over that of DIoU is weight times the slope of the aspects."""
    box = tf.constant([[0.0, 0, 10, 20]], tf.float64)
    found = tf.Variable([[0.0, 5, 10, 15]], dtype=tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        complete, distance = complete_iou(box, found), distance_iou(box, found)
    extra = tape.gradient(complete, found).numpy() - tape.gradient(distance, found).numpy()
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    weight = v / (0.5 + v)
    slope = 8 / math.pi**2 * (math.atan(2) - math.atan(1)) * (1 / 10) / 2  # by x2: d atan(w / h) = 1 / h / (1 + 1)
    np.testing.assert_allclose(extra[0, 3], weight * slope, rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("loss", [GIoULoss(), DIoULoss(GRID), CIoULoss(GRID)], ids=lambda loss: loss.name)
def test_an_overlap_is_finite_for_any_deltas(loss, size: float):
    targets, deltas, _, _ = matched_batch()
    deltas = np.full_like(deltas, size) if size else targets[..., :4]  # 0: exactly the labelled boxes
    value, gradient = value_and_gradient(loss, targets, deltas)
    assert math.isfinite(value) and np.isfinite(gradient).all()
    if size == 0:
        assert value == pytest.approx(0, abs=1e-5)


def test_no_matched_anchor_costs_nothing():
    for loss in (GIoULoss(), DIoULoss(GRID), CIoULoss(GRID)):
        value, gradient = value_and_gradient(loss, np.zeros((2, 48, 5), np.float32), np.ones((2, 48, 4), np.float32))
        assert value == 0 and (gradient == 0).all()


@pytest.mark.parametrize(
    "loss",
    [BoxLoss(0.5, 2.0, name="other"), BoxLoss(), GIoULoss(weight=0.3), DIoULoss(GRID), CIoULoss(GRID, weight=2.0)],
    ids=lambda loss: loss.name,
)
def test_config_round_trip(loss: keras.losses.Loss):
    restored = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(restored) is type(loss) and restored.reduction == keras.losses.Reduction.SUM
    assert json.dumps(restored.get_config()) == json.dumps(loss.get_config())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BoxLoss(beta=-0.1), r"beta of 0 or more. Received: beta=-0.1"),
        (lambda: BoxLoss(weight=float("inf")), r"Received: weight=inf"),
        (lambda: CIoULoss(GRID, weight=-1.0), r"CIoULoss needs weight of 0 or more. Received: weight=-1.0"),
    ],
)
def test_impossible_settings_are_refused(build, message: str):
    with pytest.raises(InputError, match=message):
        build()
