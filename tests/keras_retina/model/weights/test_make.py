"""A network with rebuilt BatchNorms computes what the folded one did, in inference and with batch statistics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.weights.make import FoldedConvolution, convolution_pairs, set_folded, set_torch_tensors

layers = keras.layers


def network() -> keras.Model:
    """A stem, a depthwise and a 1x1 convolution, each with BatchNorm; ReLU6 behind the first two."""
    image = keras.Input((8, 8, 3))
    tensor = layers.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(image)
    tensor = layers.ReLU(6.0)(layers.BatchNormalization(name="stem_norm")(tensor))
    tensor = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(tensor)
    tensor = layers.ReLU(6.0)(layers.BatchNormalization(name="depthwise_norm")(tensor))
    tensor = layers.Conv2D(5, 1, use_bias=False, name="project")(tensor)
    return keras.Model(image, layers.BatchNormalization(name="project_norm")(tensor))


def folded(channels: int = 8) -> list[FoldedConvolution]:
    generator = np.random.default_rng(0)
    shapes = [((3, 3, 3, channels), channels), ((3, 3, channels, 1), channels), ((1, 1, channels, 5), 5)]
    return [
        FoldedConvolution(
            generator.normal(0, 0.5, kernel).astype(np.float32),
            generator.normal(0, 0.5, bias).astype(np.float32),
            is_depthwise=number == 1,
        )
        for number, (kernel, bias) in enumerate(shapes)
    ]


def expected(convolutions: list[FoldedConvolution], images: np.ndarray) -> np.ndarray:
    """The folded network, with biases and no BatchNorm."""
    stem, depthwise, project = convolutions
    tensor = tf.nn.relu6(tf.nn.conv2d(images, stem.kernel, 2, "SAME") + stem.bias)
    tensor = tf.nn.relu6(tf.nn.depthwise_conv2d(tensor, depthwise.kernel, [1, 1, 1, 1], "SAME") + depthwise.bias)
    return (tf.nn.conv2d(tensor, project.kernel, 1, "VALID") + project.bias).numpy()


def photos(count: int = 6) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)


def test_the_function_is_kept_in_inference_and_with_the_statistics_of_the_photos():
    model, images = network(), photos()
    set_folded(model, folded(), layers=3, batches=[images[:2], images[2:]])
    wanted = expected(folded(), images)
    np.testing.assert_allclose(model(images, training=False), wanted, atol=1e-4)
    np.testing.assert_allclose(model(images, training=True), wanted, atol=1e-3)
    kernels = [convolution.get_weights()[0] for convolution, _ in convolution_pairs(model)]
    assert all(np.array_equal(one, other.kernel) for one, other in zip(kernels, folded(), strict=True))


def test_a_channel_that_is_always_zero_leaves_no_depthwise_kernel_and_a_constant_one_does():
    stem, depthwise, project = folded()
    stem.kernel[..., 2:4] = 0
    stem.bias[2], stem.bias[3] = -0.5, 0.5
    model, images = network(), photos()
    set_folded(model, [stem, depthwise, project], layers=3, batches=[images])
    (kernel,) = model.get_layer("depthwise").get_weights()
    assert np.flatnonzero(~kernel.any(axis=(0, 1, 3))).tolist() == [2]
    np.testing.assert_allclose(model(images, training=False), expected([stem, depthwise, project], images), atol=1e-4)


def test_missing_channels_are_random_and_are_read_with_zeros():
    model, images = network(), photos()
    set_folded(model, folded(6), layers=3, batches=[images])
    np.testing.assert_allclose(model(images, training=False), expected(folded(6), images), atol=1e-4)
    stem, depthwise, project = (convolution.get_weights()[0] for convolution, _ in convolution_pairs(model))
    assert (stem[..., 6:] != 0).all()
    assert (depthwise[:, :, 6:] != 0).all()
    assert (project[:, :, 6:] == 0).all()


def test_heads_between_are_passed_over_and_layers_behind_stay_random():
    head = FoldedConvolution(np.ones((1, 1, 8, 2), np.float32), np.ones(2, np.float32), is_depthwise=False)
    stem, depthwise, project = folded()
    model = network()
    before = model.get_layer("project").get_weights()[0]
    set_folded(model, [stem, head, depthwise, project], layers=2, batches=[photos()])
    assert np.array_equal(model.get_layer("depthwise").get_weights()[0], depthwise.kernel)
    assert np.array_equal(model.get_layer("project").get_weights()[0], before)


def test_what_does_not_fit_is_refused_with_the_layer():
    stem, depthwise, project = folded()
    for wrong in ([], [stem], [stem, dataclasses.replace(depthwise, is_depthwise=False), project], folded(3)):
        with pytest.raises(InputError, match=r"weights: expected a kernel of shape .* for (stem|depthwise)"):
            set_folded(network(), wrong, layers=3, batches=[photos()])
    with pytest.raises(InputError, match="expected photos"):
        set_folded(network(), folded(), layers=3, batches=[])


def torch_tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(2)
    tensors = {}
    for name, shape in (("a", (8, 3, 3, 3)), ("b", (8, 1, 3, 3)), ("c", (5, 8, 1, 1))):
        tensors[f"{name}.weight"] = generator.normal(size=shape).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}_bn.{part}"] = generator.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        tensors[f"{name}_bn.num_batches_tracked"] = np.array(7)
    return {**tensors, "fc.weight": np.ones((4, 5), np.float32), "fc.bias": np.ones(4, np.float32)}


def test_tensors_of_pytorch_are_turned_and_put_in_their_places():
    model, tensors = network(), torch_tensors()
    set_torch_tensors(model, tensors)
    assert model.get_layer("stem").get_weights()[0][1, 2, 0, 5] == tensors["a.weight"][5, 0, 1, 2]
    assert model.get_layer("depthwise").get_weights()[0][2, 1, 4, 0] == tensors["b.weight"][4, 0, 2, 1]
    norm = model.get_layer("project_norm")
    for variable, part in (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean")):
        assert np.array_equal(getattr(norm, variable), tensors[f"c_bn.{part}"])
    assert np.array_equal(norm.moving_variance, tensors["c_bn.running_var"])


def test_tensors_that_do_not_fit_are_refused():
    tensors = torch_tensors()
    short = dict(list(tensors.items())[:8])
    for wrong in ({}, short, {**tensors, "a.weight": tensors["b.weight"]}, {**tensors, "b_bn.bias": np.ones(3)}):
        with pytest.raises(InputError, match=r"weights: expected a kernel of shape"):
            set_torch_tensors(network(), wrong)
