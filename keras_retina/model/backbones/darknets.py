"""CSPDarkNet of YOLOX in plain layers: cross-stage partial blocks with swish, a spatial pyramid pooling before C5.

KerasCV's class nests models and layers, which a flat model cannot hold. This one computes the same (a test carries the
weights over), but for one layer: KerasCV first gathers 2x2 pixels in 12 channels and convolves these 3x3, here one 6x6
convolution with stride 2 reads the pixels, which is the same sum.

Source: Wang et al., CSPNet; Ge et al., YOLOX; sizes of KerasCV's presets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind
from keras_retina.recipe.model import Backbone

POOLED = (5, 9, 13)  # pixels a side of the maximum poolings


def _builder(channels: tuple[int, int, int, int], depths: tuple[int, int, int, int]) -> Callable[..., keras.Model]:
    def build(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
        tensor = keras.layers.ZeroPadding2D(2, name="stem_pad")(input_tensor)
        tensor = _convolved(tensor, channels[0] // 2, 6, strides=2, padding="valid", name="stem")
        for stage, (filters, depth) in enumerate(zip(channels, depths, strict=True), start=2):
            tensor = _convolved(tensor, filters, 3, strides=2, name=f"dark{stage}")
            is_last = stage == len(channels) + 1
            if is_last:
                tensor = _pooled(tensor, filters, name=f"dark{stage}_spp")
            tensor = _partial(tensor, filters, depth, residual=not is_last, name=f"dark{stage}_csp")
        return keras.Model(input_tensor, tensor)

    return build


def _convolved(
    tensor: tf.Tensor, filters: int, size: int, *, strides: int = 1, padding: str = "same", name: str
) -> tf.Tensor:
    convolve = keras.layers.Conv2D(filters, size, strides, padding, use_bias=False, name=f"{name}_conv")
    tensor = keras.layers.BatchNormalization(name=f"{name}_bn")(convolve(tensor))
    return keras.layers.Activation("swish", name=f"{name}_swish")(tensor)


def _partial(tensor: tf.Tensor, filters: int, depth: int, *, residual: bool, name: str) -> tf.Tensor:
    """One half of the channels goes through `depth` bottlenecks, the other half around them."""
    first = _convolved(tensor, filters // 2, 1, name=f"{name}_through")
    other = _convolved(tensor, filters // 2, 1, name=f"{name}_around")
    for number in range(1, depth + 1):
        before = first
        first = _convolved(first, filters // 2, 1, name=f"{name}_{number}_1")
        first = _convolved(first, filters // 2, 3, name=f"{name}_{number}_2")
        if residual:
            first = keras.layers.Add(name=f"{name}_{number}_add")([before, first])
    joined = keras.layers.Concatenate(name=f"{name}_concat")([first, other])
    return _convolved(joined, filters, 1, name=f"{name}_out")


def _pooled(tensor: tf.Tensor, filters: int, *, name: str) -> tf.Tensor:
    tensor = _convolved(tensor, filters // 2, 1, name=f"{name}_1")
    pools = [keras.layers.MaxPooling2D(size, 1, "same", name=f"{name}_pool_{size}")(tensor) for size in POOLED]
    joined = keras.layers.Concatenate(name=f"{name}_concat")([tensor, *pools])
    return _convolved(joined, filters, 1, name=f"{name}_2")


def _darknet(channels: tuple[int, int, int, int], depths: tuple[int, int, int, int]) -> BackboneKind:
    return BackboneKind(
        build=_builder(channels, depths),
        features=("dark3_csp_out_swish", "dark4_csp_out_swish", "dark5_csp_out_swish"),
        stages=("dark2_conv", "dark3_conv", "dark4_conv", "dark5_conv"),
    )


DARKNETS: dict[str, BackboneKind] = {
    "csp_darknet_tiny": _darknet((48, 96, 192, 384), (1, 3, 3, 1)),
    "csp_darknet_s": _darknet((64, 128, 256, 512), (1, 3, 3, 1)),
    "csp_darknet_m": _darknet((96, 192, 384, 768), (2, 6, 6, 2)),
    "csp_darknet_l": _darknet((128, 256, 512, 1024), (3, 9, 9, 3)),
}
"""Each of them by its name in a recipe: wider and deeper."""
