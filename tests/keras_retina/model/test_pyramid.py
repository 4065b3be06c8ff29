"""The pyramid is the paper's: laterals, top-down sums, 3x3 convolutions, P6 from C5 and P7 from relu(P6)."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.retinanet import feature_pyramid, scaled_levels
from keras_retina.recipe.model import Pyramid

CHANNELS = {3: 5, 4: 6, 5: 7}


def build(settings: Pyramid, height: int = 128, width: int = 256) -> keras.Model:
    features = {
        level: keras.Input((height >> level, width >> level, channels), name=f"c{level}")
        for level, channels in CHANNELS.items()
    }
    return keras.Model(features, feature_pyramid(features, settings))


def random_features(height: int = 128, width: int = 256) -> dict[int, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        level: generator.normal(size=(2, height >> level, width >> level, channels)).astype(np.float32)
        for level, channels in CHANNELS.items()
    }


@pytest.mark.parametrize("convolution", ["separable", "full"])
@pytest.mark.parametrize("levels", [(3, 7), (3, 6), (3, 5), (4, 6), (5, 7)])
def test_every_level_has_its_stride_and_the_common_width(levels: tuple[int, int], convolution: str):
    model = build(Pyramid(levels=levels, width=16, convolution=convolution))
    shapes = model.output_shape if isinstance(model.output_shape, list) else [model.output_shape]
    expected = [(None, 128 >> level, 256 >> level, 16) for level in range(levels[0], levels[1] + 1)]
    assert shapes == expected


def test_the_full_pyramid_equals_the_papers_equations():
    model = build(Pyramid(levels=(3, 7), width=8, convolution="full", upsampling="nearest"))
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:  # biases too
        variable.assign(generator.normal(0, 0.3, variable.shape))
    features = random_features()

    def convolve(name: str, tensor: np.ndarray, strides: int = 1) -> np.ndarray:
        kernel, bias = model.get_layer(name).get_weights()
        return (tf.nn.conv2d(tensor, kernel, strides, "SAME") + bias).numpy()

    def doubled(tensor: np.ndarray) -> np.ndarray:
        return tensor.repeat(2, axis=1).repeat(2, axis=2)

    merged_5 = convolve("pyramid_lateral_5", features[5])
    merged_4 = convolve("pyramid_lateral_4", features[4]) + doubled(merged_5)
    merged_3 = convolve("pyramid_lateral_3", features[3]) + doubled(merged_4)
    p6 = convolve("pyramid_output_6", features[5], 2)
    expected = [
        convolve("pyramid_output_3", merged_3),
        convolve("pyramid_output_4", merged_4),
        convolve("pyramid_output_5", merged_5),
        p6,
        convolve("pyramid_output_7", np.maximum(p6, 0), 2),
    ]
    outputs = model(features)
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_separable_pyramid_takes_p6_from_p5_and_passes_a_signal_of_similar_size():
    model = build(Pyramid(levels=(3, 7), width=64))
    assert model.get_layer("pyramid_output_6_depthwise").input_shape[-1] == 64
    deviations = [float(np.std(level)) for level in model(random_features())]
    assert all(0.2 < deviation < 5 for deviation in deviations), deviations


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_there_is_no_batch_norm_and_every_layer_is_ours_by_name(convolution: str):
    model = build(Pyramid(width=8, convolution=convolution))
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert all(layer.name.startswith("pyramid_") for layer in layers)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)


def test_symmetric_padding_has_zeros_on_both_sides_as_pytorch_pads():
    features = {level: np.zeros_like(maps) for level, maps in random_features().items()}
    features[5][:, 0, 0] = 1.0  # seen by the second row and column of the kernel where one of zeros is before it
    outputs = []
    for padding in ("same", "symmetric"):
        model = build(Pyramid(levels=(3, 6), width=8, convolution="full", p6_from="c5", padding=padding))
        layer = model.get_layer("pyramid_output_6")
        kernel = np.zeros(layer.kernel.shape, np.float32)
        kernel[1, 1] = 1.0
        layer.set_weights([kernel, np.zeros(8, np.float32)])
        outputs.append(np.asarray(model(features)[-1])[0, :, :, 0])
    same, symmetric = outputs
    assert symmetric.shape == same.shape == (2, 4)
    assert symmetric[0, 0] == CHANNELS[5] and np.count_nonzero(symmetric) == 1 and not same.any()


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_a_scaled_level_is_scaled_for_the_heads_and_not_for_the_level_made_from_it(convolution: str):
    settings = {"levels": (3, 7), "width": 8, "convolution": convolution, "p6_from": "p5"}
    model, plain = (build(Pyramid(**settings, activation="relu", outputs=outputs)) for outputs in ("scaled", "plain"))
    scales = [layer.name for layer in model.layers if "scale" in layer.name]
    assert scales == ["pyramid_scale_5", "pyramid_scale_6"]  # others are part of their convolutions
    features = random_features()
    before = [level.numpy() for level in model(features)]
    assert min(level.min() for level in before) < 0, "no activation is behind a level"
    for name in scales:
        model.get_layer(name).set_weights([np.full((1, 1, 8, 1), 3.0), np.full(8, 0.5)])
    after = [level.numpy() for level in model(features)]
    for place, (one, other) in enumerate(zip(before, after, strict=True)):
        np.testing.assert_allclose(other, 3 * one + 0.5 if place in (2, 3) else one, rtol=1e-5, atol=1e-5)
    assert model.count_params() == plain.count_params() + 2 * (8 + 8)


def test_level_6_has_the_activation_that_the_settings_name():
    names = {}
    for activation in ("relu", "relu6", "swish", None):
        layer = build(Pyramid(width=8, activation=activation)).get_layer("pyramid_activation_6")
        names[activation] = layer.activation.__name__
    assert names == {"relu": "relu", "relu6": "relu6", "swish": "swish", None: "relu6"}


@pytest.mark.parametrize(
    ("last", "p6_from", "scaled"), [(7, "p5", [5, 6]), (7, "m5", [6]), (6, "p5", [5]), (6, "c5", []), (5, "c5", [])]
)
def test_levels_that_another_is_made_from_are_scaled_apart(last: int, p6_from: str, scaled: list[int]):
    assert scaled_levels(last, p6_from) == scaled
