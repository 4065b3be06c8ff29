"""Kernels as large as their effect: the same outputs, in inference and in training, and comparable magnitudes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.quantize.batch_norm import set_effective_kernels, without_batch_norm
from keras_retina.foundation.legacy_keras import keras


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


@pytest.fixture
def levels() -> keras.Model:
    """A convolution that two maps share, each with a BatchNorm behind it: epsilon 1, three channels."""
    image = keras.Input((4, 4, 2), name="image")
    shared = keras.layers.Conv2D(3, 1, use_bias=False, name="shared")
    maps = {"large": image, "small": keras.layers.MaxPooling2D(2)(image)}
    heads = {
        name: keras.layers.BatchNormalization(epsilon=1.0, name=f"norm_{name}")(shared(tensor))
        for name, tensor in maps.items()
    }
    model = keras.Model(image, heads)
    large = [-4.0, 1.0, 0.0], [0.5, 0.0, 1.0], [0.3, -0.3, 0.0], [3.0, 0.0, 8.0]  # gamma, beta, mean, variance
    small = [3.0, 7.0, 0.0], [0.0, -0.5, 0.0], [0.0, 0.1, 0.2], [8.0, 48.0, 3.0]
    for name, values in (("large", large), ("small", small)):
        model.get_layer(f"norm_{name}").set_weights([np.array(value) for value in values])
    return model


def test_a_shared_kernel_is_scaled_by_the_root_mean_square_of_its_norms(levels):
    """Factors by hand: 4/2 and 3/3, 1/1 and 7/7; of gamma 0 it is the least that leaves a variance, 1/2."""
    kernel = levels.get_layer("shared").get_weights()[0]
    image = np.random.default_rng(2).uniform(-1, 1, (3, 4, 4, 2)).astype(np.float32)
    before = levels(image, training=False)
    for _ in range(2):
        set_effective_kernels(levels)
        found = levels.get_layer("shared").get_weights()[0]
        np.testing.assert_allclose(found, kernel * [np.sqrt((4 + 1) / 2), 1.0, 0.5], rtol=1e-5)
        for name, expected in before.items():
            np.testing.assert_allclose(levels(image, training=False)[name], expected, atol=1e-5)
    assert all(
        (norm.moving_variance.numpy() >= 0).all() for norm in map(levels.get_layer, ("norm_large", "norm_small"))
    )


def test_the_outputs_of_a_detector_with_norms_for_each_level_stay_the_same(small_per_level):
    model = keras.models.clone_model(small_per_level.model)
    model.set_weights(small_per_level.model.get_weights())
    set_effective_kernels(model)
    assert not np.allclose(
        *(one.get_layer("boxes_0_pointwise").get_weights()[0] for one in (model, small_per_level.model))
    )
    for (image,) in small_per_level.samples():
        for name, expected in small_per_level.model(image, training=False).items():
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(model(image, training=False)[name], expected, atol=1e-5 * scale)


def test_a_model_without_batch_norm_stays_as_it_is(chain):
    plain = without_batch_norm(chain)
    before = plain.get_weights()
    set_effective_kernels(plain)
    for expected, values in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(values, expected)
