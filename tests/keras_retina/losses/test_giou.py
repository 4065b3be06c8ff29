"""The generalised IoU loss against NumPy boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes import decode, encode, iou
from keras_retina.geometry.boxes_tf import generalized_iou
from keras_retina.losses import GIoULoss
from keras_retina.losses.boxes import overlap_loss

CODER = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + generator.uniform(1, 50, (count, 2))], axis=1).astype(np.float32)


def giou_oracle(a: np.ndarray, b: np.ndarray) -> float:
    overlap = float(iou(a[None], b[None])[0, 0])
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - np.prod(np.maximum(sides, 0))
    enclosing = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    return overlap - float((enclosing - union) / enclosing)


def test_generalized_iou_by_hand():
    a = tf.constant([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    b = tf.constant([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 2, 1, 3]])
    # equal; overlap 1 of 7 in an enclosing box of 9; apart, a gap of 1 in an enclosing box of 3
    np.testing.assert_allclose(generalized_iou(a, b), [1.0, 1 / 7 - 2 / 9, -1 / 3], rtol=1e-6)


def test_generalized_iou_agrees_with_numpy():
    a, b = random_boxes(50, 0), random_boxes(50, 1)
    expected = [giou_oracle(one, other) for one, other in zip(a, b, strict=True)]
    np.testing.assert_allclose(generalized_iou(tf.constant(a), tf.constant(b)), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_deltas_is_that_of_the_decoded_boxes():
    """The anchors differ in size and shape, and none of them is given to the loss."""
    anchors, wanted = random_boxes(20, 2), random_boxes(20, 3)
    deltas = encode(wanted, anchors, weights=CODER)
    found = deltas + np.random.default_rng(4).normal(0, 2, deltas.shape).astype(np.float32)
    targets = np.concatenate([deltas, np.ones((20, 1))], axis=1).astype(np.float32)
    both = tf.constant(targets[None]), tf.constant(found[None])
    loss = tf.reduce_sum(overlap_loss(generalized_iou, *both, coder_weights=CODER), axis=1)
    boxes = decode(found, anchors, weights=CODER)
    expected = sum(1 - giou_oracle(one, other) for one, other in zip(wanted, boxes, strict=True))
    np.testing.assert_allclose(loss, [expected], rtol=1e-3)


def test_each_matched_anchor_has_its_loss():
    targets = np.zeros((3, 4, 5), np.float32)
    targets[0, 1, 4] = targets[2, 0, 4] = targets[2, 3, 4] = 1
    deltas = np.zeros((3, 4, 4), np.float32)
    deltas[..., 0] = 10.0  # one anchor's height below: nothing overlaps, and nothing is between
    losses = overlap_loss(generalized_iou, tf.constant(targets), tf.constant(deltas), coder_weights=CODER)
    np.testing.assert_allclose(losses, targets[..., 4], atol=1e-6)


def test_the_loss_is_divided_by_the_positives_and_weighted():
    targets = np.zeros((2, 3, 5), np.float32)
    targets[:, 0, 4] = 1
    deltas = np.zeros((2, 3, 4), np.float32)
    deltas[0, 0, 0] = 10.0
    assert float(GIoULoss(CODER, weight=3.0)(targets, deltas)) == pytest.approx(1.5)


def test_a_batch_without_positives_has_no_loss_and_no_gradient():
    deltas = tf.Variable(np.ones((2, 3, 4), np.float32))
    with tf.GradientTape() as tape:
        loss = GIoULoss()(tf.zeros((2, 3, 5)), deltas)
    assert float(loss) == 0
    assert not np.any(tf.convert_to_tensor(tape.gradient(loss, deltas)))


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_gradients_are_finite_for_equal_and_for_absurd_boxes(value: float):
    targets = tf.constant([[[0.0, 0, 0, 0, 1]]])
    deltas = tf.Variable(np.full((1, 1, 4), value, np.float32))
    with tf.GradientTape() as tape:
        loss = GIoULoss()(targets, deltas)
    assert np.isfinite(float(loss))
    assert np.all(np.isfinite(tf.convert_to_tensor(tape.gradient(loss, deltas))))


def test_the_gradient_reaches_matched_anchors_alone():
    targets = tf.constant([[[0.0, 0, 0, 0, 1], [5, 5, 5, 5, 0]]])
    deltas = tf.Variable(np.tile(np.float32([4, 4, 1, 1]), (1, 2, 1)))  # they overlap, neither inside the other
    with tf.GradientTape() as tape:
        loss = GIoULoss()(targets, deltas)
    gradient = tf.convert_to_tensor(tape.gradient(loss, deltas)).numpy()
    assert np.all(gradient[0, 0] != 0)
    assert np.all(gradient[0, 1] == 0)


def test_minimising_it_moves_a_box_onto_its_target():
    targets = tf.constant([[[4.0, -3.0, 2.0, -1.0, 1]]])
    deltas = tf.Variable(np.zeros((1, 1, 4), np.float32))
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = GIoULoss()(targets, deltas)
        optimizer.apply_gradients([(tf.convert_to_tensor(tape.gradient(loss, deltas)), deltas)])
    np.testing.assert_allclose(deltas[0, 0], targets[0, 0, :4], atol=0.3)


def test_config_round_trip_and_bad_weight():
    loss = GIoULoss((1.0, 2.0, 3.0, 4.0), 0.5, name="mine")
    restored = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert restored.get_config() == loss.get_config()
    with pytest.raises(InputError, match=r"Received: weight=-1"):
        GIoULoss(weight=-1.0)
