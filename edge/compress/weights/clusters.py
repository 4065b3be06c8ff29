"""Weight clustering with tfmot: each kernel holds a few different values only, and the file compresses better.

Clustered are the kernels that `edge.compress.weights.sparsity` prunes. Each has one set of values with 0 among them,
so that pruned weights stay 0. tfmot could cluster each output channel apart, but it builds a graph of every channel
for that, which takes minutes and gigabytes for a detector. In the int8 file a channel has at most as many values as its
kernel.

Source: Han et al., Deep Compression, section 3.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import tensorflow_model_optimization as tfmot

from edge.compress.weights.sparsity import prunable_layers
from edge.quantize.batch_norm import check_is_flat
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras

Start = Literal["kmeans++", "linear"]


def clustered_model(model: keras.Model, clusters: int = 16, *, start: Start = "kmeans++") -> keras.Model:
    """Returns a copy whose prunable kernels hold at most `clusters` values, 0 among them, and whose `fit` keeps it so.

    Both the values and which weight has which are learned. A kernel with few weights for its clusters stays as it is.
    Call `strip` after `fit`.

    Args:
        model: without BatchNorm, balanced and perhaps sparse: what `edge.quantize.aware.model.quantizable` returns.
        start: where the values are before the first step: `kmeans++` samples the weights, `linear` spaces them evenly.

    Raises:
        InputError: a number of clusters out of range, an unknown start, a model with BatchNorm or not plain.
    """
    check_is_flat(model)
    if not 3 <= clusters <= 256:
        raise InputError(f"clusters: expected 3 to 256. Received: {clusters}. 16 is a good start.")
    if start not in get_args(Start):
        raise InputError(f"clusters: start expected one of {', '.join(get_args(Start))}. Received: {start!r}.")
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if norms:
        raise InputError(
            "clusters: expected a model without BatchNormalization, which would scale equal weights apart when it is "
            f"folded. Received: {norms[0]!r} and {len(norms) - 1} more. Cluster the model that `quantizable` returns."
        )
    chosen = set(prunable_layers(model))
    initial = tfmot.clustering.keras.CentroidInitialization
    centroids = initial.KMEANS_PLUS_PLUS if start == "kmeans++" else initial.LINEAR

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name not in chosen or np.count_nonzero(layer.get_weights()[0]) < 2 * clusters:
            return layer
        layer.trainable = True
        return tfmot.clustering.keras.cluster_weights(layer, clusters, centroids, preserve_sparsity=True)

    copy = keras.models.clone_model(model)  # tfmot would cluster, and train, the layers of the model itself
    copy.set_weights(model.get_weights())
    return keras.models.clone_model(copy, clone_function=wrap)


def strip(model: keras.Model) -> keras.Model:
    """Returns the plain model of a clustered one: layers under their old names, with the clustered weights."""

    def unwrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = layer.layer if _is_clustered(layer) else layer
        return type(inner).from_config(inner.get_config())

    plain = keras.models.clone_model(model, clone_function=unwrap)
    for layer in model.layers:
        if _is_clustered(layer):
            layer.update_clustered_weights_associations()  # to the weights after the last step
            bias = [layer.layer.bias.numpy()] if layer.layer.use_bias else []
            plain.get_layer(layer.layer.name).set_weights([layer.get_weight_from_layer("kernel").numpy(), *bias])
        elif layer.weights:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def clusters_of(model: keras.Model) -> dict[str, int]:
    """Returns how many different values each prunable kernel of a plain model holds, zero included."""
    return {name: len(np.unique(model.get_layer(name).get_weights()[0])) for name in prunable_layers(model)}


def _is_clustered(layer: keras.layers.Layer) -> bool:
    return type(layer).__name__ == "ClusterWeights"
