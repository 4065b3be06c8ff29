"""The kinds of layers that a detector may consist of, and what becomes of each when it is saved, pruned and quantized.

A kind that is in the table can be saved. A new kind is one more entry; what it cannot do yet is None there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras_retina.foundation.legacy_keras import keras

PruneRole = Literal["fixed", "producer", "between", "passing"]
Int8Form = Literal["image", "rounded", "folded", "activation", "passing"]


@dataclass(frozen=True)
class LayerRole:
    """What becomes of the layers of one kind.

    Attributes:
        prune: what the layer is to the channels of its output. `fixed`: they must stay. `producer`: its kernel makes
            them out of other channels. `between`: it hands on those of its input, and its weights or its shape count
            them. `passing`: it hands them on and counts nothing. None: a network with such a layer cannot be pruned.
        int8: what its output is in an int8 file. `image`: the input of the file. `rounded`: has a scale of its own.
            `folded`: becomes part of the convolution before it. `activation`: becomes part of the operator before it.
            `passing`: has the scale of its inputs. None: no training rounds like its int8 file.
        keeps_scale: whether an input channel that is divided by a number gives an output channel divided by it.
        has_integer_form: whether a file can compute it with integers.
    """

    prune: PruneRole | None
    int8: Int8Form | None
    keeps_scale: bool = False
    has_integer_form: bool = True


LAYERS: dict[type[keras.layers.Layer], LayerRole] = {
    keras.layers.Activation: LayerRole("passing", "activation"),
    keras.layers.Add: LayerRole("passing", "rounded", keeps_scale=True),
    keras.layers.Attention: LayerRole(None, None),
    keras.layers.BatchNormalization: LayerRole("between", "folded"),
    keras.layers.Concatenate: LayerRole("passing", "passing"),
    keras.layers.Conv2D: LayerRole("producer", "rounded"),
    keras.layers.DepthwiseConv2D: LayerRole("between", "rounded"),
    keras.layers.GlobalAveragePooling2D: LayerRole("passing", None),
    keras.layers.GroupNormalization: LayerRole(None, None, has_integer_form=False),
    keras.layers.InputLayer: LayerRole("fixed", "image"),
    keras.layers.LayerNormalization: LayerRole(None, None),
    keras.layers.MaxPooling2D: LayerRole("passing", "passing"),
    keras.layers.Multiply: LayerRole("passing", None),
    keras.layers.ReLU: LayerRole("passing", "activation"),
    keras.layers.Rescaling: LayerRole("passing", None),
    keras.layers.Reshape: LayerRole("between", "passing"),
    keras.layers.UpSampling2D: LayerRole("passing", "passing", keeps_scale=True),
    keras.layers.ZeroPadding2D: LayerRole("passing", "passing", keeps_scale=True),
}

NO_ROLE = LayerRole(prune=None, int8=None)


def role_of(layer: keras.layers.Layer) -> LayerRole:
    """Returns the role of a layer, `NO_ROLE` for a kind that is not in `LAYERS`.

    A subclass is another kind, because it may lay out its channels differently: Conv2DTranspose is a Conv2D to Keras.
    """
    return LAYERS.get(type(layer), NO_ROLE)
