"""EfficientNet-Lite0 to 4 of KerasCV and EfficientNetV2-B0 to B3 of keras.applications.

Lite has MobileNetV2's blocks, some with 5x5 kernels, without squeeze-and-excitation. V2 has ordinary 3x3 convolutions
in its first blocks, and swish and squeeze-and-excitation in the later ones.

Source: Tan and Le, EfficientNet; the Lite variants of its authors' code; Tan and Le, EfficientNetV2.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind, WeightsOf
from keras_retina.model.calls import Place, rebuild
from keras_retina.model.graph import calls_of
from keras_retina.recipe.model import Backbone

_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # of the blocks of Lite0; the first and the last are not scaled


def _builder(width: float, depth: float) -> Callable[..., keras.Model]:
    def build(settings: Backbone, *, include_top: bool, weights: str | None, **options: Any) -> keras.Model:
        """`include_top` is False in every call."""
        network = _keras_cv_backbone(settings.name)(
            stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
            stackwise_num_repeats=list(_REPEATS),
            stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
            stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
            stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
            stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
            width_coefficient=width,
            depth_coefficient=depth,
            drop_connect_rate=0.0,  # a Dropout layer has no place in the pruned and quantized graphs
            include_rescaling=False,
            **options,
        )
        model = keras.Model(network.inputs, network.outputs)  # KerasCV's class warns when weights are loaded
        if weights is not None:
            model.load_weights(weights)
        return model

    return build


def _keras_cv_backbone(name: str) -> Callable[..., keras.Model]:
    """Returns KerasCV's class.

    Raises:
        InputError: it is one of Keras 3.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # Keras Core prints the name of its backend
        from keras_cv.models import EfficientNetLiteBackbone  # a second to import, so only where it is used
    if not issubclass(EfficientNetLiteBackbone, keras.Model):
        raise InputError(
            f"model.backbone.name: KerasCV with Keras 2 was expected for {name}. Received: KerasCV with "
            "Keras 3, which the program imported before. Set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported."
        )
    return EfficientNetLiteBackbone


def _lite(width: float, depth: float) -> BackboneKind:
    # Blocks have letters: the last one of a part is that of the scaled number of its blocks.
    three, five = ("abcdefgh"[math.ceil(depth * _REPEATS[part - 1]) - 1] for part in (3, 5))
    return BackboneKind(
        build=_builder(width, depth),
        # C5 before the last 1x1 convolution, which widens 320 channels to 1280 for a classifier.
        features=(f"block3{three}_add", f"block5{five}_add", "block7a_project_bn"),
        stages=("block2a_expand_conv", "block3a_expand_conv", "block4a_expand_conv", "block6a_expand_conv"),
    )


_V2_REPEATS = (1, 2, 2, 3, 5, 8)  # of the blocks of B0
# V2-B was trained on (pixel / 255 - mean) / deviation.
_V2_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_V2_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def _v2_builder(application: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    def build(
        settings: Backbone,
        *,
        input_tensor: tf.Tensor | None = None,
        input_shape: tuple[int, int, int] | None = None,
        **options: Any,
    ) -> keras.Model:
        image = keras.Input(input_shape) if input_tensor is None else input_tensor
        network = application(input_shape=image.shape[1:], include_preprocessing=False, **options)
        return _without_dropout(network, image)

    return build


def _without_dropout(network: keras.Model, image: tf.Tensor) -> keras.Model:
    """Returns new layers of the same names, weights and order on another input, those that drop blocks left out.

    A Dropout layer has no place in the pruned and quantized graphs.
    """
    layers = {
        layer.name: None if isinstance(layer, keras.layers.Dropout) else type(layer).from_config(layer.get_config())
        for layer in network.layers
    }
    tensors: dict[Place, tf.Tensor] = {(network.input_names[0], 0): image}
    calls = calls_of(network)
    rebuild(calls, tensors, layer_of=layers.__getitem__)
    model = keras.Model(image, tensors[calls[-1].layer, 0])
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return model


def _v2_stem_kernel(weights_of: WeightsOf) -> list[np.ndarray]:
    """Returns the kernel for [-1, 1], which is 2 * pixel / 255 - 1."""
    return [weights_of("stem_conv")[0] * (0.5 / _V2_DEVIATION)[:, None]]  # [3, 3, 3, filters]


def _v2_stem_norm(weights_of: WeightsOf) -> list[np.ndarray]:
    """Returns the BatchNorm with the constant part of the input in its mean: the convolution has no bias."""
    gamma, beta, mean, variance = weights_of("stem_bn")
    constant = np.einsum("hwcf,c->f", weights_of("stem_conv")[0], (0.5 - _V2_MEAN) / _V2_DEVIATION)
    return [gamma, beta, mean - constant, variance]


def _v2(application: Callable[..., keras.Model], depth: float) -> BackboneKind:
    three, five, six = (chr(ord("a") + math.ceil(depth * _V2_REPEATS[part - 1]) - 1) for part in (3, 5, 6))
    return BackboneKind(
        build=_v2_builder(application),
        features=(f"block3{three}_add", f"block5{five}_add", f"block6{six}_add"),
        stages=("block2a_expand_conv", "block3a_expand_conv", "block4a_expand_conv", "block6a_expand_conv"),
        rewritten={"stem_conv": _v2_stem_kernel, "stem_bn": _v2_stem_norm},
    )


EFFICIENTNETS: dict[str, BackboneKind] = {
    "efficientnet_lite0": _lite(1.0, 1.0),
    "efficientnet_lite1": _lite(1.0, 1.1),
    "efficientnet_lite2": _lite(1.1, 1.2),
    "efficientnet_lite3": _lite(1.2, 1.4),
    "efficientnet_lite4": _lite(1.4, 1.8),
    "efficientnet_v2_b0": _v2(keras.applications.EfficientNetV2B0, 1.0),
    "efficientnet_v2_b1": _v2(keras.applications.EfficientNetV2B1, 1.1),
    "efficientnet_v2_b2": _v2(keras.applications.EfficientNetV2B2, 1.2),
    "efficientnet_v2_b3": _v2(keras.applications.EfficientNetV2B3, 1.4),
}
"""Each of them by its name in a recipe: scaled in width and in depth."""
