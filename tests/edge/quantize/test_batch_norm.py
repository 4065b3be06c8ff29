"""Folding a BatchNorm leaves the outputs and the names of all other layers as they were."""

from __future__ import annotations

import numpy as np
import pytest

from edge.quantize.batch_norm import number_of_kernels, without_batch_norm
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import layer_multiply_adds


def lively(norm: keras.layers.BatchNormalization) -> None:
    random = np.random.default_rng([*norm.name.encode()])
    norm.set_weights([random.uniform(0.5, 2.0, values.shape) for values in norm.get_weights()])


def model_of(tensor, image) -> keras.Model:
    model = keras.Model(image, {"heads": tensor})
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            lively(layer)
    return model


@pytest.fixture
def chain() -> keras.Model:
    """A padded, strided convolution with a bias, a depthwise one with multiplier 2, and a BatchNorm behind each."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 10, 3), name="image")
    tensor = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(image)
    tensor = keras.layers.Conv2D(4, 3, 2, name="stem", bias_initializer="random_normal")(tensor)
    tensor = keras.layers.BatchNormalization(name="stem_norm", scale=False)(tensor)
    tensor = keras.layers.ReLU(6.0, name="stem_relu")(tensor)
    tensor = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False, name="dw")(tensor)
    return model_of(keras.layers.BatchNormalization(name="dw_norm", center=False)(tensor), image)


def test_the_outputs_stay_the_same(chain):
    folded = without_batch_norm(chain)
    image = np.random.default_rng(1).normal(size=(2, 8, 10, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(image)["heads"], chain(image, training=False)["heads"], atol=1e-5)


def test_all_other_layers_keep_their_names_and_their_own_weights(chain):
    before = chain.get_weights()
    folded = without_batch_norm(chain)
    assert [layer.name for layer in folded.layers] == ["image", "pad", "stem", "stem_relu", "dw"]
    assert folded.get_layer("dw").use_bias and len(folded.get_layer("dw").get_weights()) == 2
    folded.set_weights([np.zeros_like(values) for values in folded.get_weights()])
    assert all((one == other).all() for one, other in zip(before, chain.get_weights(), strict=True))


def test_a_frozen_layer_stays_frozen(chain):
    chain.get_layer("stem").trainable = False
    folded = without_batch_norm(chain)
    assert [folded.get_layer(name).trainable for name in ("stem", "dw")] == [False, True]


def test_a_whole_detector_keeps_its_outputs(tiny_model):
    image = np.random.default_rng(2).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    folded, expected = without_batch_norm(tiny_model)(image), tiny_model(image, training=False)
    for name in ("classes", "boxes"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(folded[name], expected[name], atol=1e-4 * scale)


def test_a_model_without_batch_norm_is_copied():
    image = keras.Input((4, 4, 3), name="image")
    model = keras.Model(image, {"heads": keras.layers.Conv2D(2, 1)(image)})
    copy = without_batch_norm(model)
    assert copy is not model
    assert all((one == other).all() for one, other in zip(copy.get_weights(), model.get_weights(), strict=True))


def norm_first(image):
    return keras.layers.Conv2D(2, 1)(keras.layers.BatchNormalization(name="lost_norm")(image))


def norm_after_relu(image):
    return keras.layers.BatchNormalization(name="lost_norm")(keras.layers.Conv2D(2, 1, activation="relu")(image))


def norm_beside_reader(image):
    tensor = keras.layers.Conv2D(2, 1, name="conv")(image)
    return keras.layers.Add()([tensor, keras.layers.BatchNormalization(name="lost_norm")(tensor)])


def norm_of_a_shared_convolution(image):
    shared = keras.layers.Conv2D(2, 1, name="conv")
    return keras.layers.Add()([shared(image), keras.layers.BatchNormalization(name="lost_norm")(shared(image))])


@pytest.mark.parametrize("build", [norm_first, norm_after_relu, norm_beside_reader, norm_of_a_shared_convolution])
def test_a_batch_norm_that_cannot_be_folded_is_named(build):
    image = keras.Input((4, 4, 3), name="image")
    with pytest.raises(InputError, match="lost_norm"):
        without_batch_norm(model_of(build(image), image))


def levels(shared: keras.layers.Layer, image) -> keras.Model:
    """A shared convolution on two maps, each with its own norm, then a shared prediction; the smaller map is first."""
    small = keras.layers.MaxPooling2D(2, name="small")(image)
    predict = keras.layers.Conv2D(2, 1, name="predict")
    rows = []
    for tensor, level in ((small, 1), (image, 0)):
        tensor = keras.layers.BatchNormalization(name=f"norm_{level}")(shared(tensor))
        rows.append(keras.layers.Reshape((-1, 2))(predict(keras.layers.ReLU(6.0)(tensor))))
    return model_of(keras.layers.Concatenate(axis=1)(rows), image)


@pytest.mark.parametrize(
    "shared",
    [
        keras.layers.Conv2D(4, 3, padding="same", bias_initializer="random_normal", name="shared"),
        keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="shared"),
    ],
)
def test_a_shared_convolution_becomes_one_for_each_norm_behind_it(shared):
    model = levels(shared, keras.Input((4, 6, 3), name="image"))
    folded = without_batch_norm(model)
    image = np.random.default_rng(1).normal(size=(2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(image)["heads"], model(image, training=False)["heads"], atol=1e-5)
    assert {layer.name for layer in folded.layers if layer.weights} == {"shared_0", "shared_1", "predict"}
    for level in (0, 1):
        norm = model.get_layer(f"norm_{level}")
        factor = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        kernel, offset = folded.get_layer(f"shared_{level}").get_weights()
        axis = -2 if isinstance(shared, keras.layers.DepthwiseConv2D) else -1
        expected = np.moveaxis(np.moveaxis(shared.get_weights()[0], axis, -1) * factor, -1, axis)
        np.testing.assert_allclose(kernel, expected, rtol=1e-5)
        bias = shared.bias.numpy() if shared.use_bias else 0.0
        np.testing.assert_allclose(offset, norm.beta + (bias - norm.moving_mean.numpy()) * factor, rtol=1e-4, atol=1e-6)


def test_the_heads_of_a_detector_get_a_kernel_for_each_level_and_share_the_rest(small_per_level):
    model = small_per_level.model
    folded = without_batch_norm(model)
    for (image,) in small_per_level.samples():
        for name, expected in model(image, training=False).items():
            scale = np.abs(expected).max()
            np.testing.assert_allclose(folded(image)[name], expected, atol=1e-5 * max(scale, 1.0))
    heads = {layer.name for layer in folded.layers if layer.weights and layer.name.startswith("boxes")}
    shared = {"boxes_0_depthwise", "boxes_prediction_depthwise", "boxes_prediction_pointwise"}
    assert heads == shared | {f"boxes_0_pointwise_{level}" for level in range(3)}


def test_a_shared_convolution_has_as_many_kernels_as_norms(small_per_level):
    found = number_of_kernels(small_per_level.model)
    assert {name for name, number in found.items() if number != 1} == {"boxes_0_pointwise", "classes_0_pointwise"}
    assert found["boxes_0_pointwise"] == 3
    folded = without_batch_norm(small_per_level.model)
    assert sum(number_of_kernels(folded).values()) == len(number_of_kernels(folded)) == sum(found.values())


def test_a_name_that_another_layer_has_already_is_refused():
    image = keras.Input((4, 4, 3), name="image")
    taken = keras.layers.Conv2D(3, 1, name="shared_1")(image)
    tensors = [
        keras.layers.BatchNormalization()(tensor)
        for tensor in map(keras.layers.Conv2D(2, 1, name="shared"), (image, taken))
    ]
    with pytest.raises(InputError, match=r"expected a free name .* Received: 'shared_1', .* Rename that layer"):
        without_batch_norm(model_of(keras.layers.Add()(tensors), image))


def test_a_nested_model_is_refused():
    image = keras.Input((4, 4, 3), name="image")
    inner = keras.Sequential([keras.layers.Conv2D(2, 1)], name="inner")
    with pytest.raises(InputError, match="inner"):
        without_batch_norm(keras.Model(image, {"heads": inner(image)}))


def test_norms_of_the_heads_add_nothing_and_kernels_for_each_level_count_what_the_shared_one_did(small_per_level):
    model = small_per_level.model
    shared, folded = layer_multiply_adds(model), layer_multiply_adds(without_batch_norm(model))
    cells = 8 * 8 + 4 * 4 + 2 * 2
    assert shared["boxes_0_pointwise"] == 8 * 8 * cells
    assert sum(folded[f"boxes_0_pointwise_{level}"] for level in range(3)) == 8 * 8 * cells
    assert sum(folded.values()) == sum(shared.values())
