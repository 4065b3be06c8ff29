"""`retinanet`: settings and class names in; a network with weights, frozen layers and its description out."""

from __future__ import annotations

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.detector import retinanet
from keras_retina.recipe.model import Model

RANDOM = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"}
SMALL = {"input": {"height": 128, "width": 128}, "pyramid": {"width": 8}, "head": {"width": 8, "convolutions": 0}}


def test_settings_may_be_a_dictionary_and_give_the_same_network(tmp_path):
    named = {"backbone": RANDOM, **SMALL}
    model, spec = retinanet(named, ["a", "b", "c"])
    other, same = retinanet(Model(**named), class_names=("a", "b", "c"))
    assert spec == same and spec.class_names == ("a", "b", "c")
    assert model.output_shape == other.output_shape
    assert model.output_shape["classes"] == (None, len(spec.anchors()), 3)


def test_weights_of_a_file_are_loaded_and_stages_frozen(tmp_path):
    source = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None)
    path = tmp_path / "weights.h5"
    source.save_weights(path)
    backbone = {"alpha": 0.35, "weights": str(path), "frozen_stages": 2, "batch_norm": "frozen"}
    model, _ = retinanet({"backbone": backbone, **SMALL}, ["a"])
    for name in ("Conv1", "block_16_project"):
        assert (model.get_layer(name).get_weights()[0] == source.get_layer(name).get_weights()[0]).all()
    assert not model.get_layer("Conv1").trainable and model.get_layer("block_16_project").trainable
    assert not model.get_layer("block_16_project_BN").trainable


def test_batch_norm_that_trains_follows_within_tens_of_steps():
    model, _ = retinanet({"backbone": RANDOM, **SMALL}, ["a"])
    assert model.get_layer("bn_Conv1").momentum == 0.9


@pytest.mark.parametrize(
    ("settings", "names", "message"),
    [
        ({}, [], r"class_names: expected.*Received: class_names=\[\]"),
        ({}, "cat", "class_names='cat'"),
        ({}, ["cat", "cat"], "each class once"),
        ({}, [1], r"class_names=\[1\]"),
        ({}, 1, "class_names=1. For two classes"),
        ({"input": {"height": 300, "width": 300}}, ["a"], "Model: input.height must.*of 32.*Closest: 288"),
        ({"backbone": {"nme": "x"}}, ["a"], "Model: backbone.nme: unknown key.*Did you mean 'name'"),
        ({"backbone": {"weights": "nowhere.h5"}}, ["a"], "'nowhere.h5', which does not exist"),
    ],
)
def test_what_is_impossible_is_refused_in_one_line(settings, names, message):
    with pytest.raises(InputError, match=message) as refused:
        retinanet(settings, names)
    assert "\n" not in str(refused.value)
