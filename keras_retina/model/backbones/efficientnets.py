"""EfficientNet-Lite0 to 4 of KerasCV: MobileNetV2's blocks, some with 5x5 kernels, without squeeze-and-excitation.

Source: Tan and Le, EfficientNet; the Lite variants of its authors' code.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.backbones.kind import BackboneKind
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


EFFICIENTNETS: dict[str, BackboneKind] = {
    "efficientnet_lite0": _lite(1.0, 1.0),
    "efficientnet_lite1": _lite(1.0, 1.1),
    "efficientnet_lite2": _lite(1.1, 1.2),
    "efficientnet_lite3": _lite(1.2, 1.4),
    "efficientnet_lite4": _lite(1.4, 1.8),
}
"""Each of them by its name in a recipe: scaled in width and in depth."""
