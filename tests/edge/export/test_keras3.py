"""A saved detector is the same network in Keras 3, whatever it is made of, and needs no Keras 2 there."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from edge.export.keras3 import _SETTINGS, keras3_detector, write_keras3
from edge.quantize.detector import quantize_aware, save_keras_file
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras as keras2
from keras_retina.model.detector import retinanet
from keras_retina.model.layers import LAYERS
from keras_retina.model.saving import save_detector
from keras_retina.recipe.model import Model

NETWORKS = {
    "scaled pyramid, norms of each level": {
        "backbone": {
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "weights": "none",
            "frozen_stages": 0,
            "batch_norm": "trained",
        },
        "pyramid": {"levels": [3, 7], "width": 16, "outputs": "scaled"},
        "head": {"width": 16, "convolutions": 1, "batch_norm": "per_level"},
    },
    "plain convolutions, group norm": {
        "backbone": {"name": "resnet18", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "pyramid": {"levels": [3, 6], "width": 16, "convolution": "full", "padding": "symmetric"},
        "head": {"width": 16, "convolutions": 1, "convolution": "full", "group_norm": 4},
    },
    "squeeze and excitation": {
        "backbone": {"name": "mobilenet_v3_small", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "pyramid": {"levels": [3, 5], "width": 16},
        "head": {"width": 16, "convolutions": 1},
    },
    "attention": {
        "backbone": {"name": "mit_b0", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "pyramid": {"levels": [3, 5], "width": 16},
        "head": {"width": 16, "convolutions": 1},
    },
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function that saves a network of `NETWORKS` with random weights and statistics, and returns model and file."""
    folder = tmp_path_factory.mktemp("keras3")

    def save(name):
        keras2.utils.set_random_seed(3)
        model, spec = retinanet(Model(input={"height": 128, "width": 128}, **NETWORKS[name]), class_names=("a", "b"))
        for layer in model.layers:
            if isinstance(layer, keras2.layers.BatchNormalization):  # not the ones and zeros that any layer starts from
                draw = np.random.default_rng(len(layer.name))
                layer.set_weights([draw.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
        path = folder / f"{list(NETWORKS).index(name)}.keras"
        save_detector(model, spec, path)
        return model, spec, path

    return save


def test_every_kind_of_layer_that_can_be_saved_is_known():
    assert set(_SETTINGS) == {kind.__name__ for kind in LAYERS} - {"InputLayer"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_are_the_same(name, saved):
    model, spec, path = saved(name)
    new, same = keras3_detector(path)
    assert same == spec and new.count_params() == model.count_params()
    assert [layer.trainable for layer in new.layers] == [layer.trainable for layer in model.layers]
    image = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    theirs, ours = new(image, training=False), model(image, training=False)
    for key, values in ours.items():
        assert np.ptp(values.numpy()) > 1e-3  # an output that does not depend on the image would prove nothing
        np.testing.assert_allclose(np.asarray(theirs[key]), values.numpy(), rtol=1e-3, atol=1e-4)


def test_keras_3_opens_what_is_written_without_our_code_and_without_keras_2(saved, tmp_path):
    model, spec, path = saved("squeeze and excitation")
    out = tmp_path / "new.keras"
    assert write_keras3(path, out) < 1e-4
    code = (
        "import sys, numpy, keras; model = keras.saving.load_model(sys.argv[1]);"
        "print(tuple(model(numpy.zeros((1, 128, 128, 3)))['boxes'].shape));"
        "assert not {'tf_keras', 'keras_retina', 'edge'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout.strip() == str((1, len(spec.anchors()), 4)), told.stderr
    with zipfile.ZipFile(out) as archive:
        assert json.loads(archive.read("detector.json"))["class_names"] == ["a", "b"]


def test_another_layer_is_refused_by_its_name(saved, tmp_path):
    model, spec, path = saved("squeeze and excitation")
    file = tmp_path / "changed.keras"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(file, "w") as after:
        for member in before.namelist():
            content = before.read(member)
            if member == "config.json":
                content = content.replace(b'"class_name": "Multiply"', b'"class_name": "Lambda"')
            after.writestr(member, content)
    with pytest.raises(InputError, match="of class 'Lambda'"):
        keras3_detector(file)


def test_a_quantization_aware_model_gives_its_float_weights(small_quantized, image_paths, tmp_path):
    aware = quantize_aware(small_quantized.model, small_quantized.spec, calibration=image_paths)
    save_keras_file(aware, small_quantized.spec, tmp_path / "aware.keras")
    new, spec = keras3_detector(tmp_path / "aware.keras")
    image = np.zeros((1, spec.height, spec.width, 3), np.float32)
    expected = small_quantized.model(image, training=False)["classes"].numpy()
    np.testing.assert_allclose(np.asarray(new(image, training=False)["classes"]), expected, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"PK"])
def test_a_file_that_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "x.keras").write_bytes(content)
    with pytest.raises(InputError, match="x.keras"):
        keras3_detector(tmp_path / "x.keras")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.keras"):
        write_keras3(tmp_path / "a.keras", tmp_path / "b.h5")
