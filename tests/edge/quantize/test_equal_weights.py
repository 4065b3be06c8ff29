"""Equal weights are told from chance and from the zeros of a sparse kernel."""

from __future__ import annotations

import numpy as np

from edge.quantize.equalize import cluster_indices, has_clusters, is_clustered
from keras_retina.foundation.legacy_keras import keras


def test_equal_weights_get_one_index_and_zeros_the_first():
    indices, number = cluster_indices(np.array([[0.5, 0.0], [-1.0, 0.5]], np.float32))
    assert (indices.tolist(), number) == ([[2, 0], [1, 2]], 3)


def test_a_kernel_is_clustered_when_its_values_stand_for_several_weights():
    random = np.random.default_rng(0).normal(size=(3, 3, 8, 4)).astype(np.float32)
    assert not is_clustered(random)
    assert not is_clustered(np.where(np.abs(random) < 1.0, 0.0, random))  # sparse
    assert is_clustered(np.round(random))
    assert is_clustered(np.where(np.abs(random) < 1.0, 0.0, np.round(random)))
    assert not is_clustered(np.zeros((1, 1, 8, 4)))


def test_a_model_with_one_clustered_kernel_has_clusters():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(8, 3, name="second")(keras.layers.Conv2D(8, 3)(image)))
    assert not has_clusters(model)
    kernel, bias = model.get_layer("second").get_weights()
    model.get_layer("second").set_weights([np.round(kernel, 1), bias])
    assert has_clusters(model)
