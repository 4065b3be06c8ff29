"""How a backbone is built, cut at the pyramid levels and frozen by stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_retina.foundation.legacy_keras import keras, tf

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]

PIXEL_SCALING = "pixel_scaling"
"""The layer that scales pixels for weights that were trained with ImageNet's mean and deviation."""

WeightsOf = Callable[[str], list[np.ndarray]]
"""The name of a layer -> its weights in a file."""


@dataclass(frozen=True)
class BackboneKind:
    """How one backbone is built, cut at the pyramid levels and frozen by stages.

    Attributes:
        build: called as `build(settings, include_top=False, weights=..., input_tensor=...)`, or with `input_shape`:
            the arguments of `keras.applications`, whose layer names a file of weights has too.
        features: names of the layers whose outputs are C3, C4 and C5 (strides 8, 16, 32).
        stages: first layer of each stage after the stem. Freezing n stages freezes the stem and n - 1 of these.
        rewritten: `{layer: function}`. The function looks up weights of the file and returns those of that layer that
            give the same output for our input, RGB in [-1, 1].
    """

    build: Callable[..., keras.Model]
    features: tuple[str, str, str]
    stages: tuple[str, str, str, str]
    rewritten: Mapping[str, Callable[[WeightsOf], list[np.ndarray]]] = field(default_factory=dict)


def scaled_pixels(image: tf.Tensor) -> tf.Tensor:
    """Returns RGB in [-1, 1] as `(value - mean) / deviation` of [0, 1]: a 1x1 convolution of each channel for itself.

    It cannot be part of the first convolution: that one is padded with zeros of the scaled pixels, a colour of its own
    in ours.
    """
    kernel, bias = pixel_scaling()
    return keras.layers.DepthwiseConv2D(
        1,
        depthwise_initializer=keras.initializers.Constant(kernel.ravel().tolist()),
        bias_initializer=keras.initializers.Constant(bias.tolist()),
        name=PIXEL_SCALING,
    )(image)


def pixel_scaling(
    mean: tuple[float, ...] = IMAGENET_MEAN, deviation: tuple[float, ...] = IMAGENET_DEVIATION
) -> list[np.ndarray]:
    """Returns the weights of a 1x1 depthwise convolution: RGB in [-1, 1] to `(value - mean) / deviation` of [0, 1]."""
    means, deviations = np.array(mean, np.float64), np.array(deviation, np.float64)
    return [
        (0.5 / deviations).reshape(1, 1, 3, 1).astype(np.float32),
        ((0.5 - means) / deviations).astype(np.float32),
    ]
