"""Pruning sets the share of weights to zero that it was told, in the kernels that it may touch, and no others."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from edge.compress.weights.sparsity import even_amounts, prunable_layers, sparsity_of, strip, wrapped_for_sparsity
from edge.export.convert import float_heads
from edge.quantize.batch_norm import without_batch_norm
from edge.tflite.kernels import Sparsity, counted, sparsity_of_file
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import BoxLoss, FocalLoss

NAME = "plain_1_conv"


@pytest.fixture(scope="module")
def model(small_quantized) -> keras.Model:
    return small_quantized.model


def fitted(source: keras.Model, samples, amounts: dict[str, float], pattern: str) -> keras.Model:
    """Prunes over the first 6 of 8 steps and strips."""
    inputs = np.concatenate([image for (image,) in samples()])[:2]
    wrapped, callbacks = wrapped_for_sparsity(source, amounts, begin_step=0, end_step=6, pattern=pattern)
    anchors = source.output["boxes"].shape[1]
    targets = {"classes": np.full((2, anchors), -1), "boxes": np.zeros((2, anchors, 5), np.float32)}
    wrapped.compile(keras.optimizers.Adam(0.003), loss={"classes": FocalLoss(), "boxes": BoxLoss()})
    wrapped.fit(inputs, targets, batch_size=1, epochs=4, verbose=0, callbacks=callbacks)
    return strip(wrapped)


@pytest.fixture(scope="module")
def pruned(model, small_quantized) -> keras.Model:
    return fitted(model, small_quantized.samples, even_amounts(model, 0.7), "unstructured")


def test_stem_depthwise_and_prediction_kernels_are_left_alone(model):
    names = prunable_layers(model)
    assert {"plain_1_conv", "pyramid_lateral_3", "boxes_0_pointwise", "classes_0_pointwise"} <= set(names)
    assert not {"plain_0_conv", "boxes_prediction_pointwise", "classes_prediction_pointwise"} & set(names)
    assert not [name for name in names if "depthwise" in name]


def test_every_prunable_kernel_has_its_share_of_zeros_and_no_other_has_any(model, pruned):
    for layer in pruned.layers:
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        kernel = layer.get_weights()[0]
        share = 1 - np.count_nonzero(kernel) / kernel.size
        assert share == pytest.approx(0.7 if layer.name in prunable_layers(model) else 0.0, abs=1 / kernel.size)


def test_shared_layers_are_pruned_on_time(model, small_quantized):
    """tfmot counts a step for each of the three levels: without correction heads are done after a third of the time."""
    wrapped, _ = wrapped_for_sparsity(model, even_amounts(model, 0.7), begin_step=30, end_step=90)
    schedules = {
        name: wrapped.get_layer(f"prune_low_magnitude_{name}").pruning_schedule.end_step
        for name in ("plain_1_conv", "boxes_0_pointwise")
    }
    assert schedules == {"plain_1_conv": 90, "boxes_0_pointwise": 270}


@pytest.mark.parametrize(("end_step", "last"), [(96, 90), (90, 90), (33, 33), (49, 40)])
def test_the_last_choice_has_the_full_amount(end_step, last, model):
    wrapped, _ = wrapped_for_sparsity(model, {"plain_1_conv": 0.7}, begin_step=30, end_step=end_step)
    schedule = wrapped.get_layer("prune_low_magnitude_plain_1_conv").pruning_schedule
    assert schedule.end_step == last
    assert (last - 30) % schedule.frequency == 0


def test_two_of_four_input_channels_are_zero(model, small_quantized):
    stripped = fitted(model, small_quantized.samples, even_amounts(model, 0.5), "2_of_4")
    kernel = stripped.get_layer("plain_2_conv").get_weights()[0]  # [3, 3, 32, 64]
    groups = kernel.transpose(3, 0, 1, 2).reshape(-1, 4)
    assert set(np.count_nonzero(groups, axis=1)) == {2}
    assert sparsity_of(stripped).share == pytest.approx(0.5, abs=0.01)


def test_each_kernel_loses_its_own_amount_and_those_not_named_lose_nothing(model, small_quantized):
    """Also when a layer of amount 0 is named: it is not wrapped, and learns only if it did before."""
    amounts = {"plain_1_conv": 0.25, "boxes_0_pointwise": 0.9, "plain_2_conv": 0.0}
    stripped = fitted(model, small_quantized.samples, amounts, "unstructured")
    for name in prunable_layers(model):
        kernel = stripped.get_layer(name).get_weights()[0]
        share = 1 - np.count_nonzero(kernel) / kernel.size
        assert share == pytest.approx(amounts.get(name, 0.0), abs=1 / kernel.size)


def test_the_plain_model_has_the_old_layers_and_its_parent_is_unharmed(model, pruned):
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in model.layers]
    assert sparsity_of(model).zeros == 0


def test_a_frozen_layer_that_is_pruned_learns(model):
    source = keras.models.clone_model(model)
    source.get_layer("plain_1_conv").trainable = False
    wrapped, _ = wrapped_for_sparsity(source, {"plain_1_conv": 0.7}, begin_step=0, end_step=10)
    assert wrapped.get_layer("prune_low_magnitude_plain_1_conv").layer.trainable
    assert strip(wrapped).get_layer("plain_1_conv").trainable


def test_zeros_are_found_in_the_file(pruned, small_quantized):
    from edge.export.convert import convert_heads

    expected = sparsity_of(pruned)
    for kind in ("float32", "float16"):
        assert sparsity_of_file(convert_heads(pruned, small_quantized.spec, kind=kind)) == expected
    data = convert_heads(pruned, small_quantized.spec, kind="int8", samples=small_quantized.samples)
    found = sparsity_of_file(data)
    assert (found.prunable, found.weights) == (expected.prunable, expected.weights)
    assert found.share >= expected.share
    assert found.share < expected.share + 0.05  # small weights are rounded to 0 as well
    assert len(gzip.compress(data)) < 0.6 * len(gzip.compress(small_quantized.int8))


def test_kernels_of_heads_with_a_norm_for_each_level_are_counted_as_the_file_has_them(small_per_level):
    source = small_per_level.model
    pruned = fitted(source, small_per_level.samples, even_amounts(source, 0.7), "unstructured")
    expected = sparsity_of(pruned)
    of_a_head, levels = 8 * 8, 3
    plain = sum(pruned.get_layer(name).get_weights()[0].size for name in prunable_layers(pruned))
    assert expected.prunable == plain + 2 * (levels - 1) * of_a_head
    found = sparsity_of_file(float_heads(pruned, small_per_level.spec))
    assert found == expected
    assert sparsity_of(without_batch_norm(pruned)) == expected


def test_the_counts_by_hand():
    result = counted([(np.array([0.0, 1.0, 0.0, 2.0]), True), (np.array([0, 3]), False)])
    assert result == Sparsity(prunable_zeros=2, prunable=4, zeros=3, weights=6)
    assert (result.share, result.total_share) == (0.5, 0.5)
    assert counted([]).share == 0.0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (({NAME: 0.0}, 0, 10), "above 0"),
        (({NAME: 1.0}, 0, 10), "amount=1.0 for plain_1_conv"),
        (({NAME: -0.1}, 0, 10), "amount=-0.1"),
        (({}, 0, 10), "above 0"),
        (({"plain_0_conv": 0.5}, 0, 10), "Received: plain_0_conv"),
        (({NAME: 0.7}, 10, 10), "begin_step"),
        (({NAME: 0.7}, 0, 10, "2_of_4"), "0.5"),
        (({NAME: 0.7}, 0, 10, "4_of_8"), "pattern"),
    ],
)
def test_impossible_settings_are_refused(arguments, named, model):
    with pytest.raises(InputError, match=named):
        amounts, begin_step, end_step, *pattern = arguments
        options = {"pattern": pattern[0]} if pattern else {}
        wrapped_for_sparsity(model, amounts, begin_step=begin_step, end_step=end_step, **options)
