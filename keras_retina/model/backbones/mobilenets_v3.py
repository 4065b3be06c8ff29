"""MobileNetV3 small and large, with and without what is hard for accelerators, in plain layers.

keras.applications writes hard-swish with operators, which are no layers that a flat model can be rebuilt from. Here it
is Rescaling, ReLU6, Rescaling and Multiply, which TFLite joins into one HARD_SWISH. Layers have the names of
keras.applications with `_` for `/`, and the stride-2 convolutions pad as "same", which is the same padding.

Source: Howard et al., Searching for MobileNetV3, tables 1 and 2; the minimalistic variants of its authors' code, which
have ReLU, 3x3 kernels and no squeeze-and-excitation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind
from keras_retina.recipe.model import Backbone

SQUEEZED = 0.25  # channels of the squeeze-and-excitation, of those that it weights
MOMENTUM = 0.999  # of the moving statistics, as keras.applications has it


@dataclass(frozen=True)
class Block:
    """One inverted residual block: how much wider it is inside, its output channels, and what is special in it."""

    expansion: float
    filters: int
    stride: int = 1
    wide: bool = False  # a 5x5 kernel, except in the minimalistic network
    weighted: bool = False  # by squeeze-and-excitation, except in the minimalistic network
    swish: bool = False  # hard-swish, except in the minimalistic network


SMALL = (
    Block(1, 16, 2, weighted=True),
    Block(72 / 16, 24, 2),
    Block(88 / 24, 24),
    Block(4, 40, 2, wide=True, weighted=True, swish=True),
    *[Block(6, 40, wide=True, weighted=True, swish=True)] * 2,
    *[Block(3, 48, wide=True, weighted=True, swish=True)] * 2,
    Block(6, 96, 2, wide=True, weighted=True, swish=True),
    *[Block(6, 96, wide=True, weighted=True, swish=True)] * 2,
)
LARGE = (
    Block(1, 16),
    Block(4, 24, 2),
    Block(3, 24),
    Block(3, 40, 2, wide=True, weighted=True),
    *[Block(3, 40, wide=True, weighted=True)] * 2,
    Block(6, 80, 2, swish=True),
    Block(2.5, 80, swish=True),
    *[Block(2.3, 80, swish=True)] * 2,
    *[Block(6, 112, weighted=True, swish=True)] * 2,
    Block(6, 160, 2, wide=True, weighted=True, swish=True),
    *[Block(6, 160, wide=True, weighted=True, swish=True)] * 2,
)


def _builder(
    blocks: tuple[Block, ...], application: Callable[..., keras.Model], *, minimalistic: bool
) -> Callable[..., keras.Model]:
    def build(
        settings: Backbone,
        *,
        include_top: bool,
        weights: str | None,
        input_tensor: tf.Tensor | None = None,
        input_shape: tuple[int, int, int] | None = None,
    ) -> keras.Model:
        image = keras.Input(input_shape) if input_tensor is None else input_tensor
        model = _network(image, blocks, alpha=settings.alpha, minimalistic=minimalistic)
        if weights is not None:
            trained = application(
                alpha=settings.alpha,
                minimalistic=minimalistic,
                include_top=include_top,
                weights=weights,
                input_shape=input_shape,
                include_preprocessing=False,
            )
            by_name = {layer.name.replace("/", "_"): layer for layer in trained.layers}
            for layer in model.layers:
                if layer.weights:
                    layer.set_weights(by_name[layer.name].get_weights())
        return model

    return build


def _network(image: tf.Tensor, blocks: tuple[Block, ...], *, alpha: float, minimalistic: bool) -> keras.Model:
    tensor = _normalized(keras.layers.Conv2D(16, 3, 2, "same", use_bias=False, name="Conv")(image), "Conv")
    tensor = _activated(tensor, "Conv", swish=not minimalistic)
    for number, block in enumerate(blocks):
        name = f"expanded_conv_{number}" if number else "expanded_conv"
        tensor = _block(tensor, block, name=name, filters=_whole(block.filters * alpha), minimalistic=minimalistic)
    return keras.Model(image, tensor)


def _block(tensor: tf.Tensor, block: Block, *, name: str, filters: int, minimalistic: bool) -> tf.Tensor:
    before, channels = tensor, tensor.shape[-1]
    inside, swish = _whole(channels * block.expansion), block.swish and not minimalistic
    if name != "expanded_conv":  # the first one is not expanded
        tensor = keras.layers.Conv2D(inside, 1, padding="same", use_bias=False, name=f"{name}_expand")(tensor)
        tensor = _activated(_normalized(tensor, f"{name}_expand"), f"{name}_expand", swish=swish)
    size = 5 if block.wide and not minimalistic else 3
    tensor = keras.layers.DepthwiseConv2D(size, block.stride, "same", use_bias=False, name=f"{name}_depthwise")(tensor)
    tensor = _activated(_normalized(tensor, f"{name}_depthwise"), f"{name}_depthwise", swish=swish)
    if block.weighted and not minimalistic:
        tensor = _weighted(tensor, f"{name}_squeeze_excite", channels=inside)
    tensor = keras.layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{name}_project")(tensor)
    tensor = _normalized(tensor, f"{name}_project")
    if block.stride == 1 and channels == filters:
        tensor = keras.layers.Add(name=f"{name}_Add")([before, tensor])
    return tensor


def _weighted(tensor: tf.Tensor, name: str, *, channels: int) -> tf.Tensor:
    """Multiplies each channel by what its mean and those of the others say (squeeze-and-excitation)."""
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_AvgPool")(tensor)
    mean = keras.layers.Conv2D(_whole(channels * SQUEEZED), 1, padding="same", name=f"{name}_Conv")(mean)
    mean = keras.layers.ReLU(name=f"{name}_Relu")(mean)
    mean = keras.layers.Conv2D(channels, 1, padding="same", name=f"{name}_Conv_1")(mean)
    return keras.layers.Multiply(name=f"{name}_Mul")([tensor, _hard_sigmoid(mean, f"{name}_gate")])


def _hard_sigmoid(tensor: tf.Tensor, name: str) -> tf.Tensor:
    tensor = keras.layers.Rescaling(1.0, 3.0, name=f"{name}_plus_3")(tensor)
    tensor = keras.layers.ReLU(6.0, name=f"{name}_relu6")(tensor)
    return keras.layers.Rescaling(1.0 / 6.0, name=f"{name}_sixth")(tensor)


def _activated(tensor: tf.Tensor, name: str, *, swish: bool) -> tf.Tensor:
    if not swish:
        return keras.layers.ReLU(name=f"{name}_relu")(tensor)
    return keras.layers.Multiply(name=f"{name}_hard_swish")([tensor, _hard_sigmoid(tensor, f"{name}_hard_swish")])


def _normalized(tensor: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=MOMENTUM, name=f"{name}_BatchNorm")(tensor)


def _whole(channels: float) -> int:
    """Returns the nearest multiple of 8 that is not more than a tenth smaller."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _small(*, minimalistic: bool) -> BackboneKind:
    return BackboneKind(
        build=_builder(SMALL, keras.applications.MobileNetV3Small, minimalistic=minimalistic),
        features=("expanded_conv_2_Add", "expanded_conv_7_Add", "expanded_conv_10_Add"),
        stages=(
            "expanded_conv_depthwise",
            "expanded_conv_1_expand",
            "expanded_conv_3_expand",
            "expanded_conv_8_expand",
        ),
    )


def _large(*, minimalistic: bool) -> BackboneKind:
    return BackboneKind(
        build=_builder(LARGE, keras.applications.MobileNetV3Large, minimalistic=minimalistic),
        features=("expanded_conv_5_Add", "expanded_conv_11_Add", "expanded_conv_14_Add"),
        stages=(
            "expanded_conv_1_expand",
            "expanded_conv_3_expand",
            "expanded_conv_6_expand",
            "expanded_conv_12_expand",
        ),
    )


MOBILENETS_V3: dict[str, BackboneKind] = {
    "mobilenet_v3_small": _small(minimalistic=False),
    "mobilenet_v3_large": _large(minimalistic=False),
    "mobilenet_v3_small_minimalistic": _small(minimalistic=True),
    "mobilenet_v3_large_minimalistic": _large(minimalistic=True),
}
"""Each of them by its name in a recipe."""
