"""Equalization changes no output in float and evens out the channels of linear feature maps."""

from __future__ import annotations

import numpy as np
import pytest

from edge.quantize.equalize import channel_groups, equalized
from keras_retina.foundation.legacy_keras import keras, tf


@pytest.fixture
def uneven_model() -> keras.Model:
    """Two linear bottlenecks that are added, read by a shared convolution and a depthwise one; channel 0 is 100 x."""
    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3))
    first = keras.layers.BatchNormalization(name="norm")(
        keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="inner")(image)
    )
    second = keras.layers.Conv2D(4, 1, name="second", bias_initializer="random_normal")(image)
    both = keras.layers.Add(name="sum")([first, second])
    smaller = keras.layers.DepthwiseConv2D(3, 2, padding="same", name="depthwise")(both)
    shared = keras.layers.Conv2D(5, 1, activation="relu6", name="shared")
    flat = [keras.layers.Reshape((-1, 5))(shared(tensor)) for tensor in (both, smaller)]
    model = keras.Model(image, keras.layers.Concatenate(axis=1)(flat))
    for name in ("norm", "second"):
        weights = model.get_layer(name).get_weights()
        weights[0][..., 0] *= 100.0
        model.get_layer(name).set_weights(weights)
    return model


@pytest.fixture
def samples() -> list[list[np.ndarray]]:
    random = np.random.default_rng(0)
    return [[random.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)] for _ in range(3)]


def test_the_outputs_stay_the_same(uneven_model, samples):
    copy = equalized(uneven_model, samples)
    for (image,) in samples:
        expected = uneven_model(image).numpy()
        np.testing.assert_allclose(copy(image).numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_the_original_is_not_changed(uneven_model, samples):
    before = uneven_model.get_weights()
    equalized(uneven_model, samples)
    assert all((one == other).all() for one, other in zip(before, uneven_model.get_weights(), strict=True))


def test_channels_that_must_go_together_are_one_group(uneven_model):
    groups = channel_groups(keras.models.clone_model(uneven_model))
    names = [({layer.name for layer in group.makers}, {layer.name for layer in group.readers}) for group in groups]
    # The shared convolution reads the sum and the depthwise output with one kernel: all of it is one group.
    assert names == [({"norm", "second", "depthwise"}, {"depthwise", "shared"})]


def test_the_spread_of_channel_ranges_shrinks(uneven_model, samples):
    def spread(model: keras.Model) -> float:
        probe = keras.Model(model.input, model.get_layer("sum").output)
        ranges = np.max([np.abs(probe(image)).max(axis=(0, 1, 2)) for (image,) in samples], axis=0)
        return float(ranges.max() / ranges.min())

    assert spread(equalized(uneven_model, samples)) < 0.3 * spread(uneven_model)


def test_channels_behind_relu6_and_outputs_are_left_alone():
    image = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(4, 1, activation="relu6")(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(hidden))
    assert channel_groups(model) == []
    same = equalized(model, [[np.ones((1, 8, 8, 3), np.float32)]])
    assert all((one == other).all() for one, other in zip(model.get_weights(), same.get_weights(), strict=True))


def test_linear_norms_of_several_levels_before_a_shared_convolution_are_one_group(samples):
    """No detector of ours has them without ReLU6 behind; what would be scaled must still be all of them."""
    image = keras.Input((16, 16, 3))
    first, second = keras.layers.Conv2D(4, 1, use_bias=False, name="first"), keras.layers.Conv2D(5, 1, name="second")
    rows = []
    for level, tensor in enumerate((image, keras.layers.MaxPooling2D(2)(image))):
        norm = keras.layers.BatchNormalization(name=f"norm_{level}", gamma_initializer="random_normal")
        rows.append(keras.layers.Reshape((-1, 5))(second(norm(first(tensor)))))
    model = keras.Model(image, keras.layers.Concatenate(axis=1)(rows))
    (group,) = channel_groups(keras.models.clone_model(model))
    assert [layer.name for layer in group.makers] == ["norm_0", "norm_1"]
    assert [layer.name for layer in group.readers] == ["second"]
    copy = equalized(model, samples)
    assert not np.allclose(copy.get_layer("norm_1").gamma, model.get_layer("norm_1").gamma)
    for (one,) in samples:
        np.testing.assert_allclose(copy(one), model(one), atol=1e-5 * float(np.abs(model(one)).max()))


def test_a_detector_with_norms_for_each_level_keeps_its_outputs(small_per_level):
    copy = equalized(small_per_level.model, small_per_level.samples())
    for (image,) in small_per_level.samples():
        for name, expected in small_per_level.model(image, training=False).items():
            np.testing.assert_allclose(copy(image, training=False)[name], expected, atol=1e-3)


def test_a_whole_detector_keeps_its_outputs(tiny_model, tiny_spec, image_paths):
    from edge.quantize.calibration import calibration_samples

    copy = equalized(tiny_model, calibration_samples(image_paths[:2], tiny_spec))
    image = tf.constant(next(iter(calibration_samples(image_paths[2:], tiny_spec)))[0])
    for name, expected in tiny_model(image, training=False).items():
        np.testing.assert_allclose(copy(image, training=False)[name], expected, atol=1e-3)
    assert len(channel_groups(keras.models.clone_model(tiny_model))) > 10
