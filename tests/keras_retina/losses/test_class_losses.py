"""What every loss of classes must do, against its equation in float64, one logit at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.losses import (
    AutomatedFocalLoss,
    CrossEntropyLoss,
    EqualizedFocalLoss,
    FocalLoss,
    FocalStarLoss,
    OHEMLoss,
    QualityFocalLoss,
    VarifocalLoss,
)
from keras_retina.losses.dense import sum_over_classes
from keras_retina.losses.quality import quality_focal_terms, varifocal_terms

GRID = AnchorGrid(32, 32, levels=(3, 3), scales=(1.0,), ratios=(0.5, 1.0, 2.0))  # 48 anchors


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def cross_entropy(logit: float, wanted: float) -> float:
    score = sigmoid(logit)
    return -sum(share * math.log(p) for share, p in ((wanted, score), (1 - wanted, 1 - score)) if share)


def focal(logit: float, is_target: bool, alpha: float, gamma: float) -> float:
    p_t = sigmoid(logit if is_target else -logit)
    return -(alpha if is_target else 1 - alpha) * (1 - p_t) ** gamma * math.log(p_t)


def focal_star(logit: float, is_target: bool, alpha: float, gamma: float, beta: float) -> float:
    x_t = logit if is_target else -logit
    return -(alpha if is_target else 1 - alpha) * math.log(sigmoid(gamma * x_t + beta)) / gamma


def quality_focal(logit: float, quality: float, beta: float) -> float:
    return abs(quality - sigmoid(logit)) ** beta * cross_entropy(logit, quality)


def varifocal(logit: float, quality: float, alpha: float, gamma: float) -> float:
    if quality > 0:
        return quality * cross_entropy(logit, quality)
    return alpha * sigmoid(logit) ** gamma * cross_entropy(logit, 0.0)


Equation = Callable[[float, bool, float], float]
"""(logit, whether its class is the target, quality of the box) -> loss."""

PLAIN: list[tuple[str, keras.losses.Loss, Equation]] = [
    ("cross entropy", CrossEntropyLoss(), lambda x, target, q: cross_entropy(x, float(target))),
    ("balanced cross entropy", CrossEntropyLoss(0.75), lambda x, target, q: focal(x, target, 0.75, 0.0)),
    ("focal", FocalLoss(0.25, 1.5), lambda x, target, q: focal(x, target, 0.25, 1.5)),
    ("focal star", FocalStarLoss(0.25, 2.0, beta=1.0), lambda x, target, q: focal_star(x, target, 0.25, 2.0, 1.0)),
    (
        "focal star at gamma 4",
        FocalStarLoss(0.4, 4.0, beta=0.0),
        lambda x, target, q: focal_star(x, target, 0.4, 4.0, 0.0),
    ),
    ("automated, first batch", AutomatedFocalLoss(0.25), lambda x, target, q: focal(x, target, 0.25, 2.0)),
    ("equalized, first batch", EqualizedFocalLoss(4, 0.25), lambda x, target, q: focal(x, target, 0.25, 2.0)),
]
each_plain = pytest.mark.parametrize(("loss", "equation"), [pytest.param(*one[1:], id=one[0]) for one in PLAIN])

TERMS = [
    ("quality focal", quality_focal_terms, (2.0,), lambda x, target, q: quality_focal(x, q, 2.0)),
    ("quality focal at beta 1.5", quality_focal_terms, (1.5,), lambda x, target, q: quality_focal(x, q, 1.5)),
    ("varifocal", varifocal_terms, (0.75, 2.0), lambda x, target, q: varifocal(x, q, 0.75, 2.0)),
    ("varifocal at gamma 0", varifocal_terms, (0.5, 0.0), lambda x, target, q: varifocal(x, q, 0.5, 0.0)),
]
each_quality = pytest.mark.parametrize(
    ("terms", "settings", "equation"), [pytest.param(*t[1:], id=t[0]) for t in TERMS]
)


def random_batch(images: int = 2, anchors: int = 9, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns codes, logits and qualities, a quality of 0 among them."""
    generator = np.random.default_rng(0)
    codes = generator.integers(IGNORED, classes, (images, anchors)).astype(np.int32)
    codes[0, :4] = [0, 1, BACKGROUND, IGNORED]
    qualities = generator.uniform(0.05, 0.95, (images, anchors)).astype(np.float32)
    qualities[0, 0] = 0.0
    return codes, generator.normal(-1, 3, (images, anchors, classes)).astype(np.float32), qualities


