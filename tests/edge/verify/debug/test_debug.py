"""The debugger finds a broken layer in few trials, and suggests float layers only where they help."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest

from edge.export.convert import float_heads, quantize_heads
from edge.export.export import write_detector
from edge.export.float_layers import leave_in_float
from edge.export.int16 import take_camera_bytes
from edge.runtime import Detector
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.layer_names import feature_maps, layers_in
from edge.verify.debug.debug import _ranked, debug_quantization, suggestion, training_subset
from edge.verify.debug.map_errors import map_errors
from edge.verify.debug.search import (
    MOST_TRIALS,
    Search,
    ap_candidates,
    layers_and_readers,
    search_groups,
    stages_of,
)
from edge.verify.debug.trials import Trial, TrialFiles, head_error, try_layers
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.recipe.recipe import Export

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
    network = quantize_heads(model, small.spec, kind="int8", samples=small.samples)
    return dataclasses.replace(small, model=model, float_network=float_heads(model, small.spec), int8=network)


def float_trial(small) -> tuple[TrialFiles, list, list]:
    """The files of a quantized detector, three images, and the float heads of them."""
    files = TrialFiles(small.int8, small.float_network, spec=small.spec)
    parent = read_flatbuffer(small.float_network)
    take_camera_bytes(parent, small.spec)
    images = [image for (image,) in small.samples()][:3]
    return files, images, files.heads(files.write(write_flatbuffer(parent)), images)


def test_a_broken_layer_is_the_one_that_gains_most_with_its_readers_and_few_trials_find_it(broken):
    files, images, expected = float_trial(broken)
    for (logits, deltas), image in zip(expected, images, strict=True):  # the float trial file is the Keras model
        outputs = broken.model(image, training=False)
        np.testing.assert_allclose(logits, outputs["classes"][0], atol=1e-3)
        np.testing.assert_allclose(deltas, outputs["boxes"][0], atol=1e-3)
    error = head_error(expected, files.heads(files.file(()), images))
    assert error > 0
    readers, tried = layers_and_readers(broken.int8), []

    def attempt(layers: tuple[str, ...]) -> Trial:
        tried.append(layers)
        return try_layers(files, expected, images=images, layers=layers, error=error)

    groups = search_groups(stages_of(broken.int8, list(readers)), readers, attempt=attempt)
    assert sorted(layer for group in groups for layer in group.layers) == sorted(readers)
    best = max((group.trial for group in groups if len(group.layers) == 1), key=lambda trial: trial.gain)
    assert best.layers == (BROKEN, "boxes_0_pointwise")
    assert best.gain > 0.5
    assert len(tried) < len(readers)
    every_layer = [
        try_layers(files, expected, images=images, layers=layers, error=error).gain for layers in readers.values()
    ]
    assert best.gain == pytest.approx(max(every_layer))  # no layer was overlooked


def additive(gains: dict[str, float], tried: list) -> object:
    """A trial in which each layer takes its own part off the error."""

    def attempt(layers: tuple[str, ...]) -> Trial:
        tried.append(layers)
        return Trial(layers, sum(gains.get(layer, 0.0) for layer in layers))

    return attempt


LAYERS = [f"layer_{number}" for number in range(64)]
ALONE = {layer: (layer,) for layer in LAYERS}  # no readers
STAGES = [tuple(LAYERS[:32]), tuple(LAYERS[32:48]), tuple(LAYERS[48:])]


def test_grouping_needs_two_trials_for_each_halving():
    tried: list = []
    groups = search_groups(STAGES, ALONE, attempt=additive({"layer_40": 0.9}, tried))
    assert [group.layers for group in groups if group.trial.gain] == [("layer_40",)]
    assert len(tried) == 3 + 2 * 4  # the stages, and 16 layers halved four times, where one by one it is 64
    assert sorted(layer for group in groups for layer in group.layers) == sorted(LAYERS)


def test_the_best_layers_are_found_wherever_they_are_and_nothing_that_gains_less_is_tried():
    gains = {"layer_3": 0.3, "layer_33": 0.2, "layer_63": 0.1, "layer_4": 0.05}
    groups = search_groups(STAGES, ALONE, attempt=additive(gains, []))
    single = {group.layers[0]: group.trial.gain for group in groups if len(group.layers) == 1}
    assert sorted(single, key=single.get)[-3:] == ["layer_63", "layer_33", "layer_3"]
    assert "layer_4" not in single  # three better ones are known by then


def test_groups_that_gain_nothing_are_not_halved_and_an_even_error_does_not_make_it_try_all():
    tried: list = []
    search_groups(STAGES, ALONE, attempt=additive({"layer_3": 0.019}, tried))
    assert len(tried) == 3
    tried.clear()
    layers = {f"layer_{number}": (f"layer_{number}",) for number in range(200)}
    search_groups([tuple(layers)], layers, attempt=additive(dict.fromkeys(layers, 0.021), tried))
    assert MOST_TRIALS <= len(tried) <= MOST_TRIALS + 1


def test_the_search_goes_on_until_there_are_candidates_without_a_common_reader():
    readers = {"a": ("a", "b"), "b": ("b", "c"), "c": ("c",), "d": ("d",), "e": ("e",), "f": ("f",)}
    gains = {"b": 0.5, "c": 0.02, "d": 0.1, "e": 0.08, "f": 0.06}
    groups = search_groups([("a", "b"), ("c", "d", "e", "f")], readers, attempt=additive(gains, []))
    single = [group.trial for group in groups if len(group.layers) == 1]
    assert ap_candidates(single, 3)[:3] == [("b", "c"), ("d",), ("e",)]


def test_a_layer_without_a_usable_file_is_found_has_its_reason_and_hides_no_other():
    def attempt(layers: tuple[str, ...]) -> Trial:
        if "layer_50" in layers:
            return Trial(layers, None, "this file cannot be run: no data")
        return Trial(layers, 0.4 if "layer_51" in layers else 0.0)

    groups = search_groups(STAGES, ALONE, attempt=attempt)
    singles = [group for group in groups if len(group.layers) == 1]
    alone = [Trial(group.layers, group.trial.gain, group.trial.reason) for group in singles]
    rows = _ranked(Search(0.1, ALONE, groups, alone))
    by_layer = {row["layer"]: row for row in rows}
    assert rows[0]["layer"] == "layer_51"
    assert (rows[0]["gain"], rows[0]["gain_with_readers"], rows[0]["reason"]) == (0.4, 0.4, None)
    broken = by_layer["layer_50"]
    assert (broken["gain"], broken["gain_with_readers"]) == (None, None)
    assert broken["reason"] == "this file cannot be run: no data"
    untried, why = by_layer["layer_0"], "not tried alone: one of 32 layers, layer_0 to layer_31"
    assert (untried["gain"], untried["gain_with_readers"]) == (None, None)
    assert untried["reason"] == f"{why}; with their readers they gain 0.0 %"
    measured = [row["gain"] is not None for row in rows]
    assert measured == sorted(measured, reverse=True)  # those without a figure are last
    assert ap_candidates([group.trial for group in groups], 3) == [("layer_51",)]


def test_a_file_whose_head_is_not_computed_or_no_number_is_a_trial_with_a_reason(small_quantized, monkeypatch):
    files, images, expected = float_trial(small_quantized)
    model = read_flatbuffer(small_quantized.int8)
    model.subgraphs[0].operators.remove(feature_maps(model)["boxes"])
    broken = TrialFiles(write_flatbuffer(model), small_quantized.float_network, spec=small_quantized.spec)
    trial = try_layers(broken, expected, images=images, layers=("plain_3_conv",), error=1.0)
    assert (trial.layers, trial.gain) == (("plain_3_conv",), None)
    assert trial.reason.startswith("this file cannot be run: ") and "which nothing computes" in trial.reason
    assert try_layers(files, expected, images=images, layers=("plain_3_conv",), error=1.0).gain is not None
    with pytest.raises(InputError, match="plain_3_cov"):  # not a file that cannot be run: a mistake of the caller
        try_layers(broken, expected, images=images, layers=("plain_3_cov",), error=1.0)
    monkeypatch.setattr(files, "heads", lambda path, images: [(logits * np.nan, deltas) for logits, deltas in expected])
    trial = try_layers(files, expected, images=images, layers=("plain_3_conv",), error=1.0)
    assert (trial.gain, trial.reason) == (None, "the heads of this file are no finite numbers")


@pytest.mark.parametrize("mediapipe_raw", [True, False])
def test_a_trial_on_a_raw_file_computes_what_the_exported_file_with_these_layers_does(
    small_quantized, tmp_path, mediapipe_raw
):
    small, path = small_quantized, tmp_path / "raw.tflite"
    (image,) = next(iter(small.samples()))
    write_detector(
        path, small.int8, spec=small.spec, kind="int8", head="raw", settings=Export(mediapipe_raw=mediapipe_raw)
    )
    files = TrialFiles(path.read_bytes(), small.float_network, spec=small.spec)
    for layers in [(), ("plain_3_conv",), layers_and_readers(small.int8)["boxes_prediction_pointwise"]]:
        model = read_flatbuffer(small.int8)
        leave_in_float(model, read_flatbuffer(small.float_network), layers=layers)
        write_detector(path, write_flatbuffer(model), spec=small.spec, kind="int8", head="raw", settings=Export())
        exported = Detector(path)
        exported.invoke(small.spec.unscale(image))
        ((logits, deltas),) = files.heads(files.file(layers), [image])
        np.testing.assert_array_equal(logits, exported.heads()[0])
        np.testing.assert_array_equal(deltas, exported.heads()[1])


def test_stages_are_the_parts_of_the_network(small_quantized):
    layers = list(layers_and_readers(small_quantized.int8))
    stages = stages_of(small_quantized.int8, layers)
    assert sorted(layer for stage in stages for layer in stage) == sorted(layers)
    for part in ("pyramid", "boxes", "classes"):
        (stage,) = [stage for stage in stages if stage[0].startswith(f"{part}_")]
        assert all(layer.startswith(f"{part}_") for layer in stage)
    assert len(stages) == 3 + 5  # the plain backbone has maps of 32, 16, 8, 4 and 2 pixels


def test_a_broken_layer_shows_in_its_channels(broken, small_quantized):
    def channel_sqnr(networks) -> float:
        found = map_errors(networks.float_network, networks.int8, samples=networks.samples(), spec=networks.spec)
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
    found.append(Trial(("f",), None, "this file cannot be run"))
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
    chosen, why = suggestion(50.0, int8, trials=trials, minimum_ap_ratio=0.99)
    assert chosen == layers
    assert reason in why


def test_no_layer_is_judged_by_a_detector_that_finds_nothing():
    assert suggestion(0.0, 0.0, trials=[], minimum_ap_ratio=0.99)[0] == []
    assert "finds nothing" in suggestion(None, None, trials=[], minimum_ap_ratio=0.99)[1]


def test_the_subset_shows_all_classes_and_is_the_same_every_time(tiny_coco):
    train_set = load_dataset(tiny_coco, "train")
    subset = training_subset(train_set, 2)
    assert len(subset.records) == 2
    assert {int(label) for record in subset.records for label in record.classes} == {0, 1}
    assert [r.path for r in training_subset(train_set, 2).records] == [r.path for r in subset.records]
    assert len(training_subset(train_set, 64).records) == len(train_set.records)


def test_the_whole_debugger_on_a_file_gives_what_the_table_shows(small_quantized, tiny_coco, tmp_path, capsys, logged):
    from edge.export.convert import balanced_model
    from edge.quantize.calibration import calibration_samples, choose_calibration_images
    from keras_retina.cli.output import show_quantization

    small, train_set = small_quantized, load_dataset(tiny_coco, "train")
    images = choose_calibration_images(train_set, 10)
    samples = partial(calibration_samples, images, small.spec)
    file = tmp_path / "tiny_int8_raw.tflite"
    network = quantize_heads(balanced_model(small.model, samples), small.spec, kind="int8", samples=samples)
    write_detector(file, network, spec=small.spec, kind="int8", head="raw", settings=Export())
    with logged() as lines:
        result = debug_quantization(
            small.model, small.spec, file=file, calibration_images=images, train_set=train_set, minimum_ap_ratio=0.99
        )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["ap"]["images"] == 10
    assert {row["layer"] for row in result["layers"]} == set(layers_and_readers(small.int8))
    measured = [row for row in result["layers"] if row["gain"] is not None]
    gains = [max(row["gain"], row["gain_with_readers"]) for row in measured]
    assert gains == sorted(gains, reverse=True)
    assert result["layers"][: len(measured)] == measured  # the others are last, and say why they have no figure
    for row in result["layers"]:
        assert (row["reason"] is None) == (row["gain"] is not None and row["gain_with_readers"] is not None)
    assert min(one["accumulated"]["sqnr_db"] for one in result["feature_maps"]) > -3
    assert any("AP on 10 training images" in line for line in lines)
    show_quantization(result)
    shown = capsys.readouterr().out
    assert "not tried alone: one of" in shown
    assert result["layers"][0]["layer"] in shown
    assert result["reason"] in shown
    result["layers"][-1] |= {"layer": "boxes[x]", "reason": "this file cannot be run: no data [x]"}
    show_quantization(result)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "cannot be run" in line]
    assert "boxes[x]" in line
    assert "this file cannot be run: no data [x]" in line
