"""The layers of a saved network are looked at before Keras builds them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.saved.network import require_buildable
from keras_retina.model.spec import DetectorSpec

SPEC = DetectorSpec(
    class_names=("a",),
    height=32,
    width=64,
    resize="stretch",
    levels=(3, 4),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)


def layer(name: str, kind: str, reads: list[str], **config: Any) -> dict[str, Any]:
    nodes = [[[source, 0, 0, {}] for source in reads]] if reads else []
    return {"name": name, "class_name": kind, "config": config, "inbound_nodes": nodes}


def a_network() -> dict[str, Any]:
    """Kernels: 3 x 3 x 3 x 8 = 216, depthwise 3 x 3 x 8 = 72, 1 x 1 x 16 / 2 x 4 = 32."""
    layers = [
        layer("image", "InputLayer", [], batch_input_shape=[None, 32, 64, 3]),
        layer("conv", "Conv2D", ["image"], filters=8, kernel_size=[3, 3], groups=1),
        layer("depth", "DepthwiseConv2D", ["conv"], kernel_size=[3, 3], depth_multiplier=1),
        layer("both", "Concatenate", ["conv", "depth"], axis=-1),
        layer("last", "Conv2D", ["both"], filters=4, kernel_size=[1, 1], groups=2),
    ]
    return {"config": {"layers": layers}}


def refusal(network: Any, weights_bytes: int = 10**6) -> str:
    with pytest.raises(InputError) as error:
        require_buildable(network, SPEC, weights_bytes=weights_bytes, path=Path("model.keras"))
    assert str(error.value).startswith("model.keras: ") and "\n" not in str(error.value)
    return str(error.value)


def test_parameters_are_counted_from_the_layers_alone():
    require_buildable(a_network(), SPEC, weights_bytes=2 * 320, path=Path("model.keras"))
    assert "the weights of 320 parameters. Received: 639 bytes" in refusal(a_network(), 639)


@pytest.mark.parametrize(("field", "value"), [("filters", 10**9), ("filters", 0), ("filters", "8"), ("groups", 0)])
def test_a_size_that_is_none_is_refused(field, value):
    network = a_network()
    network["config"]["layers"][1]["config"][field] = value
    assert f"a size of {value}" in refusal(network)


def test_a_layer_too_large_for_the_weights_in_the_file_is_refused_with_the_count():
    network = a_network()
    network["config"]["layers"][1]["config"]["filters"] = 60_000
    assert f"the weights of {27 * 60_000 + 9 * 60_000 + 60_000 * 4} parameters" in refusal(network)


@pytest.mark.parametrize("shape", [[None, 10**9, 64, 3], [None, 64, 32, 3], [], None])
def test_an_input_of_another_size_than_described_is_refused(shape):
    network = a_network()
    network["config"]["layers"][0]["config"]["batch_input_shape"] = shape
    refusal(network)


def test_a_circle_is_refused():
    network = a_network()
    network["config"]["layers"][1]["inbound_nodes"] = [[["last", 0, 0, {}]]]
    assert "a circle at" in refusal(network)


def test_a_layer_that_reads_nothing_is_refused():
    network = a_network()
    network["config"]["layers"][2]["inbound_nodes"] = []
    assert "layer 'depth' of class DepthwiseConv2D that reads nothing" in refusal(network)


@pytest.mark.parametrize("layers", [[], {}, None, "x", [None], [[]], [{}], [{"name": []}]])
def test_what_are_no_layers_is_refused(layers):
    refusal({"config": {"layers": layers}})


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": []}, {"config": {}}])
def test_what_is_no_network_is_refused(config):
    refusal(config)


@pytest.mark.parametrize("name", [1.5, "other", None, []])
def test_a_layer_or_network_whose_name_is_none_is_refused(name):
    network = a_network()
    network["config"]["layers"][1]["config"]["name"] = name
    assert "layer 'conv' with another name" in refusal(network)
    if name != "other":
        refusal({"config": {**a_network()["config"], "name": name}})


def test_two_layers_of_one_name_and_very_many_layers_are_refused():
    network = a_network()
    network["config"]["layers"].append(copy.deepcopy(network["config"]["layers"][1]))
    assert "6 layers of 5 names" in refusal(network)
    first, *rest = network["config"]["layers"][:2]
    chain = [layer(f"r{n}", "ReLU", [f"r{n + 1}"]) for n in range(50_000)]
    assert "layers" in refusal({"config": {"layers": [first, *rest, *chain]}})


def test_any_value_in_any_field_is_refused_or_accepted():
    generator = np.random.default_rng(0)
    values = ([], {}, "", None, True, -1, 0, 10**9, 10**400, float("nan"), [[]], [10**9], [[["image", 0, 0, {}]]])
    for _ in range(400):
        network = copy.deepcopy(a_network())
        chosen = network["config"]["layers"][generator.integers(5)]
        fields = chosen if generator.integers(2) else chosen["config"]
        fields[list(fields)[generator.integers(len(fields))]] = values[generator.integers(len(values))]
        try:
            require_buildable(network, SPEC, weights_bytes=10**6, path=Path("model.keras"))
        except InputError as error:
            assert "\n" not in str(error)
