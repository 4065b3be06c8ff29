"""Which maps are rounded and which share a scale, on a graph small enough to say so by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.quantize.aware.places import (
    activation_of,
    changes_nothing,
    measured_ranges,
    quantized_places,
    with_zero_step,
)
from edge.quantize.ranges import ROOM_ABOVE
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import calls_of


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Two levels with a shared head; the logits of level 1 are the input plus 1, those of level 0 half of that."""
    layers = keras.layers
    image = keras.Input((4, 4, 1), name="image")
    stem = layers.ReLU(6.0, name="stem_relu")(layers.Conv2D(1, 1, name="stem", kernel_initializer="ones")(image))
    again = layers.Activation("relu6", name="again")(stem)
    below = layers.Conv2D(1, 2, 2, name="below", kernel_initializer="ones")(again)
    above = layers.UpSampling2D(2, interpolation="bilinear", name="above")(below)
    total = layers.Add(name="sum")([above, stem])
    head = layers.Conv2D(1, 1, name="head", kernel_initializer="ones")
    rows = [layers.Reshape((-1, 1), name=f"row_{i}")(head(tensor)) for i, tensor in enumerate((total, below))]
    return keras.Model(image, {"classes": layers.Concatenate(axis=1, name="classes")(rows)})


def test_maps_are_rounded_once_behind_the_activation_and_for_each_call(model):
    owner = quantized_places(model)
    expected = {("image", 0), ("stem_relu", 0), ("below", 0), ("above", 0), ("sum", 0), ("head", 0), ("head", 1)}
    assert set(owner) == expected


def test_what_only_moves_or_joins_values_shares_a_scale(model):
    owner = quantized_places(model)
    assert owner["above", 0] == owner["below", 0]
    assert owner["head", 0] == owner["head", 1]
    assert len(set(owner.values())) == 5


def test_the_ranges_by_hand(model):
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    ranges = measured_ranges(model, [0.5 * ramp, ramp])
    low, high = ranges["stem_relu", 0]
    assert (low, high) == (0.0, pytest.approx(1.0, abs=0.01))
    assert ranges["above", 0] == ranges["below", 0]
    largest = float(np.max(model(ramp)["classes"]))
    assert ranges["head", 0] == ranges["head", 1] == (0.0, pytest.approx(largest + ROOM_ABOVE, rel=0.01))


def test_zero_is_a_step_and_an_empty_map_has_a_range():
    low, high = with_zero_step(-1.0, 2.0)
    step = (high - low) / 255
    assert step == pytest.approx(3 / 255)
    assert low / step == pytest.approx(round(low / step), abs=1e-9)
    assert abs(low + 1.0) <= step / 2
    assert with_zero_step(0.5, 2.0) == (0.0, 2.0)
    assert with_zero_step(-2.0, -0.5)[1] == 0.0
    low, high = with_zero_step(0.0, 0.0)
    assert low == 0.0 < high


def test_a_second_relu6_changes_nothing(model):
    calls = {call.layer: call for call in calls_of(model)}
    assert changes_nothing(calls["again"], model)
    assert not changes_nothing(calls["stem_relu"], model)
    assert not changes_nothing(calls["sum"], model)


def test_only_activations_that_tflite_fuses_are_known():
    layers = keras.layers
    assert activation_of(layers.ReLU(6.0)) == activation_of(layers.Conv2D(1, 1, activation="relu6")) == "relu6"
    assert activation_of(layers.Activation("linear")) == "linear"
    assert activation_of(layers.Add()) is None
    for layer in (layers.ReLU(3.0, name="odd"), layers.ReLU(negative_slope=0.1, name="odd")):
        with pytest.raises(InputError, match="odd"):
            activation_of(layer)
