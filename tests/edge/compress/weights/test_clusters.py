"""Clustering leaves a few values in each kernel that it may touch, 0 among them."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.weights.clusters import clustered_model, clusters_of, strip
from edge.compress.weights.sparsity import prunable_layers, sparsity_of
from edge.export.convert import convert_heads
from edge.quantize.batch_norm import without_batch_norm
from edge.tflite.kernels import clusters_of_file
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import BoxLoss, FocalLoss


@pytest.fixture(scope="module")
def source(small_quantized) -> keras.Model:
    """Without BatchNorm, and the smaller half of each prunable kernel zero."""
    model = without_batch_norm(small_quantized.model)
    for name in prunable_layers(model):
        kernel, *bias = model.get_layer(name).get_weights()
        kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0.0
        model.get_layer(name).set_weights([kernel, *bias])
    return model


def fitted(model: keras.Model, samples) -> keras.Model:
    inputs = np.concatenate([image for (image,) in samples()])[:2]
    anchors = model.output["boxes"].shape[1]
    targets = {"classes": np.full((2, anchors), -1), "boxes": np.zeros((2, anchors, 5), np.float32)}
    model.compile(keras.optimizers.Adam(0.001), loss={"classes": FocalLoss(), "boxes": BoxLoss()})
    model.fit(inputs, targets, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def clustered(source, small_quantized) -> keras.Model:
    return strip(fitted(clustered_model(source, 8), small_quantized.samples))


def test_each_prunable_kernel_has_the_clusters_asked_for_and_its_zeros(source, clustered):
    counts = clusters_of(clustered)
    assert set(counts) == set(prunable_layers(source))
    assert 4 <= min(counts.values()) <= max(counts.values()) <= 8
    assert sparsity_of(clustered).share >= sparsity_of(source).share > 0.49


def test_other_kernels_and_the_parent_are_unharmed(source, clustered):
    kernel = clustered.get_layer("plain_0_conv").get_weights()[0]
    assert len(np.unique(kernel)) > 100
    assert min(clusters_of(source).values()) > 8
    assert [layer.name for layer in clustered.layers] == [layer.name for layer in source.layers]


def test_each_level_with_a_norm_of_its_own_has_a_kernel_with_clusters(small_per_level):
    with pytest.raises(InputError, match=r"expected a model without BatchNormalization.*quantizable"):
        clustered_model(small_per_level.model, 8)
    plain = strip(clustered_model(without_batch_norm(small_per_level.model), 8))
    counts = clusters_of(plain)
    assert {f"boxes_0_pointwise_{level}" for level in range(3)} <= set(counts)
    assert max(counts.values()) <= 8
    found = clusters_of_file(convert_heads(plain, small_per_level.spec, kind="int8", samples=small_per_level.samples))
    assert len(found) == len(counts) and max(found.values()) <= 8


def test_training_moves_the_values(source, clustered):
    start = strip(clustered_model(source, 8))
    before = np.unique(start.get_layer("plain_3_conv").get_weights()[0])
    after = np.unique(clustered.get_layer("plain_3_conv").get_weights()[0])
    assert not np.array_equal(before, after)


def test_the_linear_start_spaces_the_values_evenly(source):
    kernel = strip(clustered_model(source, 9, start="linear")).get_layer("plain_3_conv").get_weights()[0]
    values = np.unique(kernel)
    for half in (values[values < 0], values[values > 0]):
        np.testing.assert_allclose(np.diff(half), np.diff(half).mean(), rtol=0.05)


def test_the_int8_files_have_no_more_values_in_a_channel(clustered, small_quantized):
    from edge.export.convert import convert_heads
    from edge.quantize.aware.model import quantize_aware_model

    spec, inputs = small_quantized.spec, [image for (image,) in small_quantized.samples()]
    trained = convert_heads(quantize_aware_model(clustered, inputs, preserve="clusters"), spec, kind="int8_qat")
    for data in (trained, convert_heads(clustered, spec, kind="int8", samples=small_quantized.samples)):
        counts = clusters_of_file(data)
        assert len(counts) == len(prunable_layers(clustered))
        assert max(counts.values()) <= 8


def test_batch_norm_and_impossible_settings_are_refused(small_quantized, source):
    with pytest.raises(InputError, match="quantizable"):
        clustered_model(small_quantized.model)
    with pytest.raises(InputError, match="3 to 256"):
        clustered_model(source, 2)
    with pytest.raises(InputError, match="start"):
        clustered_model(source, 8, start="random")
