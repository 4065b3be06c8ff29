"""The steps of healing on a small detector: other ranges, layers in float, and what they say when they cannot help."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge.export.convert import float_heads, quantize_heads
from edge.quantize.ranges import Histogram, best_range, observed_values
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.layer_names import layer_operators
from edge.verify.debug.debug import with_camera_bytes
from edge.verify.heal.material import Material, heads_of
from edge.verify.heal.steps import (
    Candidate,
    StepNotPossibleError,
    float_layers,
    float_layers_forbidden,
    halfway_range,
    other_ranges,
    whole_range,
)
from keras_retina.foundation.legacy_keras import keras

BROKEN = "boxes_0_depthwise"


def material_of(small, model) -> tuple[Material, Candidate]:
    """What healing works with, of a model as it is, and the plain network."""
    float_network = float_heads(model, small.spec)
    network = quantize_heads(model, small.spec, kind="int8", samples=small.samples)
    images = [image for (image,) in small.samples()]
    heads = heads_of(with_camera_bytes(float_network, small.spec), small.spec, images=images)
    values = observed_values(float_network, small.samples())
    material = Material(small.spec, small.samples, network, float_network, values, images, heads)
    return material, Candidate("", network, head_error=material.error(network))


@pytest.fixture(scope="module")
def broken(small_quantized):
    """The same function, but one channel between two layers is 1000 times as large: 8 bits see no other."""
    model = keras.models.clone_model(small_quantized.model)
    model.set_weights(small_quantized.model.get_weights())
    (kernel,) = model.get_layer(BROKEN).get_weights()
    kernel[:, :, 0] *= 1000.0
    model.get_layer(BROKEN).set_weights([kernel])
    kernel, bias = model.get_layer("boxes_0_pointwise").get_weights()
    kernel[:, :, 0] /= 1000.0
    model.get_layer("boxes_0_pointwise").set_weights([kernel, bias])
    return material_of(small_quantized, model)


def histogram(values) -> Histogram:
    seen = Histogram()
    seen.add(np.float32(values).reshape(1, -1, 1))
    return seen


def test_the_rules_for_ranges_go_from_the_clipped_to_the_whole_one():
    values = np.random.default_rng(0).normal(size=30_000)
    seen = histogram([*values, 12.0])
    (low, high), (middle_low, middle_high), whole = best_range(seen), halfway_range(seen), whole_range(seen)
    assert whole == pytest.approx((values.min(), 12.0))
    assert high < 12 and middle_high == pytest.approx((high + 12) / 2)
    assert middle_low == pytest.approx((low + values.min()) / 2)


def test_other_ranges_are_tried_only_where_they_give_less_error(small_quantized):
    material, plain = material_of(small_quantized, small_quantized.model)
    errors = {}
    for name, base in (("better", dataclasses.replace(plain, head_error=1.0)), ("worse", plain)):
        try:
            (tried,) = other_ranges(material, base)
            errors[name] = tried.head_error
            assert tried.head_error == pytest.approx(material.error(tried.heads_only))
            assert tried.head_error < base.head_error
        except StepNotPossibleError as reason:
            assert str(reason) == "the ranges of the plain file have the least error of 3"
    assert "better" in errors
    with pytest.raises(StepNotPossibleError):
        next(other_ranges(material, dataclasses.replace(plain, head_error=0.0)))


def test_the_broken_layer_is_left_in_float_and_the_error_falls(broken):
    material, plain = broken
    tried = list(float_layers(material, plain))
    assert [len(one.float_layers) for one in tried] == sorted(len(one.float_layers) for one in tried)
    best = min(tried, key=lambda one: one.head_error)
    assert BROKEN in best.float_layers and best.head_error < 0.5 * plain.head_error
    assert best.changed == f"{', '.join(best.float_layers)} in float"
    operators = layer_operators(read_flatbuffer(best.heads_only))
    assert set(best.float_layers) <= set(operators)


def test_an_integer_only_device_gets_no_float_layers(broken):
    with pytest.raises(StepNotPossibleError, match="export.integer_only forbids layers in float"):
        next(float_layers_forbidden(*broken))


def test_layers_behind_another_change_say_both(broken):
    material, plain = broken
    base = dataclasses.replace(plain, changed="less clipped ranges")
    first = next(iter(float_layers(material, base)))
    assert first.changed.startswith("less clipped ranges and ")
