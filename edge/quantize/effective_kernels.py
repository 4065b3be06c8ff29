"""Kernels that are as large as their effect, with BatchNorm left in place to train."""

from __future__ import annotations

import numpy as np

from edge.quantize.batch_norm import channel_factors, norms_of_convolutions
from keras_retina.foundation.legacy_keras import keras


def set_effective_kernels(model: keras.Model) -> None:
    """Multiplies each convolution by what the BatchNorm behind it does, and makes up for it in that BatchNorm.

    A channel whose scale gamma is small then has a small kernel: magnitudes of weights can be compared over channels,
    as after folding, and BatchNorm still normalises while the detector trains. A convolution that levels share, with a
    BatchNorm for each, is multiplied by the root mean square of what these do. In place; inference gives the same
    outputs, and so does training but for the share of epsilon in the variance.

    Raises:
        InputError: a BatchNorm that is not right behind a convolution of its own, or a model that is not flat.
    """
    for convolution_name, names in norms_of_convolutions(model).items():
        convolution, norms = model.get_layer(convolution_name), [model.get_layer(name) for name in names]
        variances = [norm.moving_variance.numpy().astype(np.float64) + norm.epsilon for norm in norms]
        # By less, a variance that is left would be negative: a channel of such a gamma is as good as gone.
        least = np.max([np.sqrt(norm.epsilon / own) for norm, own in zip(norms, variances, strict=True)], axis=0)
        factor = np.maximum(channel_factors(norms), least)
        kernel, *bias = convolution.get_weights()
        channels = kernel.shape[2:] if isinstance(convolution, keras.layers.DepthwiseConv2D) else (-1,)
        convolution.set_weights([kernel * factor.reshape(channels), *(values * factor for values in bias)])
        for norm, variance in zip(norms, variances, strict=True):
            norm.moving_mean.assign(norm.moving_mean * factor)
            norm.moving_variance.assign(np.maximum(np.square(factor) * variance - norm.epsilon, 0.0))
