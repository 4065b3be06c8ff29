"""MobileNetV1 and V2 of keras.applications, and a plain backbone for training from nothing on a CPU."""

from __future__ import annotations

from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind, scaled_pixels
from keras_retina.recipe.model import Backbone


def _mobilenet_v1(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.MobileNet(alpha=settings.alpha, **options)


def _mobilenet_v2(settings: Backbone, **options: Any) -> keras.Model:
    if settings.pixel_scaling:
        options["input_tensor"] = scaled_pixels(options["input_tensor"])
    return keras.applications.MobileNetV2(alpha=settings.alpha, **options)


# Filters and stride of each convolution of the plain backbone. One more at stride 4 would be a fifth of all the time.
_PLAIN_CONVOLUTIONS = ((16, 2), (32, 2), (64, 2), (64, 1), (96, 2), (96, 1), (128, 2), (128, 1))


def _plain(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
    """Eight 3x3 convolutions with BatchNorm: short, so that they learn from random weights sooner than MobileNetV2, and
    without depthwise convolutions, whose gradients are slow on a CPU.
    """
    tensor = input_tensor
    for number, (filters, stride) in enumerate(_PLAIN_CONVOLUTIONS):
        name = f"plain_{number}"
        convolve = keras.layers.Conv2D(
            filters, 3, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
        )
        tensor = keras.layers.BatchNormalization(name=f"{name}_norm")(convolve(tensor))
        tensor = keras.layers.ReLU(6.0, name=f"{name}_relu6")(tensor)
    return keras.Model(input_tensor, tensor)


MOBILENETS: dict[str, BackboneKind] = {
    "mobilenet_v1": BackboneKind(
        build=_mobilenet_v1,
        features=("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
        stages=("conv_pad_2", "conv_pad_4", "conv_pad_6", "conv_pad_12"),
    ),
    "mobilenet_v2": BackboneKind(
        build=_mobilenet_v2,
        features=("block_5_add", "block_12_add", "block_16_project_BN"),
        stages=("block_1_expand", "block_3_expand", "block_6_expand", "block_13_expand"),
    ),
    "plain": BackboneKind(
        build=_plain,
        features=("plain_3_relu6", "plain_5_relu6", "plain_7_relu6"),
        stages=("plain_1_conv", "plain_2_conv", "plain_4_conv", "plain_6_conv"),
    ),
}
"""Each of them by its name in a recipe."""
