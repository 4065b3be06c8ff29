"""Which weights of a kernel are equal: what clustering leaves behind, and what rescaling its channels would undo."""

from __future__ import annotations

import numpy as np

from keras_retina.foundation.legacy_keras import keras


def cluster_indices(kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns int32 indices, the same for equal weights and 0 for zeros, and how many different ones there can be."""
    values, inverse = np.unique(kernel[kernel != 0], return_inverse=True)
    indices = np.zeros(kernel.shape, np.int32)
    indices[kernel != 0] = inverse + 1
    return indices, len(values) + 1


def is_clustered(kernel: np.ndarray) -> bool:
    """Tells whether each value of a kernel stands for several weights; kernels that were not clustered have few such.

    The zeros of a sparse kernel do not count.
    """
    _, number = cluster_indices(kernel)
    return number <= int(np.count_nonzero(kernel)) // 2


def has_clusters(model: keras.Model) -> bool:
    """Tells whether a plain model has a clustered kernel."""
    kernels = [layer.get_weights()[0] for layer in model.layers if type(layer) is keras.layers.Conv2D]
    return any(is_clustered(kernel) for kernel in kernels)
