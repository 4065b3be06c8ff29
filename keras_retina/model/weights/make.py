"""Our file of a start out of what a published file holds: kernels in the order of the network, and their BatchNorms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras

Pair = tuple[keras.layers.Layer, keras.layers.BatchNormalization]


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution that its BatchNorm is folded into.

    `kernel` is float32 `[height, width, inputs, outputs]`, of a depthwise one `[height, width, channels, 1]`; `bias`
    is float32 `[outputs]`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    is_depthwise: bool


def convolution_pairs(network: keras.Model) -> list[Pair]:
    """Returns each convolution with the BatchNorm that reads it, in the order of the network."""
    layers = network.layers
    return [
        (layer, following)
        for layer, following in zip(layers, layers[1:], strict=False)
        if isinstance(following, keras.layers.BatchNormalization)
    ]


def set_torch_tensors(network: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Copies the state dictionary of a PyTorch network that has the same convolutions and BatchNorms in the same order.

    Kernels are turned from `[outputs, inputs, height, width]`; counters of batches and the classifier are left out.

    Raises:
        InputError: the tensors do not fit.
    """
    waiting = [(name, array) for name, array in tensors.items() if not name.endswith("num_batches_tracked")]
    for convolution, norm in convolution_pairs(network):
        (name, kernel), *statistics = waiting[:5] if len(waiting) >= 5 else [("no tensor", np.zeros(0))]
        # Keras has the filters of a depthwise kernel in the place of the inputs.
        axes = (2, 3, 0, 1) if isinstance(convolution, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
        shapes = [weights.shape for weights in norm.get_weights()]
        fits = kernel.ndim == 4 and kernel.transpose(axes).shape == kernel_shape(convolution)
        if not fits or [array.shape for _, array in statistics] != shapes:
            raise _misfit(convolution, f"{name} of shape {list(kernel.shape)}")
        convolution.set_weights([kernel.transpose(axes)])
        norm.set_weights([array for _, array in statistics])  # weight, bias, mean and variance, as in Keras
        waiting = waiting[5:]


def set_folded(
    network: keras.Model, convolutions: Sequence[FoldedConvolution], *, layers: int, batches: Iterable[np.ndarray]
) -> None:
    """Copies folded convolutions and rebuilds their BatchNorms, so that the network computes the same as before.

    The statistics are those of each convolution's outputs over the photos, gamma is their deviation, and beta the bias
    plus their mean. So the network keeps its function also where batch statistics are used, in training. Without real
    statistics it would lose it there: every channel would suddenly have a deviation of 1.

    A channel that is missing in the file has a random kernel, and whatever reads it reads it with zeros. Depthwise
    kernels behind channels that are always 0 are set to 0: they may hold anything, and would widen the range of int8.

    Args:
        convolutions: those of the file in its order; heads may stand between those of the backbone.
        layers: how many of the network's convolutions the file has.
        batches: photos, float32 `[batch, height, width, 3]`, RGB in [-1, 1].

    Raises:
        InputError: the convolutions do not fit, or there are no photos.
    """
    pairs = convolution_pairs(network)[:layers]
    waiting = iter(convolutions)
    generator = np.random.default_rng(0)
    dead = np.zeros(0, bool)
    biases: list[np.ndarray] = []
    for convolution, norm in pairs:
        found = next((folded for folded in waiting if _fits(convolution, folded)), None)
        if found is None:
            raise _misfit(convolution, "none that fits")
        kernel, bias = _widened(convolution, found, generator=generator)
        if found.is_depthwise:
            kernel[:, :, dead] = 0
        dead = ~kernel.any(axis=(0, 1, 2)) & (bias <= 0)  # what is behind a ReLU; only depthwise kernels look at it
        convolution.set_weights([kernel])
        norm.set_weights([np.ones_like(bias), bias, np.zeros_like(bias), np.ones_like(bias) - norm.epsilon])
        biases.append(bias)
    statistics = _statistics(keras.Model(network.input, [layer.output for layer, _ in pairs]), batches)
    for (_, norm), bias, (mean, variance) in zip(pairs, biases, statistics, strict=True):
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])


def _fits(convolution: keras.layers.Layer, folded: FoldedConvolution) -> bool:
    """Whether the kernel may be this layer's: of its kind, and no more than half of its channels are missing."""
    wanted, given = kernel_shape(convolution), folded.kernel.shape
    return (
        isinstance(convolution, keras.layers.DepthwiseConv2D) == folded.is_depthwise
        and wanted[:2] == given[:2]
        and all(side <= limit <= 2 * side for limit, side in zip(wanted[2:], given[2:], strict=True))
    )


def _widened(
    convolution: keras.layers.Layer, folded: FoldedConvolution, *, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    shape = kernel_shape(convolution)
    _, _, inputs, outputs = folded.kernel.shape
    fan_in = shape[0] * shape[1] * (1 if folded.is_depthwise else inputs)
    kernel = generator.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
    if not folded.is_depthwise:
        kernel[:, :, inputs:] = 0
    kernel[:, :, :inputs, :outputs] = folded.kernel
    bias = np.zeros(shape[2] if folded.is_depthwise else shape[3], np.float32)
    bias[: folded.bias.size] = folded.bias
    return kernel, bias


def _statistics(network: keras.Model, batches: Iterable[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns mean and variance of each channel of each output, over all photos and places."""
    sums: list[list[np.ndarray]] = []
    for batch in batches:
        maps = [np.asarray(tensor, np.float64) for tensor in network(batch, training=False)]
        counts = [np.array(float(values[..., 0].size)) for values in maps]
        new = [
            [count, values.sum((0, 1, 2)), np.square(values).sum((0, 1, 2))]
            for count, values in zip(counts, maps, strict=True)
        ]
        sums = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(sums, new, strict=True)] if sums else new
    if not sums:
        raise InputError("weights: expected photos for the statistics of BatchNorm. Received: none. Give a folder.")
    means = [(total / count, squares / count) for count, total, squares in sums]
    return [(mean.astype(np.float32), np.maximum(square - mean**2, 0).astype(np.float32)) for mean, square in means]


def kernel_shape(convolution: keras.layers.Layer) -> tuple[int, ...]:
    """Returns the shape of a kernel as Keras has it."""
    is_depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    return tuple(convolution.depthwise_kernel.shape if is_depthwise else convolution.kernel.shape)


def _misfit(convolution: keras.layers.Layer, received: str) -> InputError:
    return InputError(
        f"weights: expected a kernel of shape {list(kernel_shape(convolution))} for {convolution.name}. "
        f"Received: {received}. Use the published file that `keras-retina weights` names."
    )
