"""The convolutions of a file are those of the network that it was converted from, in every precision."""

from __future__ import annotations

import numpy as np
import pytest

from edge.tflite.backbones.convolutions import folded_convolutions
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf

layers = keras.layers


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3), batch_size=1)
    tensor = layers.Conv2D(8, 3, 2, "same", bias_initializer="random_normal", name="stem")(image)
    tensor = layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal", name="middle")(tensor)
    return keras.Model(image, layers.Conv2D(5, 1, bias_initializer="random_normal", name="last")(tensor))


def converted(network: keras.Model, precision: str) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 16, 16, 3)).astype(np.float32)
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1 / 200)])
def test_kernels_and_biases_come_back(network, precision, tolerance):
    found = folded_convolutions(converted(network, precision), "a.tflite")
    assert [one.is_depthwise for one in found] == [False, True, False]
    for name, one in zip(("stem", "middle", "last"), found, strict=True):
        kernel, bias = network.get_layer(name).get_weights()
        assert (one.kernel.dtype, one.bias.dtype) == (np.float32, np.float32)
        np.testing.assert_allclose(one.kernel, kernel, atol=tolerance * np.abs(kernel).max(), rtol=0)
        np.testing.assert_allclose(one.bias, bias, atol=tolerance * np.abs(bias).max(), rtol=0)


def test_what_is_no_tflite_is_refused():
    for data in (b"", b"\x1c\x00\x00\x00TFL2" + bytes(40)):
        with pytest.raises(InputError, match=r"a\.tflite: expected a \.tflite inside"):
            folded_convolutions(data, "a.tflite")
