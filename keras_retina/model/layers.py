"""The two convolutions that pyramid and heads are made of, in forms that tfmot quantizes and the Edge TPU maps."""

from __future__ import annotations

from collections.abc import Callable

from keras_retina.foundation.legacy_keras import keras, tf

Apply = Callable[[tf.Tensor], tf.Tensor]


def convolution(
    filters: int, kind: str, name: str, strides: int = 1, activation: str | None = None, bias: float | None = 0.0
) -> Apply:
    """Returns a function that applies one 3x3 convolution; calling it twice shares the weights.

    `full` is one Conv2D. `separable` is a DepthwiseConv2D and a 1x1 Conv2D rather than SeparableConv2D, which tfmot
    refuses when it is shared. Weights start at N(0, 0.01) in the full form (paper section 4.1); in the separable form
    the initial scale is preserved from layer to layer, because two thin layers at 0.01 would pass no signal. `bias` is
    where biases start; None is for a BatchNorm behind the convolution, which has offsets of its own.
    """
    use_bias = bias is not None
    bias_initializer = keras.initializers.Constant(bias) if use_bias else "zeros"
    if kind == "full":
        return keras.layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=bias_initializer,
            name=name,
        )
    depthwise = keras.layers.DepthwiseConv2D(
        3,
        strides,
        padding="same",
        use_bias=False,
        # Each output sees 9 inputs: 9 * (1 / 3) ** 2 = 1 keeps the variance. Keras' own initializers count
        # 9 * channels inputs here and would shrink the signal by sqrt(channels) in every layer.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / 3),
        name=f"{name}_depthwise",
    )
    last = activation is None and use_bias
    pointwise = keras.layers.Conv2D(
        filters,
        1,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01) if last else "he_normal",
        bias_initializer=bias_initializer,
        name=f"{name}_pointwise",
    )
    return lambda tensor: pointwise(depthwise(tensor))
