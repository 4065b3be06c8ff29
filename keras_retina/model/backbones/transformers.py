"""The mix transformer MiT-B0 of SegFormer in plain layers: attention over maps, without position codes.

KerasCV's class is made of layers with layers inside, which cannot be loaded without its code, and takes square images
only. Here each head of an attention is three 1x1 convolutions and one Attention layer: the same weights, cut into
heads. KerasCV drops blocks at random while it trains; this does not.

Source: Xie et al., SegFormer, section 3.1 and table 6; the norms of its authors' code, epsilon 1e-6.
"""

from __future__ import annotations

from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.kind import BackboneKind
from keras_retina.recipe.model import Backbone

WIDTHS = (32, 64, 160, 256)  # channels of the four stages; those of a head are always 32
HEADS = (1, 2, 5, 8)
REDUCED = (8, 4, 2, 1)  # by which both sides of what is attended to are divided
DEPTH = 2  # blocks of a stage
EXPANSION = 4
EPSILON = 1e-6


def _mit_b0(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
    tensor = input_tensor
    for stage, (width, heads, reduced) in enumerate(zip(WIDTHS, HEADS, REDUCED, strict=True), start=1):
        size, strides = (7, 4) if stage == 1 else (3, 2)
        name = f"stage{stage}"
        tensor = keras.layers.Conv2D(width, size, strides, "same", name=f"{name}_patch")(tensor)
        tensor = _normalized(tensor, f"{name}_patch")
        for number in range(1, DEPTH + 1):
            tensor = _block(tensor, width, heads=heads, reduced=reduced, name=f"{name}_block{number}")
        tensor = _normalized(tensor, name)
    return keras.Model(input_tensor, tensor)


def _block(tensor: tf.Tensor, width: int, *, heads: int, reduced: int, name: str) -> tf.Tensor:
    attended = _attention(_normalized(tensor, f"{name}_1"), width, heads=heads, reduced=reduced, name=name)
    tensor = keras.layers.Add(name=f"{name}_add_1")([tensor, attended])
    inner = keras.layers.Conv2D(EXPANSION * width, 1, name=f"{name}_expand")(_normalized(tensor, f"{name}_2"))
    inner = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(inner)
    inner = keras.layers.Activation("gelu", name=f"{name}_gelu")(inner)
    inner = keras.layers.Conv2D(width, 1, name=f"{name}_project")(inner)
    return keras.layers.Add(name=f"{name}_add_2")([tensor, inner])


def _attention(tensor: tf.Tensor, width: int, *, heads: int, reduced: int, name: str) -> tf.Tensor:
    """Every cell looks at all cells of a map that is `reduced` times smaller on both sides."""
    source = tensor
    if reduced > 1:
        source = keras.layers.Conv2D(width, reduced, reduced, name=f"{name}_reduce")(source)
        source = _normalized(source, f"{name}_reduce")
    channels, found = width // heads, []
    for head in range(heads):
        own = f"{name}_head{head}"
        query = keras.layers.Rescaling(channels**-0.5, name=f"{own}_scaled")(
            _rows(tensor, channels, f"{own}_query")  # the softmax is over products divided by sqrt(channels)
        )
        key, value = (_rows(source, channels, f"{own}_{role}") for role in ("key", "value"))
        found.append(keras.layers.Attention(name=f"{own}_attention")([query, value, key]))
    joined = found[0] if heads == 1 else keras.layers.Concatenate(name=f"{name}_heads")(found)
    joined = keras.layers.Reshape((*tensor.shape[1:3], width), name=f"{name}_map")(joined)
    return keras.layers.Conv2D(width, 1, name=f"{name}_attended")(joined)


def _rows(tensor: tf.Tensor, channels: int, name: str) -> tf.Tensor:
    """Returns `[batch, cells, channels]` of a map."""
    cells = tensor.shape[1] * tensor.shape[2]
    tensor = keras.layers.Conv2D(channels, 1, name=name)(tensor)
    return keras.layers.Reshape((cells, channels), name=f"{name}_rows")(tensor)


def _normalized(tensor: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(tensor)


TRANSFORMERS: dict[str, BackboneKind] = {
    "mit_b0": BackboneKind(
        build=_mit_b0,
        features=("stage2_norm", "stage3_norm", "stage4_norm"),
        stages=("stage1_block1_1_norm", "stage2_patch", "stage3_patch", "stage4_patch"),
    ),
}
"""Every transformer by its name in a recipe."""
