"""The table of layers says of each kind what the code that saves, prunes and quantizes a detector relies on."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.layers import LAYERS, NO_ROLE, role_of

layers = keras.layers

# One of each kind that has one input, on maps of 4 x 4 x 6.
ONE_OF_EACH = (
    layers.Activation("relu6"),
    layers.BatchNormalization(),
    layers.Conv2D(5, 3),
    layers.DepthwiseConv2D(3),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.LayerNormalization(),
    layers.GroupNormalization(3),
    layers.MaxPooling2D(),
    layers.ReLU(6.0),
    layers.Rescaling(1 / 6, 0.5),
    layers.Reshape((16, 6)),
    layers.UpSampling2D(interpolation="bilinear"),
    layers.ZeroPadding2D(1),
)
TWO_INPUTS = (layers.Add(), layers.Attention(), layers.Concatenate(axis=1), layers.Multiply())


def outputs_of(layer: keras.layers.Layer, maps: np.ndarray) -> np.ndarray:
    return layer([maps, 0.5 * maps] if layer in TWO_INPUTS else maps).numpy()


each_layer = pytest.mark.parametrize("layer", (*ONE_OF_EACH, *TWO_INPUTS), ids=lambda layer: type(layer).__name__)


def test_the_layers_here_are_all_kinds_of_the_table():
    assert {type(layer) for layer in (*ONE_OF_EACH, *TWO_INPUTS)} | {layers.InputLayer} == set(LAYERS)


@each_layer
def test_who_keeps_the_scale_divides_a_channel_of_the_output_with_that_of_the_input(layer):
    maps = np.random.default_rng(0).normal(size=(1, 4, 4, 6)).astype(np.float32)
    factors = np.array([1, 2, 4, 8, 16, 32], np.float32)
    if role_of(layer).keeps_scale:
        np.testing.assert_array_equal(outputs_of(layer, maps / factors), outputs_of(layer, maps) / factors)


@each_layer
def test_all_but_a_producer_hand_their_channels_on(layer):
    maps = np.random.default_rng(0).normal(size=(1, 4, 4, 6)).astype(np.float32)
    assert (outputs_of(layer, maps).shape[-1] == 6) == (role_of(layer).prune != "producer")


@each_layer
def test_a_layer_that_only_passes_channels_has_no_weights_to_cut(layer):
    outputs_of(layer, np.zeros((1, 4, 4, 6), np.float32))
    if role_of(layer).prune == "passing":
        assert not layer.weights


def test_a_subclass_and_an_unknown_kind_have_no_role():
    assert role_of(layers.Conv2DTranspose(2, 1)) == role_of(layers.Dense(2)) == NO_ROLE
    assert NO_ROLE.prune is None and NO_ROLE.int8 is None and not NO_ROLE.keeps_scale
