"""Rounding of images, heads, weights and biases, and what is kept of a kernel."""

from __future__ import annotations

import numpy as np

from edge.quantize.aware.quantizers import (
    ChannelScales,
    QuantizedWeights,
    RoundedBias,
    RoundedEnlargement,
    RoundedHead,
    RoundedImage,
)
from keras_retina.foundation.legacy_keras import keras, tf


def test_every_camera_byte_is_a_step_of_its_own():
    levels = np.arange(256, dtype=np.float32)
    rounded = RoundedImage(-128 / 127.5, 127 / 127.5)((levels - 127.5) / 127.5)
    np.testing.assert_allclose(rounded, (levels - 128) / 127.5, atol=1e-6)


def test_a_logit_below_its_range_still_gets_a_gradient():
    head = RoundedHead(-7.0, 1.0)
    logits = tf.constant([-20.0, -3.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        outputs = head(logits, training=True)
    np.testing.assert_allclose(outputs, [-7.0, -3.0], atol=8 / 255)
    np.testing.assert_allclose(tape.gradient(outputs, logits), [1.0, 1.0])


def wrapped(layer: keras.layers.Layer, channels: int, preserve: str = "nothing") -> QuantizedWeights:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    result = QuantizedWeights(layer, ChannelScales(preserve, depthwise))
    result.build((None, 4, 4, channels))
    return result


def test_a_kernel_is_rounded_to_127_steps_of_each_channel():
    layer = wrapped(keras.layers.Conv2D(2, 1, use_bias=False), 2)
    kernel = np.array([[1.0, 0.0], [0.304, 63.5]], np.float32).reshape(1, 1, 2, 2)
    layer.master_kernel.assign(kernel)
    outputs = layer(np.eye(2, dtype=np.float32).reshape(1, 1, 2, 2))
    expected = [[1.0, 0.0], [39 / 127, 63.5]]  # 0.304 * 127 = 38.6
    np.testing.assert_allclose(np.reshape(outputs, (2, 2)), expected, rtol=1e-6)
    np.testing.assert_allclose(layer.steps(), [1 / 127, 0.5])


def test_a_depthwise_kernel_has_a_scale_for_each_output():
    layer = wrapped(keras.layers.DepthwiseConv2D(1, depth_multiplier=2, use_bias=False), 2)
    layer.master_kernel.assign(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(1, 1, 2, 2))
    np.testing.assert_allclose(layer.steps(), np.array([1, 2, 3, 4]) / 127)
    np.testing.assert_allclose(np.ravel(layer(np.ones((1, 1, 1, 2), np.float32))), [1, 2, 3, 4])


def test_an_empty_channel_has_a_step():
    layer = wrapped(keras.layers.Conv2D(1, 1), 1)
    layer.master_kernel.assign(np.zeros((1, 1, 1, 1), np.float32))
    assert layer.steps().numpy()[0] > 0
    assert np.ravel(layer(np.ones((1, 1, 1, 1), np.float32))) == [0.0]


def test_a_bias_is_rounded_to_the_step_of_input_times_weights():
    layer = wrapped(keras.layers.Conv2D(1, 1, activation="relu"), 1)
    layer.master_kernel.assign(np.full((1, 1, 1, 1), 1.27, np.float32))  # steps of 0.01
    layer.master_bias.assign([1.024])
    bias = RoundedBias(layer, 0.1)  # steps of 0.001: nothing is lost
    image = np.zeros((1, 1, 1, 1), np.float32)
    np.testing.assert_allclose(np.ravel(bias(layer(image))), [1.024], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(RoundedBias(layer, 10.0)(layer(image))), [1.0], rtol=1e-6)  # steps of 0.1
    layer.master_bias.assign([-1.0])
    assert np.ravel(bias(layer(image))) == [0.0]  # the activation of the convolution


def test_zeros_and_equal_weights_stay_with_their_gradients():
    start = np.array([0.0, 0.5, 0.5, -1.0, 0.0, -1.0, 0.5, -1.0], np.float32).reshape(1, 1, 8, 1)
    for preserve in ("sparsity", "clusters"):
        inner = keras.layers.Conv2D(1, 1, use_bias=False)
        inner.build((None, 1, 1, 8))
        inner.set_weights([start])
        layer = wrapped(inner, 8, preserve)
        optimizer = keras.optimizers.Adam(0.1)
        random = np.random.default_rng(0).normal(size=(3, 1, 1, 8)).astype(np.float32)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(random) ** 2)
            optimizer.minimize(loss, layer.trainable_weights, tape)
        kernel = np.ravel(layer.kept_kernel())
        assert set(np.flatnonzero(kernel == 0)) == {0, 4}
        assert not np.allclose(kernel, np.ravel(start))
        distinct = 3 if preserve == "clusters" else 7
        assert len(np.unique(kernel)) == distinct


def test_halves_of_an_enlarged_map_go_up():
    values = np.array([-1.5, -0.5, 0.5, 1.5, 2.25], np.float32)
    np.testing.assert_allclose(RoundedEnlargement(-100.0, 155.0)(values), [-1.0, 0.0, 1.0, 2.0, 2.0], atol=1e-5)
