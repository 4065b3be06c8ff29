"""The debugger finds a layer that was broken on purpose, and suggests float layers only where they help."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest

from edge.convert import float_heads, quantize_heads
from edge.debug_quantization import ap_candidates, debug_quantization, suggestion, training_subset
from edge.export import write_detector
from edge.float_trials import Trial, TrialFiles, head_error, layers_and_readers, try_layers
from edge.int16 import take_camera_bytes
from edge.layer_names import layers_in
from edge.quantization_error import map_errors
from edge.tflite_file import read_flatbuffer, write_flatbuffer
from keras_retina.data.folder import load_dataset
from keras_retina.legacy_keras import keras
from keras_retina.recipe import Export

BROKEN = "boxes_0_depthwise"


@pytest.fixture(scope="module")
def broken(small_quantized):
    """The same function, but one channel between two layers is 1000 times as large: 8 bits see no other."""
    small = small_quantized
    model = keras.models.clone_model(small.model)
    model.set_weights(small.model.get_weights())
    (kernel,) = model.get_layer(BROKEN).get_weights()
    kernel[:, :, 0] *= 1000.0
    model.get_layer(BROKEN).set_weights([kernel])
    kernel, bias = model.get_layer("boxes_0_pointwise").get_weights()
    kernel[:, :, 0] /= 1000.0
    model.get_layer("boxes_0_pointwise").set_weights([kernel, bias])
    network = quantize_heads(model, small.spec, "int8", small.samples)
    return dataclasses.replace(small, model=model, float_network=float_heads(model, small.spec), int8=network)


@pytest.fixture(scope="module")
def trials(broken):
    files = TrialFiles(broken.int8, broken.float_network, broken.spec)
    parent = read_flatbuffer(broken.float_network)
    take_camera_bytes(parent, broken.spec)
    images = [image for (image,) in broken.samples()][:3]
    expected = files.heads(files.write(write_flatbuffer(parent)), images)
    for (logits, deltas), image in zip(expected, images, strict=True):  # the float trial file is the Keras model
        outputs = broken.model(image, training=False)
        np.testing.assert_allclose(logits, outputs["classes"][0], atol=1e-3)
        np.testing.assert_allclose(deltas, outputs["boxes"][0], atol=1e-3)
    groups = layers_and_readers(broken.int8)
    return try_layers(files, expected, images, list(groups.values()), lambda line: None)


def test_a_broken_layer_is_the_one_that_gains_most_with_its_readers(trials):
    error, found = trials
    best = max(found, key=lambda trial: trial.gain)
    assert best.layers == (BROKEN, "boxes_0_pointwise")
    assert best.gain > 0.5
    assert error > 0


def test_a_broken_layer_shows_in_its_channels(broken, small_quantized):
    def channel_sqnr(networks) -> float:
        found = map_errors(networks.float_network, networks.int8, networks.samples(), networks.spec)
        return min(one.local.channel_sqnr for one in found if layers_in(one.name)[0] == BROKEN)

    assert channel_sqnr(broken) < channel_sqnr(small_quantized) - 15


def test_readers_are_followed_through_layers_that_only_move_values(small_quantized):
    groups = layers_and_readers(small_quantized.int8)
    assert groups["boxes_0_depthwise"] == ("boxes_0_depthwise", "boxes_0_pointwise")
    assert set(groups["boxes_prediction_pointwise"]) == {
        "boxes_prediction_pointwise", "boxes_reshape_0", "boxes_reshape_1", "boxes_reshape_2", "boxes",
    }  # fmt: skip
    assert set(groups["pyramid_lateral_5"]) == {
        "pyramid_lateral_5", "pyramid_upsample_4", "pyramid_add_4", "pyramid_output_5_depthwise",
    }  # fmt: skip
    assert not {"boxes", "boxes_reshape_0", "pyramid_upsample_4"} & set(groups)  # they compute nothing


def test_head_error_by_hand():
    certain, nothing = 50.0, -50.0
    expected = [(np.array([[certain], [nothing]]), np.array([[1.0, 0, 0, 0], [9.0, 9, 9, 9]]))]
    assert head_error(expected, expected) == 0.0
    # One of two probabilities, 1 and 0, becomes 0.5: 0.25 of 2 * 0.25. The box of an anchor without object is free.
    received = [(np.array([[0.0], [nothing]]), np.array([[1.0, 0, 0, 0], [0.0, 0, 0, 0]]))]
    assert head_error(expected, received) == pytest.approx(0.5 * 0.25 / 0.5)


def test_candidates_are_the_best_without_overlap_and_their_unions():
    found = [Trial(("a",), 0.5), Trial(("a", "b"), 0.6), Trial(("c",), 0.3), Trial(("d",), 0.2), Trial(("e",), 0.001)]
    assert ap_candidates(found, 3) == [("a", "b"), ("c",), ("d",), ("a", "b", "c"), ("a", "b", "c", "d")]
    assert ap_candidates(found, 1) == [("a", "b")]
    assert ap_candidates([Trial(("a",), -0.1)], 3) == []


@pytest.mark.parametrize(
    ("int8", "trial_aps", "layers", "reason"),
    [
        (49.6, {"a": 50.0}, [], "int8 keeps 99.2 % of the float AP: no layer"),
        (40.0, {"a b": 49.9, "a": 49.8, "c": 41.0}, ["a"], "AP 40.00 in int8, 49.80 with these"),
        (40.0, {"a": 45.5, "a b": 47.0}, ["a", "b"], "47.00 with these layers in float, 50.00 all"),
        (40.0, {"a": 41.0}, [], "no few layers win back half"),
        (40.0, {}, [], "no few layers"),
    ],
)
def test_suggestion(int8, trial_aps, layers, reason):
    trials = [{"float_layers": names.split(), "AP": value} for names, value in trial_aps.items()]
    chosen, why = suggestion(50.0, int8, trials, 0.99)
    assert chosen == layers
    assert reason in why


def test_no_layer_is_judged_by_a_detector_that_finds_nothing():
    assert suggestion(0.0, 0.0, [], 0.99)[0] == []
    assert "finds nothing" in suggestion(None, None, [], 0.99)[1]


def test_the_subset_shows_all_classes_and_is_the_same_every_time(tiny_coco):
    train_set = load_dataset(tiny_coco, "train")
    subset = training_subset(train_set, 2)
    assert len(subset.records) == 2
    assert {int(label) for record in subset.records for label in record.classes} == {0, 1}
    assert [r.path for r in training_subset(train_set, 2).records] == [r.path for r in subset.records]
    assert len(training_subset(train_set, 64).records) == len(train_set.records)


def test_the_whole_debugger_on_a_file_gives_what_the_table_shows(small_quantized, tiny_coco, tmp_path, capsys):
    from edge.calibration import calibration_samples, choose_calibration_images
    from edge.convert import balanced_model
    from keras_retina.cli_output import show_quantization

    small, train_set = small_quantized, load_dataset(tiny_coco, "train")
    images = choose_calibration_images(train_set, 10)
    samples = partial(calibration_samples, images, small.spec)
    file = tmp_path / "tiny_int8_raw.tflite"
    network = quantize_heads(balanced_model(small.model, samples), small.spec, "int8", samples)
    write_detector(file, network, small.spec, "int8", "raw", Export())
    lines: list[str] = []
    result = debug_quantization(small.model, small.spec, file, images, train_set, 0.99, lines.append)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["ap"]["images"] == 10
    assert {row["layer"] for row in result["layers"]} == set(layers_and_readers(small.int8))
    gains = [max(row["gain"], row["gain_with_readers"]) for row in result["layers"]]
    assert gains == sorted(gains, reverse=True)
    assert min(one["accumulated"]["sqnr_db"] for one in result["feature_maps"]) > -3
    assert any("AP on 10 training images" in line for line in lines)
    show_quantization(result)
    shown = capsys.readouterr().out
    assert result["layers"][0]["layer"] in shown
    assert result["reason"] in shown
