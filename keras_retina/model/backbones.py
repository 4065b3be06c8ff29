"""Backbones: built flat on our own input, cut at the pyramid levels, and frozen by stages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.model import Backbone


@dataclass(frozen=True)
class BackboneKind:
    """How one backbone is built, cut at the pyramid levels and frozen by stages.

    Attributes:
        build: called as `build(settings, include_top=False, weights=..., input_tensor=...)`, or with `input_shape`:
            the arguments of `keras.applications`, whose layer names a file of weights has too.
        features: names of the layers whose outputs are C3, C4 and C5 (strides 8, 16, 32).
        stages: first layer of each stage after the stem. Freezing n stages freezes the stem and n - 1 of these.
        rewritten: `{layer: function}`. The function takes the weights of that layer in the file and returns the
            weights that give the same output for our input, RGB in [-1, 1].
    """

    build: Callable[..., keras.Model]
    features: tuple[str, str, str]
    stages: tuple[str, str, str, str]
    rewritten: Mapping[str, Callable[..., list[np.ndarray]]] = field(default_factory=dict)


def _rgb_unit_range_kernel(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    # caffe input: pixel - mean, in BGR. Ours: x = (pixel - 127.5) / 127.5, so pixel - mean = 127.5 x + 127.5 - mean.
    mean_rgb = np.array([123.68, 116.779, 103.939], np.float32)
    rgb = kernel[:, :, ::-1, :]  # [7, 7, 3, filters]
    offset = np.einsum("hwcf,c->f", rgb, 127.5 - mean_rgb)
    return [rgb * 127.5, bias + offset]


def _mobilenet_v2(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.MobileNetV2(alpha=settings.alpha, **options)


def _resnet50(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.ResNet50(**options)


def _resnet101(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.ResNet101(**options)


def _efficientnet_lite0(settings: Backbone, *, include_top: bool, weights: str | None, **options: Any) -> keras.Model:
    """EfficientNet-Lite0: MobileNetV2's blocks, some with 5x5 kernels, found by a search; no squeeze-and-excitation.

    Source: Tan and Le, EfficientNet; the Lite variants of its authors' code. `include_top` is False in every call.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # Keras Core prints the name of its backend
        from keras_cv.models import EfficientNetLiteBackbone  # a second to import, so only where it is used
    if not issubclass(EfficientNetLiteBackbone, keras.Model):
        raise InputError(
            "model.backbone.name: KerasCV with Keras 2 was expected for efficientnet_lite0. Received: KerasCV with "
            "Keras 3, which the program imported before. Set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported."
        )
    network = EfficientNetLiteBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        drop_connect_rate=0.0,  # a Dropout layer has no place in the pruned and quantized graphs
        include_rescaling=False,
        **options,
    )
    model = keras.Model(network.inputs, network.outputs)  # KerasCV's class warns when weights are loaded
    if weights is not None:
        model.load_weights(weights)
    return model


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


_RESNET_STAGES = ("conv2_block1_1_conv", "conv3_block1_1_conv", "conv4_block1_1_conv", "conv5_block1_1_conv")

BACKBONES: dict[str, BackboneKind] = {
    "mobilenet_v2": BackboneKind(
        build=_mobilenet_v2,
        features=("block_5_add", "block_12_add", "block_16_project_BN"),
        stages=("block_1_expand", "block_3_expand", "block_6_expand", "block_13_expand"),
    ),
    "efficientnet_lite0": BackboneKind(
        build=_efficientnet_lite0,
        # C5 before the last 1x1 convolution, which widens 320 channels to 1280 for a classifier.
        features=("block3b_add", "block5c_add", "block7a_project_bn"),
        stages=("block2a_expand_conv", "block3a_expand_conv", "block4a_expand_conv", "block6a_expand_conv"),
    ),
    "resnet50": BackboneKind(
        build=_resnet50,
        features=("conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
        stages=_RESNET_STAGES,
        rewritten={"conv1_conv": _rgb_unit_range_kernel},
    ),
    "resnet101": BackboneKind(
        build=_resnet101,
        features=("conv3_block4_out", "conv4_block23_out", "conv5_block3_out"),
        stages=_RESNET_STAGES,
        rewritten={"conv1_conv": _rgb_unit_range_kernel},
    ),
    "plain": BackboneKind(
        build=_plain,
        features=("plain_3_relu6", "plain_5_relu6", "plain_7_relu6"),
        stages=("plain_1_conv", "plain_2_conv", "plain_4_conv", "plain_6_conv"),
    ),
}
"""Every backbone by its name in a recipe. Names and widths are in `keras_retina.recipe.model`."""


def kind_of(settings: Backbone) -> BackboneKind:
    """Returns how the backbone is built.

    Raises:
        InputError: no such backbone.
    """
    if settings.name not in BACKBONES:
        raise InputError(
            f"model.backbone.name: one of {', '.join(BACKBONES)} was expected. Received: name={settings.name!r}. "
            f"{closest(settings.name, BACKBONES)}"
        )
    return BACKBONES[settings.name]


def backbone_features(image: tf.Tensor, settings: Backbone) -> dict[int, tf.Tensor]:
    """Builds the backbone on `image` with random weights and returns {3: C3, 4: C4, 5: C5}.

    C3 is `[batch, H/8, W/8, channels]` and so on. The layers keep the names that `tf_keras.applications` gives them,
    so that ImageNet files load by topology and `freeze` finds the stages.

    Raises:
        InputError: no such backbone.
    """
    kind = kind_of(settings)
    network = kind.build(settings, include_top=False, weights=None, input_tensor=image)
    return {level: network.get_layer(name).output for level, name in zip((3, 4, 5), kind.features, strict=True)}


def backbone_layers(model: keras.Model, settings: Backbone) -> list[keras.layers.Layer]:
    """Returns the layers of the backbone inside a detector, in graph order, the input layer left out."""
    names = [layer.name for layer in model.layers]
    # Layers of pyramid and heads may stand between them in topological order; theirs start with our prefixes.
    inside = model.layers[: names.index(kind_of(settings).features[-1]) + 1]
    ours = ("image", "pyramid_", "classes", "boxes")
    return [layer for layer in inside if not layer.name.startswith(ours)]


def freeze(model: keras.Model, settings: Backbone) -> None:
    """Makes the first `frozen_stages` stages untrainable, and every BatchNorm for `batch_norm: frozen`.

    An untrainable BatchNorm runs in inference mode in Keras, also during `fit`. Gradients are not propagated through
    stages that hold no trainable weight, which is what makes frozen early stages cheap.
    """
    layers = backbone_layers(model, settings)
    names = [layer.name for layer in layers]
    bounds = [names.index(stage) for stage in kind_of(settings).stages] + [len(names)]
    frozen_count = bounds[settings.frozen_stages - 1] if settings.frozen_stages else 0
    for index, layer in enumerate(layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen_count and not (is_norm and settings.batch_norm == "frozen")
