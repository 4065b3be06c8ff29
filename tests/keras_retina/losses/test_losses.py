"""The paper's facts, hand-computed values, Keras' own focal loss as oracle, and one replica against two."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.losses import (
    BOX_LOSSES,
    BoxLoss,
    FocalLoss,
    GIoULoss,
    box_loss,
    box_loss_of_images,
    detector_losses,
    focal_loss,
    smooth_l1,
)
from keras_retina.recipe.training import BoxLossName, Loss


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


# Smooth L1


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


# Box loss


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


def test_a_recipe_names_the_box_losses_that_there_are():
    assert set(get_args(BoxLossName)) == set(BOX_LOSSES)


def test_the_loss_of_a_recipe_has_its_settings():
    settings = {"box_beta": 0.3, "box_weight": 0.7, "alpha": 0.4, "gamma": 1.0}
    smooth = detector_losses(Loss(box="smooth_l1", **settings), (1.0, 2.0, 3.0, 4.0))
    giou = detector_losses(Loss(box="giou", **settings), (1.0, 2.0, 3.0, 4.0))
    assert isinstance(smooth["boxes"], BoxLoss) and (smooth["boxes"].beta, smooth["boxes"].weight) == (0.3, 0.7)
    assert isinstance(giou["boxes"], GIoULoss)
    assert (giou["boxes"].coder_weights, giou["boxes"].weight) == ((1.0, 2.0, 3.0, 4.0), 0.7)
    assert isinstance(giou["classes"], FocalLoss) and (giou["classes"].alpha, giou["classes"].gamma) == (0.4, 1.0)


@pytest.mark.parametrize("box", BOX_LOSSES)
def test_the_losses_of_the_images_add_up_to_the_loss_of_the_batch_times_its_positives(box):
    generator = np.random.default_rng(0)
    deltas = generator.normal(size=(3, 8, 4)).astype(np.float32)
    flags = np.arange(24).reshape(3, 8, 1) % 5 == 0  # 5 positives
    wanted = np.concatenate([generator.normal(size=(3, 8, 4)) * flags, flags], axis=-1).astype(np.float32)
    settings, weights = Loss(box=box, box_weight=0.7), (10.0, 10.0, 5.0, 5.0)
    images = box_loss_of_images(settings, weights, targets=tf.constant(wanted), deltas=tf.constant(deltas))
    assert images.shape == (3,) and (images.numpy() > 0).all()
    whole = detector_losses(settings, weights)["boxes"](wanted, deltas)
    assert float(tf.reduce_sum(images)) == pytest.approx(5 * float(whole), rel=1e-6)


def test_both_losses_have_one_normaliser():
    """The same anchors counted by class code and by flag."""
    classes = np.array([[0, BACKGROUND, IGNORED, 2, 1]], np.int32)
    flags = np.zeros((1, 5, 5), np.float32)
    flags[..., 4] = classes >= 0
    focal = float(FocalLoss()(classes, np.zeros((1, 5, 3), np.float32)))
    assert focal == pytest.approx(float(focal_loss(classes, np.zeros((1, 5, 3), np.float32))[0]) / 3, rel=1e-6)
    boxes = float(BoxLoss()(flags, np.ones((1, 5, 4), np.float32)))
    assert boxes == pytest.approx(float(box_loss(flags, np.ones((1, 5, 4), np.float32))[0]) / 3, rel=1e-6)


# As Keras objects


@pytest.mark.parametrize(
    "loss",
    [FocalLoss(0.4, 1.5, name="mine"), FocalLoss(None), BoxLoss(0.5, 2.0, name="other"), BoxLoss()],
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
        (lambda: BoxLoss(beta=-0.1), r"Received: beta=-0.1"),
        (lambda: BoxLoss(weight=float("inf")), r"Received: weight=inf"),
    ],
)
def test_impossible_settings_are_refused(build, message: str):
    with pytest.raises(InputError, match=message):
        build()


# Several replicas


FIT_ON_ONE_AND_TWO_REPLICAS = """
import json
import numpy as np
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

anchors, class_count, images = 6, 3, 8
generator = np.random.default_rng(0)
features = generator.normal(size=(images, 5)).astype("float32")
classes = np.full((images, anchors), -1, "int32")
classes[0] = [0, 1, 2, 2, 0, -2]   # five positives for the first replica,
classes[1, 3] = 1                  # one more,
classes[2, 1] = -2                 # none for the second replica, and none in the second batch
flags = (classes >= 0).astype("float32")[..., None]
boxes = np.concatenate([generator.normal(size=(images, anchors, 4)) * flags, flags], axis=-1).astype("float32")
# Two batches of four images; of each, the first two go to the first replica.
dataset = tf.data.Dataset.from_tensor_slices((features, {"classes": classes, "boxes": boxes})).batch(4)


def fit(devices):
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        inputs = keras.Input((5,))
        heads = {}
        for name, width in (("classes", class_count), ("boxes", 4)):
            initializer = keras.initializers.RandomNormal(stddev=0.5, seed=len(name))
            dense = keras.layers.Dense(anchors * width, kernel_initializer=initializer)(inputs)
            heads[name] = keras.layers.Reshape((anchors, width), name=name)(dense)
        model = keras.Model(inputs, heads)
        loss = {"classes": FocalLoss(), "boxes": BoxLoss(weight=2.0)}
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss)
    history = model.fit(dataset, validation_data=dataset, epochs=2, shuffle=False, verbose=0).history
    weights = [weight.tolist() for weight in model.get_weights()]
    return {"replicas": strategy.num_replicas_in_sync, "history": history, "weights": weights}


print(json.dumps([fit(["CPU:0"]), fit(["CPU:0", "CPU:1"])]))
"""


def test_one_replica_and_two_give_the_same_loss_and_the_same_update_in_fit():
    """In a fresh process, because logical devices must be set up before TensorFlow starts."""
    command = [sys.executable, "-c", FIT_ON_ONE_AND_TWO_REPLICAS]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    one, two = json.loads(run.stdout.splitlines()[-1])
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert set(one["history"]) >= {"loss", "classes_loss", "boxes_loss", "val_loss"}
    for name, values in one["history"].items():
        assert two["history"][name] == pytest.approx(values, rel=1e-5), name
    assert one["history"]["loss"][0] > one["history"]["loss"][1] > 0
    for a, b in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
