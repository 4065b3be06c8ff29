"""Heads are shared over the levels, start at the prior, and give rows in the order of the anchors."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.model.retinanet import head_outputs, prior_bias
from keras_retina.recipe.model import Head

SCALES, RATIOS = (1.0, 1.5), (0.5, 1.0, 2.0)


def build(settings: Head, values: int, channels: int, levels: tuple[int, ...] = (3, 4, 5), bias: float = 0.0):
    inputs = [keras.Input((64 >> level, 96 >> level, channels)) for level in levels]
    return keras.Model(
        inputs,
        head_outputs(
            inputs, settings, anchors_per_cell=len(SCALES) * len(RATIOS), values=values, name="boxes", bias=bias
        ),
    )


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

    anchors = AnchorGrid(64, 96, (levels[0], levels[-1]), 3.0, SCALES, RATIOS).boxes()
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
    model = keras.Model(inputs, head_outputs(inputs, settings, anchors_per_cell=6, values=3, name="classes"))
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


# BatchNorm for each level


def per_level(convolution: str = "separable", convolutions: int = 2) -> Head:
    return Head(convolutions=convolutions, width=8, convolution=convolution, batch_norm="per_level")


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_each_hidden_convolution_has_one_norm_a_level_and_no_bias(convolution: str):
    model = build(per_level(convolution), 4, 16)
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert sorted(norms) == [f"boxes_{index}_norm_{level}" for index in (0, 1) for level in (0, 1, 2)]
    hidden = [layer for layer in model.layers if layer.name.startswith(("boxes_0", "boxes_1")) and layer.weights]
    assert not any(layer.use_bias for layer in hidden if layer.name not in norms)
    plain = build(Head(convolutions=2, width=8, convolution=convolution), 4, 16)
    biases, of_a_norm = 2 * 8, 4 * 8
    assert model.count_params() == plain.count_params() - biases + 2 * 3 * of_a_norm


@pytest.mark.parametrize(("convolution", "limit"), [("separable", 6.0), ("full", None)])
def test_each_level_is_normalised_by_its_own_statistics_before_the_activation(convolution: str, limit: float | None):
    """The 1x1 convolution copies, or adds the neighbours up; the prediction copies: only norm and ReLU are left."""
    inputs = [keras.Input((4, 4, 8)), keras.Input((4, 4, 8))]
    model = keras.Model(
        inputs, head_outputs(inputs, per_level(convolution, 1), anchors_per_cell=2, values=4, name="boxes")
    )
    centre = np.zeros((3, 3, 8, 8), np.float32)
    centre[1, 1] = np.eye(8)
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([centre.sum(axis=3, keepdims=True)])
        elif isinstance(layer, keras.layers.Conv2D):
            kernel = centre if layer.kernel_size == (3, 3) else centre[1:2, 1:2]
            layer.set_weights([kernel, *(np.zeros(8, np.float32) for _ in range(layer.use_bias))])
    random = np.random.default_rng(0)
    expected, features = [], random.normal(scale=5.0, size=(2, 1, 4, 4, 8)).astype(np.float32)
    for level, values in enumerate(features):
        norm = model.get_layer(f"boxes_0_norm_{level}")
        gamma, beta, mean, variance = random.uniform(0.5, 2.0, (4, 8))
        norm.set_weights([gamma, beta, mean, variance])
        normalised = gamma * (values - mean) / np.sqrt(variance + norm.epsilon) + beta
        expected.append(np.clip(normalised, 0.0, limit).reshape(1, -1, 4))
    received = np.asarray(model(list(features), training=False))
    np.testing.assert_allclose(received, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-5)


def test_without_norms_the_layers_are_those_of_always():
    names = [layer.name for layer in build(Head(convolutions=1, width=8), 4, 16, (3, 4)).layers]
    assert sorted(name for name in names if name.startswith("boxes")) == [
        "boxes", "boxes_0_depthwise", "boxes_0_pointwise", "boxes_prediction_depthwise", "boxes_prediction_pointwise",
        "boxes_reshape_0", "boxes_reshape_1",
    ]  # fmt: skip


def test_one_level_has_one_norm():
    names = [layer.name for layer in build(per_level(convolutions=1), 4, 16, (5,)).layers]
    assert [name for name in names if "norm" in name] == ["boxes_0_norm_0"]


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_the_prior_is_the_score_at_the_start_with_norms_too(convolution: str):
    model = build(per_level(convolution), 4, 16, bias=prior_bias(0.01))
    silent = [np.zeros((1, 64 >> level, 96 >> level, 16), np.float32) for level in (3, 4, 5)]
    scores = 1 / (1 + np.exp(-np.asarray(model(silent, training=False))))
    np.testing.assert_allclose(scores, 0.01, rtol=1e-5)


def test_a_group_norm_is_shared_and_normalises_each_group_of_each_level():
    settings = Head(convolutions=1, width=8, convolution="full", group_norm=2)
    model = build(settings, 4, 16)
    assert model.count_params() == 9 * 16 * 8 + 2 * 8 + (9 * 8 * 24 + 24)  # no bias before the norm
    features = np.random.default_rng(0).normal(3, 5, (2, 8, 12, 16)).astype(np.float32)
    before = model.get_layer("boxes_0")(features).numpy().reshape(2, -1, 2, 4)
    mean, variance = before.mean((1, 3), keepdims=True), before.var((1, 3), keepdims=True)
    wanted = ((before - mean) / np.sqrt(variance + 1e-5)).reshape(2, 8, 12, 8)
    found = model.get_layer("boxes_0_group_norm")(model.get_layer("boxes_0")(features))
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    with pytest.raises(ValueError, match="expected a divisor of the width 8"):
        Head(width=8, group_norm=3)


@pytest.mark.parametrize("batch_norm", ["none", "per_level"])
def test_the_hidden_convolutions_have_the_activation_that_the_settings_name(batch_norm: str):
    settings = Head(convolutions=1, width=8, convolution="full", batch_norm=batch_norm, activation="swish")
    model = build(settings, 4, 16, (5,))
    layer = model.get_layer("boxes_0" if batch_norm == "none" else "boxes_0_swish_0")
    assert layer.activation.__name__ == "swish"
    with pytest.raises(ValueError, match="activation"):
        Head(activation="gelu")
