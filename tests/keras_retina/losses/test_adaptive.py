"""Gammas that follow the training, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.losses import AutomatedFocalLoss, EqualizedFocalLoss, FocalLoss


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def one_image(*anchors: tuple[int, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns codes and logits of anchors, `(code, probability of each class)`."""
    codes = np.array([[code for code, _ in anchors]], np.int32)
    return codes, np.array([[[logit(p) for p in scores] for _, scores in anchors]], np.float32)


def test_gamma_is_minus_the_logarithm_of_the_mean_probability_of_positive_anchors():
    loss = AutomatedFocalLoss(decay=0.5)
    assert float(loss.gamma) == 2.0  # nothing was seen
    batch = one_image((0, [0.2, 0.9]), (1, [0.5, 0.4]), (BACKGROUND, [0.9, 0.9]), (IGNORED, [0.9, 0.9]))
    first = float(loss(*batch))
    assert first == pytest.approx(float(FocalLoss(0.25, 2.0)(*batch)), rel=1e-6)
    assert float(loss.gamma) == pytest.approx(-math.log(0.3), rel=1e-5)  # of 0.2 and 0.4
    second = float(loss(*batch))
    assert second == pytest.approx(float(FocalLoss(0.25, -math.log(0.3))(*batch)), rel=1e-5)
    loss(*one_image((0, [0.8, 0.1])))
    # The moving mean forgets its start: (0.25 of 0.3, 0.25 of it in the first half, 0.5 of 0.8) over 0.875.
    assert float(loss.gamma) == pytest.approx(-math.log((0.3 * 0.375 + 0.8 * 0.5) / 0.875), rel=1e-5)


def test_a_batch_without_objects_leaves_gamma_alone():
    loss = AutomatedFocalLoss()
    empty = one_image((BACKGROUND, [0.3]))
    loss(*empty)
    assert float(loss.gamma) == 2.0
    loss(*one_image((0, [0.5])))
    loss(*empty)
    assert float(loss.gamma) == pytest.approx(math.log(2), rel=1e-5)


def test_gamma_is_0_once_every_object_is_certain_and_finite_when_none_is():
    loss = AutomatedFocalLoss(decay=0.0)
    loss(np.array([[0]]), np.array([[[1e4]]], np.float32))
    assert float(loss.gamma) == 0.0
    loss(np.array([[0]]), np.array([[[-1e4]]], np.float32))
    assert float(loss.gamma) == pytest.approx(-math.log(1e-8), rel=1e-5)


def test_a_class_that_is_pushed_down_more_than_up_gets_a_larger_gamma_and_weight():
    """Slopes at a score of 0.5 and gamma 2: 0.25 (2 * 0.5 * ln 2 + 0.5) times alpha_t."""
    loss = EqualizedFocalLoss(2, alpha=0.25, gamma=2.0, scale=8.0)
    np.testing.assert_array_equal(loss.gammas, [2.0, 2.0])
    loss(*one_image((0, [0.5, 0.5]), (BACKGROUND, [0.5, 0.5])))
    slope = 0.25 * (2 * 0.5 * math.log(2) + 0.5)
    np.testing.assert_allclose(loss.state[0], [[0.25 * slope, 0], [0.75 * slope, 1.5 * slope]], rtol=1e-5)
    gammas = [2 + 8 * (1 - 1 / 3), 10.0]
    np.testing.assert_allclose(loss.gammas, gammas, rtol=1e-5)
    # Class 1 as the target at a score of 0.5: alpha gamma_j / gamma * 0.5 ** gamma_j * ln 2.
    codes, logits = one_image((1, [1e-9, 0.5]))
    losses, count = loss.of_anchors(codes, logits)
    assert float(losses[0, 0]) == pytest.approx(0.25 * 5 * 0.5**10 * math.log(2), rel=1e-4) and float(count) == 1


def test_a_class_in_balance_has_the_focal_loss():
    loss = EqualizedFocalLoss(1)
    batch = one_image((0, [0.1]), (BACKGROUND, [0.05]))  # the target's gradient is the larger one
    expected = float(FocalLoss()(*batch))
    assert [float(loss(*batch)) for _ in range(3)] == pytest.approx([expected] * 3, rel=1e-5)
