"""Pretrained weights are found, checked and copied: the detector's backbone computes what the file's network does."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones import BACKBONES, backbone_layers
from keras_retina.model.retinanet import detector_network
from keras_retina.model.weights.pretrained import (
    WEIGHTS_FOLDER_VARIABLE,
    find_weights,
    load_pretrained,
    pretrained_network,
)
from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid

FILE_1_0 = "mobilenet_v2_1.0_imagenet_notop.weights.h5"


def small(backbone: Backbone) -> Model:
    return Model(
        backbone=backbone,
        input=Input(height=96, width=128),
        pyramid=Pyramid(levels=(3, 5), width=8),
        head=Head(width=8, convolutions=0),
    )


def refusal(settings: Backbone, source: str) -> str:
    model = keras.Sequential()  # refused before the detector is touched
    with pytest.raises(InputError) as error:
        load_pretrained(model, settings, source=source)
    assert "\n" not in str(error.value)
    assert "model.backbone.weights" in str(error.value)
    return str(error.value)


# Where the file is


def test_none_is_no_file_and_a_path_is_itself(tmp_path):
    none = Backbone(weights="none", frozen_stages=0, batch_norm="trained")
    assert find_weights(none, None) is None
    path = tmp_path / "own.h5"
    path.touch()
    assert find_weights(Backbone(weights=str(path)), None) == str(path)


def test_a_path_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"model\.backbone\.weights.*'nowhere\.h5'"):
        find_weights(Backbone(weights="nowhere.h5"), None)


def test_imagenet_is_found_beside_the_data_beside_its_parent_or_in_the_named_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_FOLDER_VARIABLE, raising=False)
    data = tmp_path / "data" / "bccd"
    data.mkdir(parents=True)
    settings = Backbone(alpha=1.0)
    assert find_weights(settings, data) == "imagenet"
    for folder in (tmp_path / "weights", tmp_path / "data" / "weights", tmp_path / "named"):
        folder.mkdir()
        (folder / FILE_1_0).touch()
        if folder.name == "named":
            monkeypatch.setenv(WEIGHTS_FOLDER_VARIABLE, str(folder))
        assert find_weights(settings, data) == str(folder / FILE_1_0)
    assert find_weights(settings, None) == str(tmp_path / "named" / FILE_1_0)
    assert find_weights(Backbone(alpha=0.5), data) == "imagenet"
    assert find_weights(Backbone(name="resnet50"), data) == "imagenet"


def test_the_weights_beside_the_real_data_are_found(shared_data, shared_weights, monkeypatch):
    monkeypatch.delenv(WEIGHTS_FOLDER_VARIABLE, raising=False)
    found = find_weights(Backbone(alpha=1.0), shared_data / "bccd")
    assert found is not None
    assert (shared_weights / FILE_1_0).samefile(found)


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        (Backbone(weights="openimages"), "mobilenet_v2_1.0_openimages_notop.weights.h5"),
        (Backbone(alpha=0.5, weights="voc"), "mobilenet_v2_0.5_deeplab_voc_notop.weights.h5"),
        (Backbone(name="efficientnet_lite0"), "efficientnet_lite0_imagenet_notop.weights.h5"),
    ],
)
def test_what_keras_does_not_have_is_found_or_refused_with_the_way_to_it(tmp_path, monkeypatch, settings, file):
    monkeypatch.setenv(WEIGHTS_FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=f"expected {file}.*KERAS_RETINA_WEIGHTS.*`keras-retina weights`"):
        find_weights(settings, None)
    (tmp_path / file).touch()
    assert find_weights(settings, None) == str(tmp_path / file)


def test_a_path_that_does_not_exist_names_what_the_backbone_can_start_from():
    with pytest.raises(InputError, match="expected 'imagenet', 'voc', 'none' or a weights file"):
        find_weights(Backbone(alpha=0.5, weights="runs/nowhere.h5"), None)


# What is refused


@pytest.mark.parametrize(
    ("suffix", "content"), [(".h5", b""), (".weights.h5", b"text"), (".pkl", b"\x80\x04\x95"), (".h5", b"PK\x05\x06")]
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, suffix: str, content: bytes):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert "mobilenet_v2 alpha 0.35" in refusal(Backbone(alpha=0.35), str(path))


def test_a_folder_is_refused(tmp_path):
    refusal(Backbone(alpha=0.35), str(tmp_path))


def test_weights_of_another_architecture_or_width_are_refused(shared_weights):
    assert "alpha 0.35" in refusal(Backbone(alpha=0.35), str(shared_weights / FILE_1_0))
    other = str(shared_weights / "mobilenet_v1_0.25_imagenet_notop.weights.h5")
    assert "alpha 1.0" in refusal(Backbone(alpha=1.0), other)
    assert "resnet50" in refusal(Backbone(name="resnet50"), str(shared_weights / FILE_1_0))


def test_a_backbone_without_pretrained_weights_refuses_a_file(tmp_path):
    plain = Backbone(name="plain", weights="none", frozen_stages=0, batch_norm="trained")
    assert "'none' was expected for plain" in refusal(plain, str(tmp_path / "resnet50.h5"))
    with pytest.raises(InputError, match="'none' was expected for plain"):
        find_weights(plain.model_copy(update={"weights": "imagenet"}), None)


# What is copied


def test_random_weights_stay_as_they_are(tiny_detector, tiny_recipe):
    model, _ = tiny_detector
    before = [value.copy() for value in model.get_weights()]
    load_pretrained(model, tiny_recipe.model.backbone, source=None)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("backbone", "file"),
    [
        (Backbone(weights="openimages"), "mobilenet_v2_1.0_openimages_notop.weights.h5"),
        (Backbone(alpha=0.5, weights="voc"), "mobilenet_v2_0.5_deeplab_voc_notop.weights.h5"),
        (Backbone(name="efficientnet_lite0"), "efficientnet_lite0_imagenet_notop.weights.h5"),
    ],
)
def test_the_features_of_a_named_start_equal_those_of_its_network(shared_weights, monkeypatch, backbone, file):
    monkeypatch.setenv(WEIGHTS_FOLDER_VARIABLE, str(shared_weights))
    source = find_weights(backbone, None)
    assert source == str(shared_weights / file)
    settings = small(backbone)
    model = detector_network(settings, 2)
    load_pretrained(model, backbone, source=source)
    theirs = pretrained_network(backbone, source)
    image = keras.Input((96, 128, 3))
    whole = BACKBONES[backbone.name].build(backbone, include_top=False, weights=None, input_tensor=image)
    whole.set_weights(theirs.get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 128, 3)).astype(np.float32)
    for name in BACKBONES[backbone.name].features:
        ours = keras.Model(model.input, model.get_layer(name).output)(images)
        reference = keras.Model(image, whole.get_layer(name).output)(images)
        assert np.std(reference) > 0.01
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_efficientnet_refuses_weights_of_another_network(shared_weights):
    assert "efficientnet_lite0" in refusal(Backbone(name="efficientnet_lite0"), str(shared_weights / FILE_1_0))


def test_mobilenet_features_equal_those_of_the_network_in_the_file(shared_weights):
    settings = small(Backbone(alpha=1.0))
    model = detector_network(settings, 2)
    load_pretrained(model, settings.backbone, source=str(shared_weights / FILE_1_0))
    theirs = keras.applications.MobileNetV2(
        input_shape=(96, 128, 3), include_top=False, weights=str(shared_weights / FILE_1_0)
    )
    images = np.random.default_rng(0).uniform(-1, 1, (1, 96, 128, 3)).astype(np.float32)
    for name in BACKBONES["mobilenet_v2"].features:
        ours = keras.Model(model.input, model.get_layer(name).output)(images)
        reference = keras.Model(theirs.input, theirs.get_layer(name).output)(images)
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_a_resnet_fed_rgb_in_unit_range_equals_its_own_preprocessing_away_from_the_border(tmp_path):
    """The file's network gets BGR pixels minus a mean; ours gets RGB in [-1, 1] and a rewritten first convolution."""
    keras.utils.set_random_seed(0)
    file = str(tmp_path / "resnet50.h5")
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(96, 128, 3))
    first = theirs.get_layer("conv1_conv")
    kernel, bias = first.get_weights()
    first.set_weights([kernel, np.random.default_rng(0).normal(size=bias.shape)])
    theirs.save_weights(file)

    settings = small(Backbone(name="resnet50", frozen_stages=2))
    model = detector_network(settings, 2)
    load_pretrained(model, settings.backbone, source=file)

    pixels = np.random.default_rng(1).integers(0, 256, (1, 96, 128, 3)).astype(np.float32)
    caffe = keras.applications.resnet.preprocess_input(pixels.copy())
    assert caffe[0, 0, 0] == pytest.approx(pixels[0, 0, 0, ::-1] - [103.939, 116.779, 123.68])
    ours = keras.Model(model.input, model.get_layer("conv1_conv").output)((pixels - 127.5) / 127.5)
    reference = keras.Model(theirs.input, first.output)(caffe)
    assert ours.shape == reference.shape == (1, 48, 64, 64)
    inside = np.s_[:, 2:-2, 2:-2]  # the outputs whose 7 x 7 window at stride 2 sees no padding
    np.testing.assert_allclose(ours.numpy()[inside], reference.numpy()[inside], rtol=1e-3, atol=2e-3)
    for layer in backbone_layers(model, settings.backbone):
        if layer.name != "conv1_conv":
            for one, other in zip(layer.get_weights(), theirs.get_layer(layer.name).get_weights(), strict=True):
                assert np.array_equal(one, other), layer.name
