"""Multiply-adds and parameters against numbers worked out by hand."""

from __future__ import annotations

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import layer_multiply_adds, multiply_adds


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A strided convolution, a depthwise one, and a convolution that is shared by an 8 x 4 and a 4 x 2 map."""
    image = keras.Input((16, 8, 3), name="image")
    first = keras.layers.Conv2D(5, 3, 2, padding="same", use_bias=False, name="first")(image)  # 8 x 4
    norm = keras.layers.BatchNormalization(name="norm")(first)
    smaller = keras.layers.DepthwiseConv2D(3, 2, padding="same", name="depthwise")(norm)  # 4 x 2
    shared = keras.layers.Conv2D(7, 1, name="shared")
    rows = [keras.layers.Reshape((-1, 7))(shared(tensor)) for tensor in (norm, smaller)]
    return keras.Model(image, {"rows": keras.layers.Concatenate(axis=1)(rows)})


def test_each_layer_counts_kernel_times_cells_and_a_shared_one_every_call(model):
    assert layer_multiply_adds(model) == {
        "first": 3 * 3 * 3 * 5 * (8 * 4),
        "depthwise": 3 * 3 * 5 * (4 * 2),
        "shared": 5 * 7 * (8 * 4 + 4 * 2),
    }
    assert multiply_adds(model) == 4320 + 360 + 1400


def test_valid_padding_counts_the_cells_that_are_left():
    image = keras.Input((6, 6, 2))
    model = keras.Model(image, {"out": keras.layers.Conv2D(4, 3, name="valid")(image)})
    assert multiply_adds(model) == 3 * 3 * 2 * 4 * (4 * 4)


def test_calls_by_another_model_are_not_counted(model):
    """Training builds further graphs of the same layers."""
    before = multiply_adds(model)
    model.get_layer("shared")(keras.Input((2, 2, 5)))
    assert multiply_adds(model) == before


def test_a_model_without_convolutions_multiplies_nothing():
    image = keras.Input((4, 4, 2))
    assert multiply_adds(keras.Model(image, {"out": keras.layers.ReLU()(image)})) == 0


def test_an_open_input_size_is_refused():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, {"out": keras.layers.Conv2D(2, 1)(image)})
    with pytest.raises(InputError, match=r"fixed height and width. Received: input_shape=\(None, None, None, 3\)"):
        multiply_adds(model)


def test_mobilenet_v2_has_the_300_million_of_its_paper():
    """Sandler et al., table 4: 300 M with the classifier, which is 1.3 M of them (1280 x 1000)."""
    network = keras.applications.MobileNetV2((224, 224, 3), include_top=False, weights=None)
    model = keras.Model(network.input, {"out": network.output})
    assert multiply_adds(model) == pytest.approx(299.5e6, rel=0.005)