def slow(codes: np.ndarray, logits: np.ndarray, qualities: np.ndarray, equation: Equation) -> np.ndarray:
    """Returns the loss of each anchor."""
    losses = np.zeros(codes.shape)
    for image, anchor, k in np.ndindex(logits.shape):
        if codes[image, anchor] != IGNORED:
            is_target = bool(codes[image, anchor] == k)
            quality = float(qualities[image, anchor]) if is_target else 0.0
            losses[image, anchor] += equation(float(logits[image, anchor, k]), is_target, quality)
    return losses


def slopes(codes: np.ndarray, logits: np.ndarray, qualities: np.ndarray, equation: Equation) -> np.ndarray:
    """Returns the derivative of the summed loss by each logit, by finite differences in float64."""
    found, step = np.zeros(logits.shape), 1e-4
    for place in np.ndindex(logits.shape):
        up, down = logits.astype(np.float64), logits.astype(np.float64)
        up[place] += step
        down[place] -= step
        found[place] = (slow(codes, up, qualities, equation) - slow(codes, down, qualities, equation)).sum() / (
            2 * step
        )
    return found


def with_gradient(function: Callable[[tf.Tensor], tf.Tensor], logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        losses = function(values)
        total = tf.reduce_sum(losses)
    return losses.numpy(), tape.gradient(total, values).numpy()


@each_plain
def test_equals_its_equation_with_its_slope(loss, equation):
    codes, logits, qualities = random_batch()
    losses, gradient = with_gradient(lambda values: loss.of_anchors(codes, values)[0], logits)
    np.testing.assert_allclose(losses, slow(codes, logits, qualities, equation), rtol=2e-4)
    np.testing.assert_allclose(gradient, slopes(codes, logits, qualities, equation), rtol=2e-3, atol=1e-5)


@each_quality
def test_a_loss_of_qualities_equals_its_equation_with_its_slope(terms, settings, equation):
    codes, logits, qualities = random_batch()
    losses, gradient = with_gradient(lambda v: sum_over_classes(terms, v, codes, qualities, *settings), logits)
    np.testing.assert_allclose(losses, slow(codes, logits, qualities, equation), rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(gradient, slopes(codes, logits, qualities, equation), rtol=2e-3, atol=1e-5)


def targets_of(codes: np.ndarray, loss: keras.losses.Loss) -> np.ndarray:
    """Returns `y_true`: for a loss of qualities the boxes of positive anchors fit by 0.75."""
    qualities = np.where(codes >= 0, 0.75, 0.0)  # exact in 16 bits
    return np.stack([codes, qualities], axis=-1).astype(np.float32) if loss.needs_boxes else codes


def losses_to_try() -> list[keras.losses.Loss]:
    return [
        *(loss for _, loss, _ in PLAIN),
        QualityFocalLoss(),
        VarifocalLoss(),
        OHEMLoss(GRID, keep=48, iou=1.0),
        OHEMLoss(GRID, keep=16, iou=1.0, negatives=3.0),
    ]


each_loss = pytest.mark.parametrize("loss", losses_to_try(), ids=lambda loss: loss.name)


def anchors_of_grid(*codes: int) -> np.ndarray:
    """Returns the codes of one image with all anchors of GRID: those given, then ignored ones."""
    return np.array([[*codes, *[IGNORED] * (48 - len(codes))]], np.int32)


@each_loss
@pytest.mark.parametrize("size", [40.0, 1e4])
def test_value_and_gradient_are_finite_for_extreme_logits(loss, size: float):
    codes = anchors_of_grid(0, 1, BACKGROUND, IGNORED)
    logits = np.tile(np.float32([size, -size, 0.0, 0.0]), (1, 48, 1))
    value, gradient = with_gradient(lambda v: loss(targets_of(codes, loss), v), logits)
    assert math.isfinite(float(value)) and float(value) > 0
    assert np.isfinite(gradient).all()


@each_loss
def test_ignored_anchors_contribute_neither_loss_nor_gradient(loss):
    generator = np.random.default_rng(1)
    codes = anchors_of_grid(0, 1, BACKGROUND, IGNORED, 2)
    logits = generator.normal(-1, 2, (1, 48, 4)).astype(np.float32)

    def of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return with_gradient(lambda v: loss.of_anchors(targets_of(codes, loss), v)[0], values)

    losses, gradient = of(logits)
    ignored = codes == IGNORED
    assert (losses[ignored] == 0).all() and (gradient[ignored] == 0).all()
    changed = of(np.where(ignored[..., None], 9.0, logits).astype(np.float32))[0]
    np.testing.assert_allclose(changed, losses, rtol=1e-6)


@each_loss
def test_a_batch_without_positives_still_trains_the_classes(loss):
    codes = anchors_of_grid(BACKGROUND, BACKGROUND)
    value, gradient = with_gradient(lambda v: loss(targets_of(codes, loss), v), np.zeros((1, 48, 4), np.float32))
    assert float(value) > 0 and (gradient[0, :2, :4] > 0).all()


@each_loss
def test_is_divided_by_its_count_over_all_images(loss):
    codes = np.concatenate([anchors_of_grid(0, 1, BACKGROUND), anchors_of_grid(2, BACKGROUND)])
    logits = np.random.default_rng(2).normal(-1, 2, (2, 48, 4)).astype(np.float32)
    fresh = type(loss).from_config(loss.get_config())
    losses, count = fresh.of_anchors(targets_of(codes, fresh), logits)
    assert float(count) == (5.0 if isinstance(fresh, OHEMLoss) else 3.0)
    value = float(fresh(targets_of(codes, fresh), logits))
    assert value == pytest.approx(float(tf.reduce_sum(losses)) / float(count), rel=1e-5)


@each_loss
def test_half_precision_logits_and_codes_of_any_dtype_give_the_same(loss):
    codes = anchors_of_grid(0, 1, BACKGROUND, IGNORED, 2)
    logits = np.round(np.random.default_rng(3).normal(-1, 2, (1, 48, 4)) * 4) / 4  # exact in 16 bits
    fresh = type(loss).from_config(loss.get_config())
    targets, outputs = targets_of(codes, fresh), logits.astype(np.float32)
    expected = float(tf.reduce_sum(fresh.of_anchors(targets, outputs)[0]))
    found = fresh.of_anchors(tf.constant(targets, tf.float16), tf.constant(outputs, tf.float16))[0]
    assert float(tf.reduce_sum(found)) == pytest.approx(expected, rel=1e-5) and found.dtype == tf.float32


@each_loss
def test_config_round_trip(loss):
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    restored = keras.losses.deserialize(config)
    assert type(restored) is type(loss) and restored.reduction == keras.losses.Reduction.SUM
    assert json.dumps(restored.get_config()) == json.dumps(loss.get_config())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropyLoss(1.5), r"CrossEntropyLoss needs alpha in 0..1, or None\. Received: alpha=1.5"),
        (lambda: FocalStarLoss(gamma=0.0), r"FocalStarLoss needs gamma of 0.001 or more\. Received: gamma=0.0"),
        (lambda: FocalStarLoss(beta=math.nan), r"Received: beta=nan"),
        (lambda: AutomatedFocalLoss(decay=1.0), r"decay in 0..0.9999\. Received: decay=1.0"),
        (lambda: EqualizedFocalLoss(0), r"number of classes, 1 or more\. Received: classes=0"),
        (lambda: EqualizedFocalLoss(3, scale=-1.0), r"Received: scale=-1.0"),
        (lambda: QualityFocalLoss(beta=0.5), r"beta of 1 or more\. Received: beta=0.5"),
        (lambda: VarifocalLoss(alpha=2.0), r"alpha in 0..1\. Received: alpha=2.0"),
        (lambda: OHEMLoss(GRID, keep=1), r"keep of 2 or more\. Received: keep=1"),
        (lambda: OHEMLoss(GRID, iou=1.5), r"Received: iou=1.5"),
        (lambda: OHEMLoss(GRID, negatives=0), r"Received: negatives=0"),
    ],
)
def test_impossible_settings_are_refused(build, message: str):
    with pytest.raises(InputError, match=message):
        build()
