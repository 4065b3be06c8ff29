"""Heads are shared over the levels, start at the prior, and give rows in the order of the anchors."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.anchors import anchor_boxes
from keras_retina.legacy_keras import keras
from keras_retina.model.heads import head_outputs, prior_bias
from keras_retina.recipe import Head

SCALES, RATIOS = (1.0, 1.5), (0.5, 1.0, 2.0)


def build(settings: Head, values: int, channels: int, levels: tuple[int, ...] = (3, 4, 5), bias: float = 0.0):
    inputs = [keras.Input((64 >> level, 96 >> level, channels)) for level in levels]
    return keras.Model(inputs, head_outputs(inputs, settings, len(SCALES) * len(RATIOS), values, "boxes", bias))


def cell_contents(level: int, size: float) -> np.ndarray:
    """A feature map whose channels hold (cy, cx, h, w) of each anchor of the cell, by the rule of the anchors' docs."""
    stride = 2**level
    rows, columns = 64 // stride, 96 // stride
    features = np.zeros((1, rows, columns, len(RATIOS), len(SCALES), 4), np.float32)
    for row, column, ratio, scale in np.ndindex(features.shape[1:5]):
        side = size * stride * SCALES[scale]
        root = RATIOS[ratio] ** 0.5
        features[0, row, column, ratio, scale] = (row + 0.5) * stride, (column + 0.5) * stride, side * root, side / root
    return features.reshape(1, rows, columns, -1)


@pytest.mark.parametrize("levels", [(3, 4, 5), (5,)])
def test_output_rows_are_in_the_order_of_the_anchors(levels: tuple[int, ...]):
    channels = len(SCALES) * len(RATIOS) * 4
    model = build(Head(convolutions=0, width=8, convolution="full"), 4, channels, levels)
    layer = model.get_layer("boxes_prediction")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[1, 1] = np.eye(channels)  # a convolution that copies its input
    layer.set_weights([kernel, np.zeros(channels, np.float32)])

    features = [cell_contents(level, 3.0) for level in levels]
    outputs = np.asarray(model(features if len(features) > 1 else features[0]))[0]

    anchors = anchor_boxes(64, 96, (levels[0], levels[-1]), 3.0, SCALES, RATIOS)
    centres, sizes = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(outputs, np.concatenate([centres, sizes], axis=1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        # two hidden convolutions 16 -> 8 -> 8, then 8 -> 6 * 4, each with bias
        ("full", (9 * 16 * 8 + 8) + (9 * 8 * 8 + 8) + (9 * 8 * 24 + 24)),
        # depthwise without bias, then 1x1 with bias
        ("separable", (9 * 16 + 16 * 8 + 8) + (9 * 8 + 8 * 8 + 8) + (9 * 8 + 8 * 24 + 24)),
    ],
)
def test_the_weights_are_counted_once_whatever_the_number_of_levels(convolution: str, expected: int):
    settings = Head(convolutions=2, width=8, convolution=convolution)
    assert build(settings, 4, 16).count_params() == expected
    assert build(settings, 4, 16, (3, 4)).count_params() == expected


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_the_same_features_give_the_same_rows_on_every_level(convolution: str):
    settings = Head(convolutions=1, width=8, convolution=convolution)
    inputs = [keras.Input((4, 4, 16)), keras.Input((4, 4, 16))]
    model = keras.Model(inputs, head_outputs(inputs, settings, 6, 3, "classes"))
    features = np.random.default_rng(0).normal(size=(1, 4, 4, 16)).astype(np.float32)
    rows = np.asarray(model([features, features]))
    np.testing.assert_array_equal(rows[:, :96], rows[:, 96:])
    assert np.std(rows) > 0


@pytest.mark.parametrize("prior", [0.01, 0.5, 0.99])
def test_the_prior_is_the_score_of_every_anchor_at_the_start(prior: float):
    model = build(Head(convolutions=1, width=8, prior=prior), 4, 16, bias=prior_bias(prior))
    silent = [np.zeros((1, 64 >> level, 96 >> level, 16), np.float32) for level in (3, 4, 5)]
    scores = 1 / (1 + np.exp(-np.asarray(model(silent))))
    np.testing.assert_allclose(scores, prior, rtol=1e-5)
