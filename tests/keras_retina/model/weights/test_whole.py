"""A detector that starts from another one: with its classes all of it, with others all but the class prediction."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.detector import retinanet
from keras_retina.model.saving import save_detector

SETTINGS = {
    "backbone": {"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
    "input": {"height": 64, "width": 64},
    "pyramid": {"width": 16},
    "head": {"convolutions": 1, "width": 16},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model, spec = retinanet(SETTINGS, ["cat", "dog"])
    for layer in model.layers:
        layer.set_weights([np.full(array.shape, 0.25, np.float32) for array in layer.get_weights()])
    path = tmp_path_factory.mktemp("run") / "model.keras"
    save_detector(model, spec, path)
    return path


def settings_from(path, **backbone):
    return {**SETTINGS, "backbone": {"name": "plain", "weights": str(path), **backbone}}


def quarters(model, name: str) -> bool:
    return all(np.all(array == 0.25) for array in model.get_layer(name).get_weights())


def layers_with_weights(model) -> list[str]:
    return [layer.name for layer in model.layers if layer.weights]


def test_with_the_same_classes_every_layer_is_that_of_the_file(saved):
    model, _ = retinanet(settings_from(saved), ["cat", "dog"])
    assert all(quarters(model, name) for name in layers_with_weights(model))


@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat", "dog", "fox"]])
def test_with_other_classes_the_class_prediction_begins_anew(saved, classes):
    model, _ = retinanet(settings_from(saved, frozen_stages=2), classes)
    anew = [name for name in layers_with_weights(model) if not quarters(model, name)]
    assert {name.removesuffix("_pointwise").removesuffix("_depthwise") for name in anew} == {"classes_prediction"}
    bias = model.get_layer("classes_prediction_pointwise").get_weights()[1]
    np.testing.assert_allclose(bias, np.log(0.01 / 0.99), rtol=1e-5)


def test_another_network_is_refused_and_its_layers_named(saved):
    settings = settings_from(saved)
    with pytest.raises(InputError, match=r"which fits in \d+ of \d+ layers; not in .*pyramid_lateral_3"):
        retinanet({**settings, "pyramid": {"width": 24}}, ["cat", "dog"])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="nowhere.keras"):
        retinanet(settings_from(tmp_path / "nowhere.keras"), ["cat"])
