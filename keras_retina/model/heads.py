"""Class and box heads: the same convolutions on every level, and the outputs of all levels joined."""

from __future__ import annotations

import math

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.layers import Apply, convolution
from keras_retina.recipe.recipe import Head


def head_outputs(
    levels: list[tf.Tensor], settings: Head, anchors_per_cell: int, values: int, name: str, bias: float = 0.0
) -> tf.Tensor:
    """Applies one shared head to every level and returns `[batch, anchors, values]`, levels in order.

    `anchors` runs over level, row, column, anchor of the cell: the order of `anchors.anchor_boxes`. With `batch_norm:
    per_level` the convolutions stay shared and each level, numbered as in `levels`, has a BatchNorm behind each of
    them: features of different levels have different statistics.

    Source of the norms: the code of EfficientDet and of Model Garden's RetinaNet; the paper's heads have none.
    """
    activation = "relu" if settings.convolution == "full" else "relu6"
    has_norms = settings.batch_norm == "per_level"
    hidden: list[Apply] = [
        convolution(
            settings.width,
            settings.convolution,
            f"{name}_{index}",
            activation=None if has_norms else activation,
            bias=None if has_norms else 0.0,
        )
        for index in range(settings.convolutions)
    ]
    predict = convolution(anchors_per_cell * values, settings.convolution, f"{name}_prediction", bias=bias)
    rows = []
    for number, tensor in enumerate(levels):
        for index, layer in enumerate(hidden):
            tensor = layer(tensor)
            if has_norms:
                tensor = keras.layers.BatchNormalization(name=f"{name}_{index}_norm_{number}")(tensor)
                tensor = keras.layers.Activation(activation, name=f"{name}_{index}_{activation}_{number}")(tensor)
        tensor = predict(tensor)  # [batch, height, width, anchors_per_cell * values]
        rows.append(keras.layers.Reshape((-1, values), name=f"{name}_reshape_{number}")(tensor))
    if len(rows) == 1:
        return keras.layers.Activation("linear", name=name)(rows[0])
    return keras.layers.Concatenate(axis=1, name=name)(rows)


def prior_bias(prior: float) -> float:
    """Returns the logit of `prior`, the starting bias of the class head (paper section 4.1)."""
    return -math.log((1.0 - prior) / prior)
