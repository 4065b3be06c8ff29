"""How important each channel of each group is, by its weights alone or by what the loss says on data.

All functions return float `[channels]` for each group, on one scale: channels of different groups can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from edge.compress.channels.cost import time_cost
from edge.compress.channels.groups import ChannelGroup
from edge.quantize.batch_norm import channel_factors
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.graph import calls_of

Batches = Iterable[tuple[tf.Tensor, Mapping[str, tf.Tensor]]]
Losses = Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]


def kernel_norms(model: keras.Model, groups: Sequence[ChannelGroup], *, order: Literal[1, 2] = 1) -> list[np.ndarray]:
    """Returns the L1 or L2 norm of the kernels that make a channel, with the BatchNorm behind them folded in.

    Without the BatchNorm the norm would mean nothing: it scales every channel. Norms are relative to their mean over
    the group in each layer, and averaged over the layers that make the channel or convolve it by itself (depthwise).
    Of the BatchNorms of the levels behind a shared convolution the root mean square of the factors counts.
    That says nothing about one group against another, so a channel is worth its relative norm times the time that it
    takes: priced by `edge.compress.channels.cost.time_cost`, all groups shrink alike.

    Source: Li et al., Pruning Filters for Efficient ConvNets, section 3.1.
    """
    norms, worth = _norms_behind(model), _time_of_one(model, groups)
    importance = []
    for group, time in zip(groups, worth, strict=True):
        depthwise = [name for name in group.between if isinstance(model.get_layer(name), keras.layers.DepthwiseConv2D)]
        places = {**group.producers, **{name: group.between[name] for name in depthwise}}
        values = [
            _kernel_norm(model.get_layer(name), norms.get(name, []), order=order)[where]
            for name, where in places.items()
        ]
        importance.append(time * _relative(values))
    return importance


def norm_scales(model: keras.Model, groups: Sequence[ChannelGroup]) -> list[np.ndarray]:
    """Returns the |gamma| of a channel's BatchNorms, relative to its mean over the group in each layer.

    It is made comparable as in `kernel_norms`, which stands in for groups without a gamma, as those of the pyramid.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, section 3.
    """
    importance, worth = [], _time_of_one(model, groups)
    for group, time, stand_in in zip(groups, worth, kernel_norms(model, groups), strict=True):
        layers = [(model.get_layer(name), where) for name, where in group.between.items()]
        scales = [
            np.abs(layer.gamma.numpy())[where]
            for layer, where in layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.scale
        ]
        importance.append(time * _relative(scales) if scales else stand_in)
    return importance


def loss_changes(
    model: keras.Model, groups: Sequence[ChannelGroup], *, batches: Batches, losses: Losses
) -> list[np.ndarray]:
    """Returns by how much the loss of an image changes, to first order, when a channel becomes zero: mean of |change|.

    That is `|sum x dL/dx|` over the cells of all maps in which a convolution reads the channel; for one reader it
    equals `|sum w dL/dw|` over the weights that read it, which is what is computed: a channel that several layers or
    levels read, or that passes depthwise convolutions, counts exactly once for each reader. The model runs as in
    inference, image by image, since changes of opposite sign would cancel within a batch.

    Args:
        batches: (images, {output: targets}), as many as shall be looked at.
        losses: {output: loss(targets, values)}, added up.

    Raises:
        InputError: no image in `batches`.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, equation 7, and
    Importance Estimation for Neural Network Pruning, equation 8.
    """
    names = list(dict.fromkeys(name for group in groups for name in group.consumers))
    kernels = [model.get_layer(name).kernel for name in names]

    @tf.function(reduce_retracing=True)
    def changes(image: tf.Tensor, targets: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            outputs = model(image, training=False)
            loss = tf.add_n([losses[name](targets[name], outputs[name]) for name in losses])
        gradients = tape.gradient(loss, kernels)
        return [tf.reduce_sum(kernel * slope, [0, 1, 3]) for kernel, slope in zip(kernels, gradients, strict=True)]

    sums, images = [np.zeros(group.channels) for group in groups], 0
    for batch, targets in batches:
        for index in range(len(batch)):
            one = slice(index, index + 1)
            found = changes(batch[one], {name: targets[name][one] for name in losses})
            of_layer = dict(zip(names, [values.numpy() for values in found], strict=True))
            for total, group in zip(sums, groups, strict=True):
                total += np.abs(sum(of_layer[name][where].sum(axis=1) for name, where in group.consumers.items()))
            images += 1
    if not images:
        raise InputError(
            "channel pruning: expected images to measure the loss on. Received: batches=[]. Pass training batches."
        )
    return [total / images for total in sums]


def _time_of_one(model: keras.Model, groups: Sequence[ChannelGroup]) -> np.ndarray:
    """Returns `[groups]`: the time, in multiply-adds, that one channel fewer in that group alone would save."""
    counts = np.array([group.channels for group in groups])
    return time_cost(model, groups).saved(counts, np.ones_like(counts))


def _norms_behind(model: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Returns {convolution: the BatchNorms that read it}."""
    found: dict[str, list[keras.layers.Layer]] = {}
    for call in calls_of(model):
        layer = model.get_layer(call.layer)
        if isinstance(layer, keras.layers.BatchNormalization):
            found.setdefault(call.inputs[0][0], []).append(layer)
    return found


def _kernel_norm(layer: keras.layers.Layer, norms: list[keras.layers.Layer], *, order: int) -> np.ndarray:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = layer.depthwise_kernel.numpy()[..., 0]  # [height, width, channels]
    else:
        kernel = layer.kernel.numpy()  # [height, width, inputs, channels]
    values = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), order, axis=0)
    return values * channel_factors(norms) if norms else values


def _relative(values: list[np.ndarray]) -> np.ndarray:
    """Returns the mean over layers of `[channels, places]` values, each divided by its mean, which may be zero."""
    return np.mean([value.mean(axis=1) / max(value.mean(), 1e-12) for value in values], axis=0)
