"""The focal loss: the paper's facts, hand-computed values and Keras' own focal loss as oracle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.losses import BoxLoss, FocalLoss, focal_loss


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def single(classes: int, logits: list[float], alpha: float | None = None, gamma: float = 2.0) -> float:
    """Focal loss of one anchor."""
    return float(focal_loss(tf.constant([[classes]]), tf.constant([[logits]], tf.float32), alpha=alpha, gamma=gamma)[0])


def slow_focal_loss(classes: np.ndarray, logits: np.ndarray, alpha: float | None, gamma: float) -> np.ndarray:
    """Equation 5 in float64, one probability at a time."""
    totals = np.zeros(len(classes))
    for image, anchor, k in np.ndindex(logits.shape):
        if classes[image, anchor] == IGNORED:
            continue
        probability = 1 / (1 + math.exp(-float(logits[image, anchor, k])))
        is_target = classes[image, anchor] == k
        p_t = probability if is_target else 1 - probability
        alpha_t = 1.0 if alpha is None else alpha if is_target else 1 - alpha
        totals[image] -= alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    return totals


def value_and_gradient(loss: keras.losses.Loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    y_pred = tf.convert_to_tensor(y_pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(tf.convert_to_tensor(y_true), y_pred)
    return float(value), tape.gradient(value, y_pred).numpy()


def random_batch(images: int = 3, anchors: int = 40, class_count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    classes = generator.integers(IGNORED, class_count, (images, anchors)).astype(np.int32)
    return classes, generator.normal(-1, 3, (images, anchors, class_count)).astype(np.float32)


# Focal loss: the paper


@pytest.mark.parametrize(("p_t", "times_less", "tolerance"), [(0.9, 100, 1e-4), (0.968, 1000, 0.03)])
def test_at_gamma_2_easy_samples_weigh_as_much_less_as_the_paper_says(p_t: float, times_less: float, tolerance: float):
    """Section 3.2: 100 times lower than cross entropy at p_t = 0.9, about 1000 times at 0.968; for any class."""
    cross_entropy = -math.log(p_t)
    assert cross_entropy / single(0, [logit(p_t)]) == pytest.approx(times_less, rel=tolerance)
    assert cross_entropy / single(BACKGROUND, [logit(1 - p_t)]) == pytest.approx(times_less, rel=tolerance)


def test_at_gamma_2_a_misclassified_sample_weighs_at_most_4_times_less():
    """Section 3.2: for p_t <= .5."""
    assert -math.log(0.5) / single(0, [0.0]) == pytest.approx(4)
    assert -math.log(0.1) / single(0, [logit(0.1)]) < 4


def test_gamma_0_is_alpha_balanced_cross_entropy():
    for probability in (0.1, 0.5, 0.97):
        target = single(0, [logit(probability)], alpha=0.25, gamma=0.0)
        other = single(BACKGROUND, [logit(probability)], alpha=0.25, gamma=0.0)
        assert target == pytest.approx(-0.25 * math.log(probability), rel=1e-5)
        assert other == pytest.approx(-0.75 * math.log(1 - probability), rel=1e-5)


def test_at_the_prior_of_one_percent_background_costs_almost_nothing():
    # .75 * .01 ** 2 * -log(.99)
    assert single(BACKGROUND, [logit(0.01)], alpha=0.25) == pytest.approx(0.75 * 1e-4 * 0.01005034, rel=1e-4)


def test_without_alpha_targets_and_others_weigh_the_same():
    assert single(0, [0.7]) == pytest.approx(single(BACKGROUND, [-0.7]), rel=1e-6)


# Focal loss: oracles


@pytest.mark.parametrize("alpha", [0.25, 0.0, 1.0, None])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, 2.0])
def test_equals_the_equation_one_probability_at_a_time(alpha: float | None, gamma: float):
    classes, logits = random_batch()
    expected = slow_focal_loss(classes, logits, alpha, gamma)
    np.testing.assert_allclose(focal_loss(classes, logits, alpha=alpha, gamma=gamma), expected, rtol=1e-4)


@pytest.mark.parametrize("class_count", [1, 3, 80])
def test_is_class_count_times_the_focal_loss_of_keras(class_count: int):
    """Keras takes the mean over classes and leaves alpha off, which is why ours exists; gradients are compared too."""
    generator = np.random.default_rng(1)
    classes = generator.integers(BACKGROUND, class_count, (2, 30)).astype(np.int32)
    logits = generator.normal(-1, 3, (2, 30, class_count)).astype(np.float32)
    one_hot = tf.one_hot(classes, class_count)  # background -1 is a row of zeros
    built_in = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=0.25, gamma=2.0, from_logits=True, reduction="sum"
    )
    expected, expected_gradient = value_and_gradient(built_in, one_hot, logits)
    value, gradient = value_and_gradient(FocalLoss(), classes, logits)
    scale = class_count / max(1, np.sum(classes >= 0))
    assert value == pytest.approx(scale * expected, rel=1e-4)
    np.testing.assert_allclose(gradient, scale * expected_gradient, rtol=1e-3, atol=1e-6)


def test_gradient_equals_finite_differences_of_the_equation():
    classes, logits = random_batch(images=1, anchors=6, class_count=2)
    with tf.GradientTape() as tape:
        variable = tf.Variable(logits)
        value = tf.reduce_sum(focal_loss(tf.constant(classes), variable, alpha=0.25, gamma=1.5))
    gradient = tf.convert_to_tensor(tape.gradient(value, variable)).numpy()
    step = 1e-4
    for place in np.ndindex(logits.shape):
        up, down = logits.astype(np.float64), logits.astype(np.float64)
        up[place] += step
        down[place] -= step
        slope = np.sum(slow_focal_loss(classes, up, 0.25, 1.5) - slow_focal_loss(classes, down, 0.25, 1.5)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.25, None])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [40.0, 1e4])
def test_value_and_gradient_are_finite_for_extreme_logits(alpha: float | None, gamma: float, size: float):
    classes = np.array([[0, 1, BACKGROUND, IGNORED]], np.int32)
    logits = np.array([[[size, -size], [size, -size], [size, -size], [size, -size]]], np.float32)
    value, gradient = value_and_gradient(FocalLoss(alpha, gamma), classes, logits)
    assert math.isfinite(value)
    assert np.all(np.isfinite(gradient))
    # The second anchor's two logits and the third's first are wrong: cross entropy there is `size`, the weight 1.
    target, other = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    assert value == pytest.approx(size * (target + 2 * other) / 2, rel=1e-5)


# Focal loss: which anchors count


def test_ignored_anchors_contribute_neither_loss_nor_gradient():
    classes, logits = random_batch()
    value, gradient = value_and_gradient(FocalLoss(), classes, logits)
    assert np.all(gradient[classes == IGNORED] == 0)
    assert np.all(gradient[classes != IGNORED] != 0)
    changed = np.where((classes == IGNORED)[..., None], 99.0, logits)
    assert value_and_gradient(FocalLoss(), classes, changed)[0] == pytest.approx(value, rel=1e-6)
    # Leaving them out of the batch altogether is the same.
    kept = classes != IGNORED
    left = value_and_gradient(FocalLoss(), classes[kept][None], logits[kept][None])[0]
    assert left == pytest.approx(value, rel=1e-5)


def test_a_batch_without_positives_still_trains_the_classes():
    classes = np.full((2, 5), BACKGROUND, np.int32)
    value, gradient = value_and_gradient(FocalLoss(), classes, np.zeros((2, 5, 3), np.float32))
    assert value == pytest.approx(30 * 0.75 * 0.25 * math.log(2), rel=1e-5)  # divided by 1
    assert np.all(gradient > 0)


def test_an_image_without_objects_trains_beside_one_with_objects():
    classes = np.array([[0, BACKGROUND], [BACKGROUND, BACKGROUND]], np.int32)
    _, gradient = value_and_gradient(FocalLoss(), classes, np.zeros((2, 2, 1), np.float32))
    assert np.all(gradient[1] > 0)


def test_is_divided_by_the_positives_of_the_batch_not_of_each_image():
    classes = np.array([[0, 1, 0], [BACKGROUND, 1, IGNORED]], np.int32)
    logits = np.random.default_rng(2).normal(size=(2, 3, 2)).astype(np.float32)
    expected = slow_focal_loss(classes, logits, 0.25, 2.0) / 4
    loss = FocalLoss()
    np.testing.assert_allclose(loss.call(tf.constant(classes), tf.constant(logits)), expected, rtol=1e-5)
    assert float(loss(classes, logits)) == pytest.approx(expected.sum(), rel=1e-5)


def test_class_zero_is_trained_like_any_other():
    assert single(0, [0.3, 0.0]) == pytest.approx(single(1, [0.0, 0.3]), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32, np.float16])
def test_codes_may_arrive_in_any_dtype(dtype: type):
    classes, logits = random_batch()
    expected = float(FocalLoss()(classes, logits))
    assert float(FocalLoss()(tf.constant(classes.astype(dtype)), logits)) == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_are_summed_in_full_precision():
    classes = np.full((1, 5000), BACKGROUND, np.int32)
    logits = tf.zeros((1, 5000, 30), tf.float16)  # the sum, 19500, is within float16 but not its 150000 terms' rounding
    expected = 150_000 * 0.75 * 0.25 * math.log(2)
    assert float(FocalLoss()(classes, logits)) == pytest.approx(expected, rel=1e-4)


def test_both_losses_have_one_normaliser():
    """The same anchors counted by class code and by flag."""
    classes = np.array([[0, BACKGROUND, IGNORED, 2, 1]], np.int32)
    flags = np.zeros((1, 5, 5), np.float32)
    flags[..., 4] = classes >= 0
    focal = float(FocalLoss()(classes, np.zeros((1, 5, 3), np.float32)))
    assert focal == pytest.approx(float(focal_loss(classes, np.zeros((1, 5, 3), np.float32))[0]) / 3, rel=1e-6)
    boxes = float(BoxLoss()(flags, np.ones((1, 5, 4), np.float32)))
    assert boxes == pytest.approx(3 * 4 * 0.95 / 3, rel=1e-5)


# As Keras objects


@pytest.mark.parametrize(
    "loss",
    [FocalLoss(0.4, 1.5, name="mine"), FocalLoss(None)],
    ids=lambda loss: loss.name,
)
def test_config_round_trip(loss: keras.losses.Loss):
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    restored = keras.losses.deserialize(config)
    assert type(restored) is type(loss)
    assert restored.get_config() == loss.get_config()
    assert restored.reduction == keras.losses.Reduction.SUM


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FocalLoss(alpha=1.5), r"alpha in 0..1.*Received: alpha=1.5"),
        (lambda: FocalLoss(gamma=-1.0), r"Received: gamma=-1.0"),
        (lambda: FocalLoss(gamma=float("nan")), r"Received: gamma=nan"),
    ],
)
def test_impossible_settings_are_refused(build, message: str):
    with pytest.raises(InputError, match=message):
        build()
