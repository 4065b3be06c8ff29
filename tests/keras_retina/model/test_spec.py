"""The description that travels with a network is read back equal, and nothing else is read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.model.spec import DetectorSpec, detector_spec, spec_from_json
from keras_retina.recipe.model import Anchors, Input, Model, Pyramid

SETTINGS = Model(
    input=Input(height=256, width=192, resize="letterbox"),
    anchors=Anchors(size=2.5, scales=(1.0, 1.5), ratios=(0.5, 1.0, 3.0)),
    pyramid=Pyramid(levels=(3, 6)),
    coder_weights=(1.0, 2.0, 3.0, 4.0),
)


@pytest.fixture
def spec() -> DetectorSpec:
    return detector_spec(SETTINGS, ("größe", "<b>", "../x\n"))


def test_every_setting_of_the_model_that_a_reader_needs_is_in_it(spec):
    assert (spec.height, spec.width, spec.resize, spec.levels) == (256, 192, "letterbox", (3, 6))
    assert (spec.anchor_size, spec.anchor_scales, spec.anchor_ratios) == (2.5, (1.0, 1.5), (0.5, 1.0, 3.0))
    assert spec.coder_weights == (1.0, 2.0, 3.0, 4.0)
    assert (spec.pixel_mean, spec.pixel_scale) == (127.5, 127.5)
    assert spec.class_names == ("größe", "<b>", "../x\n")


def test_its_anchors_are_those_of_its_settings(spec):
    assert spec.grid == AnchorGrid(256, 192, (3, 6), 2.5, (1.0, 1.5), (0.5, 1.0, 3.0))
    np.testing.assert_array_equal(spec.anchors(), spec.grid.boxes())


def test_pixels_are_scaled_and_back_by_hand(spec):
    spec = dataclasses.replace(spec, pixel_mean=100.5, pixel_scale=50.0)
    pixels = np.array([[0, 100, 255]], np.uint8)
    scaled = spec.scale(pixels)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[-2.01, -0.01, 3.09]], rtol=1e-6)
    np.testing.assert_array_equal(spec.scale(tf.cast(pixels, tf.float32)), scaled)
    assert spec.scale(np.zeros((0, 3), np.uint8)).shape == (0, 3)
    assert spec.unscale(scaled).dtype == np.uint8
    np.testing.assert_array_equal(spec.unscale(np.array([-9.0, -2.005, 0.0, 3.07, 9.0])), [0, 0, 100, 254, 255])


def test_every_pixel_is_scaled_and_back_to_itself(spec):
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(spec.unscale(spec.scale(pixels)), pixels)
    assert (spec.scale(pixels).min(), spec.scale(pixels).max()) == (-1.0, 1.0)


def test_it_is_read_back_equal(spec):
    assert spec_from_json(spec.to_json(), "test") == spec


def test_whole_numbers_are_read_as_numbers(spec):
    fields = json.loads(spec.to_json())
    fields["coder_weights"] = [1, 2, 3, 4]
    assert spec_from_json(json.dumps(fields), "test") == spec


def test_the_json_is_ascii_and_the_same_each_time(spec):
    assert spec.to_json().isascii()
    assert spec.to_json() == detector_spec(SETTINGS, spec.class_names).to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", None),
        ("height", 256.5),
        ("height", True),
        ("height", 0),
        ("height", 100_000),
        ("width", 100),  # no multiple of the last stride
        ("levels", [3]),
        ("levels", [6, 3]),
        ("levels", [3, 30]),
        ("anchor_size", -1),
        ("anchor_scales", []),
        ("anchor_scales", [1.0] * 1000),
        ("anchor_ratios", [float("nan")]),
        ("anchor_ratios", "abc"),
        ("coder_weights", [1, 2, 3, 0]),
        ("class_names", [1]),
        ("class_names", "cat"),
        ("pixel_scale", 0),
        ("pixel_mean", float("inf")),
        ("resize", "crop"),
        ("unknown", 1),
    ],
)
def test_a_wrong_field_is_refused_with_file_and_field(spec, field: str, value):
    fields = {**json.loads(spec.to_json()), field: value}
    with pytest.raises(InputError) as error:
        spec_from_json(json.dumps(fields), "some/model.keras")
    message = str(error.value)
    assert message.startswith("some/model.keras: ")
    assert field in message or "anchor" in message.lower() or "multiple of" in message or "levels" in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("field", ["height", "class_names", "coder_weights"])
def test_a_missing_field_is_refused(spec, field: str):
    fields = json.loads(spec.to_json())
    del fields[field]
    with pytest.raises(InputError, match=field):
        spec_from_json(json.dumps(fields), "test")


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"text"', "{", "[" * 100_000, '{"a\\n\\u001b": 1}'])
def test_what_is_no_description_is_refused_in_one_printable_line(text: str):
    with pytest.raises(InputError) as error:
        spec_from_json(text, "test")
    assert str(error.value).isprintable()
