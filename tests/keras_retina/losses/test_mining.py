"""Which anchors hard example mining learns from, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.matching import BACKGROUND, IGNORED
from keras_retina.losses import CrossEntropyLoss, OHEMLoss
from keras_retina.losses.mining import hard_anchors

# Three anchors in a row that overlap by 0.6, then three far apart.
BOXES = np.float32(
    [[0, 0, 10, 10], [0, 2.5, 10, 12.5], [0, 5, 10, 15], [0, 50, 9, 59], [50, 0, 59, 9], [50, 50, 59, 59]]
)


def chosen(losses: list[float], codes: list[int], **settings) -> list[int]:
    found = hard_anchors(
        tf.constant(losses),
        tf.constant(codes),
        anchors=tf.constant(BOXES),
        **{"iou": 0.5, "negatives": None, **settings},
    )
    return np.flatnonzero(found).tolist()


def test_the_hardest_are_kept_and_what_overlaps_them_is_dropped():
    losses, codes = [3.0, 4.0, 2.0, 1.0, 0.5, 0.1], [0, BACKGROUND, 1, BACKGROUND, BACKGROUND, 2]
    assert chosen(losses, codes, keep=3) == [1, 3, 4]  # anchors 0 and 2 overlap anchor 1 by 0.6
    assert chosen(losses, codes, keep=3, iou=0.7) == [0, 1, 2]
    assert chosen(losses, codes, keep=9) == [1, 3, 4, 5]


def test_ignored_anchors_are_never_chosen():
    assert chosen([9.0, 1.0, 1.0, 1.0, 0.0, 2.0], [IGNORED, IGNORED, 0, -1, -1, IGNORED], keep=6) == [2, 3, 4]
    assert chosen([9.0] * 6, [IGNORED] * 6, keep=6) == []


def test_with_a_ratio_positives_and_background_are_chosen_apart():
    losses, codes = [1.0, 5.0, 0.9, 4.0, 3.0, 2.0], [0, BACKGROUND, 1, BACKGROUND, BACKGROUND, BACKGROUND]
    # One positive of four, and three of the background: anchor 2 overlaps anchor 0 by 0.33.
    assert chosen(losses, codes, keep=4, negatives=3.0) == [0, 1, 3, 4]
    # Two positives of eight, and at most six of the background.
    assert chosen(losses, codes, keep=8, negatives=3.0) == [0, 1, 2, 3, 4, 5]
    assert chosen(losses, codes, keep=4, negatives=1.0) == [0, 1, 2, 3]


def test_an_image_without_a_positive_gives_its_share_of_background():
    assert chosen([1.0, 5.0, 0.9, 4.0, 3.0, 2.0], [BACKGROUND] * 6, keep=4, negatives=3.0) == [1, 3, 4]


def test_more_anchors_than_usual_may_be_kept():
    count = 5000
    boxes = np.stack([np.arange(count), np.zeros(count), np.arange(count) + 1, np.ones(count)], axis=1).astype(
        np.float32
    )
    found = hard_anchors(
        tf.ones(count), tf.fill([count], -1), anchors=tf.constant(boxes), keep=count, iou=0.5, negatives=None
    )
    assert np.count_nonzero(found) == count


def test_the_loss_is_the_mean_cross_entropy_of_the_chosen_anchors():
    grid = AnchorGrid(32, 32, levels=(3, 3), scales=(1.0,), ratios=(1.0,))  # 16 anchors
    generator = np.random.default_rng(0)
    codes = generator.integers(BACKGROUND, 3, (2, 16)).astype(np.int32)
    logits = tf.constant(generator.normal(size=(2, 16, 3)).astype(np.float32))
    of_anchors = CrossEntropyLoss().of_anchors(codes, logits)[0].numpy()
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = OHEMLoss(grid, keep=4, iou=1.0)(codes, logits)
    hardest = np.sort(of_anchors, axis=1)[:, -4:]
    assert float(value) == pytest.approx(hardest.mean(), rel=1e-5)
    moved = np.any(tape.gradient(value, logits).numpy() != 0, axis=-1)
    np.testing.assert_array_equal(moved, of_anchors >= hardest[:, :1])
