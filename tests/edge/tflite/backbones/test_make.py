"""Backbones out of files that are converted here from networks of tf_keras.applications with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge.tflite.backbones import make
from edge.tflite.backbones.convolutions import PlacedConvolution
from edge.tflite.backbones.make import file_name, find_backbone, make_from_file
from edge.tflite.backbones.run import CutFile, InputRange, usual
from edge.tflite.flatbuffer import read_flatbuffer, tensor_quantization
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import kind_of
from keras_retina.model.weights.make import FoldedConvolution, convolution_pairs
from keras_retina.recipe.model import Backbone

layers = keras.layers
SIDE = 64


def photos(height: int, width: int) -> Iterator[np.ndarray]:
    """Two batches of random rectangles in [-1, 1]."""
    generator = np.random.default_rng(5)
    for _ in range(2):
        cells = generator.uniform(-1, 1, (4, height // 8, width // 8, 3)).astype(np.float32)
        yield cells.repeat(8, 1).repeat(8, 2)


def lively(network: keras.Model) -> keras.Model:
    """Gives each BatchNorm the statistics of its input, and scales and offsets of its own."""
    generator = np.random.default_rng(1)
    images = np.concatenate(list(photos(SIDE, SIDE)))
    for convolution, norm in convolution_pairs(network):
        values = keras.Model(network.input, convolution.output)(images, training=False).numpy()
        mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2)) + 1e-3
        norm.set_weights(
            [generator.uniform(0.5, 1.5, mean.shape), generator.normal(0, 0.5, mean.shape), mean, variance]
        )
    return network


@pytest.fixture(autouse=True)
def small_and_one_kind(monkeypatch):
    """Networks take seconds to build, so only one kind is looked for, unless a test says otherwise."""
    monkeypatch.setattr(make, "SIZE", SIDE)
    monkeypatch.setattr(make, "NAMES", ("mobilenet_v1",))


@pytest.fixture(scope="module")
def v2() -> keras.Model:
    keras.utils.set_random_seed(2)
    shape = (SIDE, SIDE, 3)
    return lively(keras.applications.MobileNetV2(shape, alpha=0.35, weights=None, include_top=False))


@pytest.fixture(scope="module")
def v1() -> keras.Model:
    keras.utils.set_random_seed(2)
    shape = (SIDE, SIDE, 3)
    return lively(keras.applications.MobileNet(shape, alpha=0.25, weights=None, include_top=False))


@pytest.fixture(scope="module")
def v1_file(v1) -> bytes:
    return converted(v1)


@pytest.fixture(scope="module")
def detector(v2) -> keras.Model:
    """Heads on two maps, one of them with a kernel that the backbone has as well, and more layers behind."""
    fine, coarse = v2.get_layer("block_5_add").output, v2.get_layer("block_16_project_BN").output
    head = layers.Conv2D(fine.shape[-1] * 6, 1, name="head")(fine)  # as wide as block_6_expand
    extra = layers.Conv2D(24, 3, 2, "same", activation="relu6", name="extra")(coarse)
    return keras.Model(v2.input, [head, layers.Conv2D(12, 3, padding="same", name="last")(extra)])


def converted(network: keras.Model, precision: str = "float32") -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in {"int8", "uint8 per tensor"}:
        images = np.concatenate([*photos(SIDE, SIDE), np.ones((1, SIDE, SIDE, 3)), -np.ones((1, SIDE, SIDE, 3))])
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if precision == "uint8 per tensor":
        converter._experimental_disable_per_channel = True
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def outputs(network: keras.Model, layer: str) -> np.ndarray:
    images = np.concatenate(list(photos(SIDE, SIDE)))
    return keras.Model(network.input, network.get_layer(layer).output)(images, training=False).numpy()


def test_a_detector_gives_the_function_of_its_backbone(tmp_path, monkeypatch, v2, detector):
    monkeypatch.setattr(make, "NAMES", ("mobilenet_v2",))
    path = tmp_path / "ssd.tflite"
    path.write_bytes(converted(detector))
    made = make_from_file(path, photos, input_range=None)
    settings = made.found.settings
    assert (settings.name, settings.alpha) == ("mobilenet_v2", 0.35)
    assert "51 of the 54 convolutions" in made.told and "on 8 photos all of them differ from the file by" in made.told
    assert made.compared.difference < 1e-4
    wanted = outputs(v2, "block_16_project_BN")
    np.testing.assert_allclose(outputs(made.found.network, "block_16_project_BN"), wanted, atol=1e-4 * wanted.max())
    assert file_name(settings, path) == "mobilenet_v2_0.35_of_ssd_notop.weights.h5"


def test_a_float16_file_gives_its_own_function(tmp_path, v1):
    path = tmp_path / "half.tflite"
    path.write_bytes(converted(v1, "float16"))
    made = make_from_file(path, photos, input_range=None)
    assert len(made.found.places) == 27 and made.compared.difference < 1e-4 and not made.is_rounded


@pytest.mark.parametrize("precision", ["int8", "uint8 per tensor", "dynamic range"])
def test_each_convolution_of_an_8_bit_file_differs_by_its_own_rounding(tmp_path, v1, precision):
    path = tmp_path / "classifier.tflite"
    path.write_bytes(converted(v1, precision))
    made = make_from_file(path, photos, input_range=None)
    found = made.found
    assert len(found.places) == 27 and "correlate with the 8-bit file by 0." in made.told
    if precision == "dynamic range":  # its activations have scales that change with every picture
        return
    model = read_flatbuffer(path.read_bytes())
    alone = [found.places[number] for number in (0, 1, 2, 13, 26)]
    image = next(photos(SIDE, SIDE))[0]
    for place in alone:
        file = CutFile(path.read_bytes(), path, tensors=[place.reads, place.writes], size=SIDE)
        theirs, written = file.run(image, file.input_range())
        step, zero = tensor_quantization(model.subgraphs[0].tensors[place.writes])
        kernel = place.folded.kernel
        padding = "VALID" if theirs.shape[0] % 2 else "SAME"  # an odd side was padded before
        if place.folded.is_depthwise:
            ours = tf.nn.depthwise_conv2d(theirs[None], kernel, [1, place.stride, place.stride, 1], padding)
        else:
            ours = tf.nn.conv2d(theirs[None], kernel, place.stride, padding)
        ours = np.clip(ours[0] + place.folded.bias, written.min(), written.max())
        assert np.abs(ours - written).max() <= 1.01 * step and np.ptp(written) > 20 * step
        assert -128 <= zero <= 127 or precision == "uint8 per tensor"


def test_pixels_that_the_file_scales_itself_or_that_the_user_names_are_scaled_in_the_stem(tmp_path, v1, v1_file):
    image = keras.Input((SIDE, SIDE, 3))
    own = tmp_path / "bytes.tflite"
    own.write_bytes(converted(keras.Model(image, v1(layers.Rescaling(1 / 127.5, -1)(image)))))
    made = make_from_file(own, photos, input_range=InputRange((0.0,), (255.0,), "as told"))
    assert "black -1, white 1 (as told)" in made.told
    kernel = made.found.network.get_layer("conv1").get_weights()[0]
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(v1_file)
    scaled = make_from_file(plain, photos, input_range=InputRange((0.0,), (1.0,))).found
    np.testing.assert_allclose(scaled.network.get_layer("conv1").get_weights()[0], kernel / 2, atol=1e-6)
    images = np.concatenate(list(photos(SIDE, SIDE)))
    stems = [
        keras.Model(network.input, network.get_layer("conv1_bn").output)(pixels).numpy()[:, 1:-1, 1:-1]
        for network, pixels in ((scaled.network, images), (made.found.network, (images + 1) / 2))
    ]
    np.testing.assert_allclose(*stems, atol=1e-4)  # the same function, but for the padding


def test_another_width_or_network_is_refused_with_what_fits(tmp_path):
    image = keras.Input((SIDE, SIDE, 3))
    tensor = layers.Conv2D(8, 3, 2, "same", activation="relu6")(image)
    tensor = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(tensor)
    path = tmp_path / "other.tflite"
    path.write_bytes(converted(keras.Model(image, layers.Conv2D(9, 1)(tensor))))
    with pytest.raises(InputError) as error:
        make_from_file(path, photos, input_range=None)
    told = str(error.value)
    assert "Received: 3 convolutions, the nearest is mobilenet_v1 alpha 0.25 with the first 2 of 27" in told
    assert "[1, 1, 8, 16] was expected for conv_pw_1 and [1, 1, 8, 9] follows" in told and "\n" not in told


def test_the_same_shapes_with_other_activations_are_refused(tmp_path, v1):
    other = keras.models.clone_model(
        v1, clone_function=lambda layer: layers.Activation("tanh") if isinstance(layer, layers.ReLU) else layer
    )
    path = tmp_path / "tanh.tflite"
    path.write_bytes(converted(other))
    with pytest.raises(InputError, match="the same shapes, but on 8 photos a correlation of"):
        make_from_file(path, photos, input_range=None)


@pytest.mark.parametrize("content", [b"", b"\x1c\x00\x00\x00TFL3" + bytes(40)])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tflite: expected a(ny)? .*\.tflite") as error:
        make_from_file(path, photos, input_range=None)
    assert "\n" not in str(error.value)


def test_8_bit_ranges_are_those_that_people_train_with():
    assert usual(-1.0, 0.992, told="").white == (1.0,)
    assert usual(0.0, 254.9, told="").white == (255.0,)
    assert usual(-2.1, 2.6, told="").black == (-2.1,)


def test_efficientnet_lite0_is_found_too(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "NAMES", ("efficientnet_lite0",))
    settings = Backbone(name="efficientnet_lite0", weights="a.h5")
    network = kind_of(settings).build(settings, include_top=False, weights=None, input_shape=(32, 32, 3))
    convolutions = []
    for number, (layer, _) in enumerate(convolution_pairs(network)):
        kernel = layer.get_weights()[0]
        is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
        folded = FoldedConvolution(kernel, np.zeros(kernel.shape[2 if is_depthwise else 3]), is_depthwise)
        before = frozenset({number - 1})  # IMAGE is -1
        convolutions.append(PlacedConvolution(folded, layer.strides[0], before, reads=0, writes=0, is_rounded=False))
    found = find_backbone(convolutions, tmp_path)
    assert (found.settings.name, found.settings.alpha, len(found.places)) == ("efficientnet_lite0", 1.0, 49)
