"""ResNets of the first version: 50, 101 and 152 of keras.applications, 18 and 34 with their basic blocks, the 50 of
torchvision, of Model Garden and of KerasCV, and ResNeXt.

Source: He et al., Deep Residual Learning for Image Recognition, table 1; Xie et al., Aggregated Residual
Transformations for Deep Neural Networks, table 1; torchvision/models/resnet.py; official/vision/modeling/backbones/
resnet.py of tensorflow/models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind, WeightsOf, scaled_pixels
from keras_retina.recipe.model import Backbone


def _rgb_unit_range_kernel(weights_of: WeightsOf) -> list[np.ndarray]:
    kernel, bias = weights_of("conv1_conv")
    # caffe input: pixel - mean, in BGR. Ours: x = (pixel - 127.5) / 127.5, so pixel - mean = 127.5 x + 127.5 - mean.
    mean_rgb = np.array([123.68, 116.779, 103.939], np.float32)
    rgb = kernel[:, :, ::-1, :]  # [7, 7, 3, filters]
    offset = np.einsum("hwcf,c->f", rgb, 127.5 - mean_rgb)
    return [rgb * 127.5, bias + offset]


GROUPS = 32  # of the channels of a ResNeXt

EPSILON, MODEL_GARDEN_EPSILON = 1.001e-5, 1e-3  # of BatchNorm: that of keras.applications, and Model Garden's

_STAGES = ("conv2_block1_1_conv", "conv3_block1_1_conv", "conv4_block1_1_conv", "conv5_block1_1_conv")


def _application(network: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    def build(settings: Backbone, **options: Any) -> keras.Model:
        return network(**options)

    return build


def _bottlenecks(network: Callable[..., keras.Model], blocks: tuple[int, int, int]) -> BackboneKind:
    """Returns a network of keras.applications; `blocks` are those of the stages that give C3, C4 and C5."""
    three, four, five = (f"conv{stage}_block{count}_out" for stage, count in zip((3, 4, 5), blocks, strict=True))
    rewritten = {"conv1_conv": _rgb_unit_range_kernel}
    return BackboneKind(_application(network), (three, four, five), _STAGES, rewritten)


def _basic_blocks(blocks: tuple[int, int, int, int]) -> BackboneKind:
    """Returns ResNet-18 or 34: two 3x3 convolutions a block, named as those of keras.applications are."""

    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = _stem(input_tensor)
        for stage, count in enumerate(blocks, start=2):
            for number in range(1, count + 1):
                strides = 2 if number == 1 and stage > 2 else 1
                tensor = _basic_block(tensor, 32 * 2**stage // 2, strides=strides, name=f"conv{stage}_block{number}")
        return keras.Model(input_tensor, tensor)

    three, four, five = (f"conv{stage}_block{blocks[stage - 2]}_out" for stage in (3, 4, 5))
    return BackboneKind(build, (three, four, five), _STAGES)


def _grouped_blocks(blocks: tuple[int, int, int, int], group_width: int) -> BackboneKind:
    """Returns a ResNeXt of 32 groups: bottlenecks whose 3x3 convolution is one for each group of channels.

    As torchvision builds it, the stride is in that convolution, and none has a bias.
    """

    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = _stem(input_tensor)
        for stage, count in enumerate(blocks, start=2):
            width, filters = GROUPS * group_width * 2 ** (stage - 2), 64 * 2**stage
            for number in range(1, count + 1):
                strides = 2 if number == 1 and stage > 2 else 1
                tensor = _grouped_block(tensor, width, filters, strides=strides, name=f"conv{stage}_block{number}")
        return keras.Model(input_tensor, tensor)

    three, four, five = (f"conv{stage}_block{blocks[stage - 2]}_out" for stage in (3, 4, 5))
    return BackboneKind(build, (three, four, five), _STAGES)


def _grouped_block(tensor: tf.Tensor, width: int, filters: int, *, strides: int, name: str) -> tf.Tensor:
    found = _normalized(tensor, width, 1, name=f"{name}_1", activate=True)
    found = _normalized(found, width, 3, strides=strides, groups=GROUPS, name=f"{name}_2", activate=True)
    found = _normalized(found, filters, 1, name=f"{name}_3", activate=False)
    if tensor.shape[-1] != filters:
        tensor = _normalized(tensor, filters, 1, strides=strides, name=f"{name}_0", activate=False)
    found = keras.layers.Add(name=f"{name}_add")([tensor, found])
    return keras.layers.Activation("relu", name=f"{name}_out")(found)


def _stem(image: tf.Tensor) -> tf.Tensor:
    tensor = keras.layers.ZeroPadding2D(3, name="conv1_pad")(image)
    tensor = _normalized(tensor, 64, 7, strides=2, padding="valid", name="conv1", activate=True)
    tensor = keras.layers.ZeroPadding2D(1, name="pool1_pad")(tensor)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(tensor)


def _basic_block(tensor: tf.Tensor, filters: int, *, strides: int, name: str) -> tf.Tensor:
    shortcut = tensor
    # The first convolution comes first in the graph too: stages begin with it.
    found = _normalized(tensor, filters, 3, strides=strides, name=f"{name}_1", activate=True)
    if strides > 1:
        shortcut = _normalized(tensor, filters, 1, strides=strides, name=f"{name}_0", activate=False)
    found = _normalized(found, filters, 3, name=f"{name}_2", activate=False)
    found = keras.layers.Add(name=f"{name}_add")([shortcut, found])
    return keras.layers.Activation("relu", name=f"{name}_out")(found)


def _torchvision_bottlenecks(blocks: tuple[int, int, int, int]) -> BackboneKind:
    """Returns torchvision's ResNet: the stride is in the 3x3 convolution of a block, and every padding on both sides.

    A layer before it scales the pixels as torchvision does.
    """

    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = keras.layers.ZeroPadding2D(3, name="conv1_pad")(scaled_pixels(input_tensor))
        tensor = _normalized(tensor, 64, 7, strides=2, padding="valid", name="conv1", activate=True)
        tensor = keras.layers.ZeroPadding2D(1, name="pool1_pad")(tensor)  # behind a ReLU as good as minus infinity
        tensor = keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(tensor)
        for stage, count in enumerate(blocks, start=2):
            for number in range(1, count + 1):
                strides = 2 if number == 1 and stage > 2 else 1
                name = f"conv{stage}_block{number}"
                tensor = _bottleneck(tensor, 16 * 2**stage, strides=strides, widens=number == 1, name=name)
        return keras.Model(input_tensor, tensor)

    three, four, five = (f"conv{stage}_block{blocks[stage - 2]}_out" for stage in (3, 4, 5))
    return BackboneKind(build, (three, four, five), _STAGES)


def _model_garden_bottlenecks(blocks: tuple[int, int, int, int]) -> BackboneKind:
    """Returns Model Garden's ResNet: the stride is in the 3x3 convolution of a block, and paddings are TensorFlow's."""

    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = scaled_pixels(input_tensor) if settings.pixel_scaling else input_tensor
        tensor = _normalized(tensor, 64, 7, strides=2, epsilon=MODEL_GARDEN_EPSILON, name="conv1", activate=True)
        tensor = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool1_pool")(tensor)
        for stage, count in enumerate(blocks, start=2):
            for number in range(1, count + 1):
                tensor = _bottleneck(
                    tensor,
                    16 * 2**stage,
                    strides=2 if number == 1 and stage > 2 else 1,
                    widens=number == 1,
                    pads_like_torch=False,
                    epsilon=MODEL_GARDEN_EPSILON,
                    name=f"conv{stage}_block{number}",
                )
        return keras.Model(input_tensor, tensor)

    three, four, five = (f"conv{stage}_block{blocks[stage - 2]}_out" for stage in (3, 4, 5))
    return BackboneKind(build, (three, four, five), _STAGES)


def _keras_cv_bottlenecks(blocks: tuple[int, int, int, int]) -> BackboneKind:
    """Returns KerasCV's ResNet: the stride is in the first 1x1 convolution of a block, and padding is TensorFlow's.

    A layer before it scales the pixels as KerasCV does.
    """

    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = scaled_pixels(input_tensor)
        tensor = _normalized(tensor, 64, 7, strides=2, name="conv1", activate=True)
        tensor = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="pool1_pool")(tensor)
        for stage, count in enumerate(blocks, start=2):
            for number in range(1, count + 1):
                strides = 2 if number == 1 and stage > 2 else 1
                name = f"conv{stage}_block{number}"
                tensor = _first_strided_block(tensor, 16 * 2**stage, strides=strides, widens=number == 1, name=name)
        return keras.Model(input_tensor, tensor)

    three, four, five = (f"conv{stage}_block{blocks[stage - 2]}_out" for stage in (3, 4, 5))
    return BackboneKind(build, (three, four, five), _STAGES)


def _first_strided_block(tensor: tf.Tensor, filters: int, *, strides: int, widens: bool, name: str) -> tf.Tensor:
    shortcut = tensor
    found = _normalized(tensor, filters, 1, strides=strides, name=f"{name}_1", activate=True)
    if widens:
        shortcut = _normalized(tensor, 4 * filters, 1, strides=strides, name=f"{name}_0", activate=False)
    found = _normalized(found, filters, 3, name=f"{name}_2", activate=True)
    found = _normalized(found, 4 * filters, 1, name=f"{name}_3", activate=False)
    found = keras.layers.Add(name=f"{name}_add")([shortcut, found])
    return keras.layers.Activation("relu", name=f"{name}_out")(found)


def _bottleneck(
    tensor: tf.Tensor,
    filters: int,
    *,
    strides: int,
    widens: bool,
    pads_like_torch: bool = True,
    epsilon: float = EPSILON,
    name: str,
) -> tf.Tensor:
    shortcut = tensor
    found = _normalized(tensor, filters, 1, epsilon=epsilon, name=f"{name}_1", activate=True)
    if widens:
        shortcut = _normalized(
            tensor, 4 * filters, 1, strides=strides, epsilon=epsilon, name=f"{name}_0", activate=False
        )
    padding = "same"
    if strides > 1 and pads_like_torch:
        found, padding = keras.layers.ZeroPadding2D(1, name=f"{name}_2_pad")(found), "valid"
    found = _normalized(
        found, filters, 3, strides=strides, padding=padding, epsilon=epsilon, name=f"{name}_2", activate=True
    )
    found = _normalized(found, 4 * filters, 1, epsilon=epsilon, name=f"{name}_3", activate=False)
    found = keras.layers.Add(name=f"{name}_add")([shortcut, found])
    return keras.layers.Activation("relu", name=f"{name}_out")(found)


def _normalized(
    tensor: tf.Tensor,
    filters: int,
    size: int,
    *,
    strides: int = 1,
    padding: str = "same",
    groups: int = 1,
    epsilon: float = EPSILON,
    name: str,
    activate: bool,
) -> tf.Tensor:
    convolve = keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding,
        groups=groups,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    tensor = keras.layers.BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(convolve(tensor))
    return keras.layers.Activation("relu", name=f"{name}_relu")(tensor) if activate else tensor


RESNETS: dict[str, BackboneKind] = {
    "resnet18": _basic_blocks((2, 2, 2, 2)),
    "resnet34": _basic_blocks((3, 4, 6, 3)),
    "resnet50": _bottlenecks(keras.applications.ResNet50, (4, 6, 3)),
    "resnet101": _bottlenecks(keras.applications.ResNet101, (4, 23, 3)),
    "resnet152": _bottlenecks(keras.applications.ResNet152, (8, 36, 3)),
    "resnext50_32x4d": _grouped_blocks((3, 4, 6, 3), 4),
    "resnext101_32x8d": _grouped_blocks((3, 4, 23, 3), 8),
    "resnet50_torchvision": _torchvision_bottlenecks((3, 4, 6, 3)),
    "resnet50_model_garden": _model_garden_bottlenecks((3, 4, 6, 3)),
    "resnet50_keras_cv": _keras_cv_bottlenecks((3, 4, 6, 3)),
}
"""Every ResNet and ResNeXt by its name in a recipe."""
