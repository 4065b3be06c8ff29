"""Kernels as large as their effect: the same outputs, in inference and in training, and comparable magnitudes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.effective_kernels import set_effective_kernels
from edge.fold_batch_norm import without_batch_norm
from keras_retina.legacy_keras import keras


@pytest.fixture
def chain() -> keras.Model:
    """A convolution with a bias, and a depthwise one with multiplier 2, each with a BatchNorm of random values."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 10, 3), name="image")
    tensor = keras.layers.Conv2D(4, 3, 2, padding="same", name="stem", bias_initializer="random_normal")(image)
    tensor = keras.layers.BatchNormalization(name="stem_norm")(tensor)
    tensor = keras.layers.ReLU(6.0)(tensor)
    tensor = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="dw")(tensor)
    tensor = keras.layers.BatchNormalization(name="dw_norm", scale=False)(tensor)
    model = keras.Model(image, {"heads": keras.layers.Conv2D(2, 1, name="head")(tensor)})
    random = np.random.default_rng(0)
    for name in ("stem_norm", "dw_norm"):
        norm = model.get_layer(name)
        norm.set_weights([random.uniform(0.5, 2.0, values.shape) for values in norm.get_weights()])
    return model


def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (6, 8, 10, 3)).astype(np.float32)


def test_the_outputs_of_inference_stay_the_same(chain):
    before = chain(images(), training=False)["heads"].numpy()
    set_effective_kernels(chain)
    np.testing.assert_allclose(chain(images(), training=False)["heads"], before, atol=1e-5)


def test_the_outputs_of_training_stay_the_same_but_for_epsilon(chain):
    for name in ("stem_norm", "dw_norm"):
        chain.get_layer(name).epsilon = 1e-7
    before = chain(images(), training=True)["heads"].numpy()
    set_effective_kernels(chain)
    np.testing.assert_allclose(chain(images(), training=True)["heads"], before, atol=1e-4)


def test_kernels_become_those_of_the_folded_network_and_are_not_changed_twice(chain):
    folded = without_batch_norm(chain)
    for _ in range(2):
        set_effective_kernels(chain)
        for name in ("stem", "dw"):
            expected = folded.get_layer(name).get_weights()[0]
            np.testing.assert_allclose(chain.get_layer(name).get_weights()[0], expected, rtol=1e-4)


def test_a_channel_of_negative_and_one_of_no_scale_keep_their_outputs(chain):
    norm = chain.get_layer("stem_norm")
    norm.gamma.assign([-1.5, 0.0, 1e-4, 1.0])
    before = chain(images(), training=False)["heads"].numpy()
    set_effective_kernels(chain)
    np.testing.assert_allclose(chain(images(), training=False)["heads"], before, atol=1e-5)
    assert (norm.moving_variance.numpy() >= 0).all()
    sizes = np.abs(chain.get_layer("stem").get_weights()[0]).max((0, 1, 2))
    assert sizes[1] < sizes[3] / 10, "a channel without effect has a small kernel"


def test_a_model_without_batch_norm_stays_as_it_is(chain):
    plain = without_batch_norm(chain)
    before = plain.get_weights()
    set_effective_kernels(plain)
    for expected, values in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(values, expected)
