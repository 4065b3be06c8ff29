"""Backbones in plain layers compute what the networks of keras.applications and KerasCV compute."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import BACKBONES, backbone_features
from keras_retina.model.backbones.efficientnets import _V2_DEVIATION, _V2_MEAN
from keras_retina.model.weights.pretrained import load_pretrained
from keras_retina.recipe.backbones import BackboneName
from keras_retina.recipe.model import Backbone

SHAPE = (64, 96, 3)


def features(name: BackboneName, shape: tuple[int, int, int] = SHAPE) -> keras.Model:
    settings = Backbone(name=name, weights="none", frozen_stages=0, batch_norm="trained")
    image = keras.Input(shape, name="image")
    return keras.Model(image, backbone_features(image, settings))


def spread_statistics(model: keras.Model) -> None:
    """Gives every BatchNorm its own numbers, so that swapped weights are seen."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, values.shape) for values in layer.get_weights()])


def images(side: int = SHAPE[0], other: int = SHAPE[1]) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, side, other, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large_minimalistic"])
def test_a_file_of_keras_gives_the_features_of_its_mobilenet_v3(tmp_path, name):
    is_small, minimalistic = "small" in name, "minimalistic" in name
    application = keras.applications.MobileNetV3Small if is_small else keras.applications.MobileNetV3Large
    options = {"minimalistic": minimalistic, "include_top": False, "include_preprocessing": False, "weights": None}
    theirs = application(input_shape=SHAPE, **options)
    spread_statistics(theirs)
    file = str(tmp_path / "notop.h5")
    theirs.save_weights(file)
    ours = features(name)
    load_pretrained(ours, Backbone(name=name), source=file)
    for level, feature in zip((3, 4, 5), BACKBONES[name].features, strict=True):
        reference = keras.Model(theirs.input, theirs.get_layer(feature.replace("_Add", "/Add")).output)(images())
        assert np.std(reference) > 0.01
        np.testing.assert_allclose(ours(images())[level], reference, rtol=1e-4, atol=1e-4)


def test_efficientnet_v2_fed_unit_range_equals_its_own_preprocessing_away_from_the_border(tmp_path):
    theirs = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=SHAPE)
    spread_statistics(theirs)
    file = str(tmp_path / "notop.h5")
    theirs.save_weights(file)
    ours = features("efficientnet_v2_b0")
    load_pretrained(ours, Backbone(name="efficientnet_v2_b0"), source=file)
    pixels = np.random.default_rng(1).integers(0, 256, (1, *SHAPE)).astype(np.float32)
    first = [keras.Model(model.input, model.get_layer("stem_bn").output) for model in (ours, theirs)]
    received, expected = first[0]((pixels - 127.5) / 127.5).numpy(), first[1](pixels).numpy()
    np.testing.assert_allclose(received[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    # Behind the stem, on what the stem sees of grey padding, both are the same network.
    normalized = (pixels / 255 - _V2_MEAN) / _V2_DEVIATION
    alone = keras.applications.EfficientNetV2B0(
        include_top=False, weights=file, input_shape=SHAPE, include_preprocessing=False
    )
    np.testing.assert_allclose(
        keras.Model(alone.input, alone.get_layer("stem_bn").output)(normalized), expected, rtol=1e-4, atol=1e-4
    )
    for name in ("stem_conv", "stem_bn"):
        ours.get_layer(name).set_weights(alone.get_layer(name).get_weights())
    for level, feature in zip((3, 4, 5), BACKBONES["efficientnet_v2_b0"].features, strict=True):
        reference = keras.Model(alone.input, alone.get_layer(feature).output)(images())
        assert np.std(reference) > 0.01
        np.testing.assert_allclose(ours(images())[level], reference, rtol=1e-4, atol=1e-4)


def test_csp_darknet_equals_that_of_keras_cv_with_its_first_layer_as_one_convolution():
    import keras_cv

    theirs = keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[48, 96, 192, 384], stackwise_depth=[1, 3, 3, 1], include_rescaling=False, input_shape=SHAPE
    )
    blocks = [theirs.get_layer("stem_conv")]
    for stage in (2, 3, 4, 5):
        partial = theirs.get_layer(f"dark{stage}_csp")
        blocks.append(theirs.get_layer(f"dark{stage}_conv"))
        blocks += [theirs.get_layer(f"dark5_spp_conv{number}") for number in (1, 2) if stage == 5]
        inner = [partial.darknet_conv1, partial.darknet_conv2, *partial.bottleneck_convs, partial.darknet_conv3]
        blocks += inner
    for block in blocks:
        spread_statistics(block)
    ours = features("csp_darknet_tiny")
    assert ours.count_params() == theirs.count_params()
    names = ["stem"]
    for stage, depth in zip((2, 3, 4, 5), (1, 3, 3, 1), strict=True):
        names.append(f"dark{stage}")
        names += [f"dark5_spp_{number}" for number in (1, 2) if stage == 5]
        bottlenecks = [f"{number}_{part}" for number in range(1, depth + 1) for part in (1, 2)]
        names += [f"dark{stage}_csp_{part}" for part in ("through", "around", *bottlenecks, "out")]
    for name, block in zip(names, blocks, strict=True):
        kernel, *statistics = block.get_weights()
        ours.get_layer(f"{name}_conv").set_weights([_without_gathering(kernel) if name == "stem" else kernel])
        ours.get_layer(f"{name}_bn").set_weights(statistics)
    levels = {level: theirs.get_layer(f"dark{level}_csp").output for level in (3, 4, 5)}
    reference = keras.Model(theirs.input, levels)(images())
    for level, received in ours(images()).items():
        assert np.std(reference[level]) > 0.01
        np.testing.assert_allclose(received, reference[level], rtol=1e-3, atol=1e-4)


def _without_gathering(kernel: np.ndarray) -> np.ndarray:
    """Returns `[6, 6, 3, filters]` of `[3, 3, 12, filters]`, which reads 2x2 pixels by column, then by row."""
    whole = np.zeros((6, 6, 3, kernel.shape[-1]), np.float32)
    for place, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        whole[row::2, column::2] = kernel[:, :, 3 * place : 3 * place + 3]
    return whole


def test_the_mix_transformer_has_the_weights_of_keras_cv_and_its_attention_that_of_numpy():
    import keras_cv

    theirs = keras_cv.models.MiTBackbone(
        depths=[2, 2, 2, 2], include_rescaling=False, embedding_dims=[32, 64, 160, 256], input_shape=(64, 64, 3)
    )
    ours = features("mit_b0")
    assert ours.count_params() == theirs.count_params()
    parts = ("query", "key", "value")
    outputs = [ours.get_layer(f"stage2_block1_head1_{part}_rows").output for part in parts]
    found = ours.get_layer("stage2_block1_head1_attention").output
    query, key, value, attended = (tensor.numpy()[0] for tensor in keras.Model(ours.input, [*outputs, found])(images()))
    assert query.shape == (8 * 12, 32) and key.shape == value.shape == (2 * 3, 32)
    products = query @ key.T / np.sqrt(32)
    shares = np.exp(products) / np.exp(products).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(attended, shares @ value, rtol=1e-4, atol=1e-5)
