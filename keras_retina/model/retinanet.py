"""The detector as one flat functional Keras model: backbone features, pyramid, shared heads."""

from __future__ import annotations

import math
from collections.abc import Callable

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import backbone_features, freeze
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Head, Model, Pyramid


def feature_pyramid(features: dict[int, tf.Tensor], settings: Pyramid) -> list[tf.Tensor]:
    """Returns P_first .. P_last, each `[batch, H / 2**level, W / 2**level, width]`.

    P3..P5 are lateral(C) + upsampled P above, then a 3x3 convolution; P6 is a strided 3x3 convolution of C5, or of what
    `p6_from` says, and P7 of relu(P6). There is no BatchNorm: with the few hundred steps of a fine-tune its statistics
    on P6 and P7 lag behind the weights. With `outputs: scaled` a level that the next one is made from gets a scale and
    an offset on its way to the heads alone.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4, footnote 2.
    """
    first, last = settings.levels
    activation = settings.activation or usual_activation(settings.convolution)
    lateral = {
        level: keras.layers.Conv2D(
            settings.width, 1, kernel_initializer="glorot_uniform", name=f"pyramid_lateral_{level}"
        )(features[level])
        for level in range(first, 6)
    }
    merged = {5: lateral[5]}
    for level in range(4, first - 1, -1):
        above = keras.layers.UpSampling2D(2, interpolation=settings.upsampling, name=f"pyramid_upsample_{level}")(
            merged[level + 1]
        )
        merged[level] = keras.layers.Add(name=f"pyramid_add_{level}")([lateral[level], above])
    behind = None if settings.outputs == "scaled" else activation
    outputs = {level: _smooth(merged[level], settings, activation=behind, level=level) for level in range(first, 6)}
    usual = "c5" if settings.convolution == "full" else "m5"
    p6_from = settings.p6_from or usual
    if last >= 6:
        sources = {"c5": features[5], "m5": merged[5], "p5": outputs[5]}
        outputs[6] = _strided(sources[p6_from], settings, activation=behind, level=6)
    if last >= 7:
        active = keras.layers.Activation(activation, name="pyramid_activation_6")(outputs[6])
        outputs[7] = _strided(active, settings, activation=behind, level=7)
    if settings.outputs == "scaled":
        for level in scaled_levels(last, p6_from):
            scale = keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=f"pyramid_scale_{level}")
            outputs[level] = scale(outputs[level])
    return [outputs[level] for level in range(first, last + 1)]


def usual_activation(convolution: str) -> str:
    """Returns the activation of convolutions where the settings name none."""
    return "relu" if convolution == "full" else "relu6"


def scaled_levels(last: int, p6_from: str) -> list[int]:
    """Returns the levels that another one is made from: there a scale for the heads is no part of a convolution."""
    made_from = {5: last >= 6 and p6_from == "p5", 6: last >= 7}
    return [level for level, is_read in made_from.items() if is_read]


def _smooth(tensor: tf.Tensor, settings: Pyramid, *, activation: str | None, level: int) -> tf.Tensor:
    if settings.convolution == "full":
        layer = keras.layers.Conv2D(settings.width, 3, padding="same", name=f"pyramid_output_{level}")
        return layer(tensor)
    return convolution(settings.width, "separable", name=f"pyramid_output_{level}", activation=activation)(tensor)


def _strided(tensor: tf.Tensor, settings: Pyramid, *, activation: str | None, level: int) -> tf.Tensor:
    padding = "same"
    if settings.padding == "symmetric":
        tensor, padding = keras.layers.ZeroPadding2D(1, name=f"pyramid_padding_{level}")(tensor), "valid"
    if settings.convolution == "full":
        layer = keras.layers.Conv2D(settings.width, 3, 2, padding=padding, name=f"pyramid_output_{level}")
        return layer(tensor)
    name = f"pyramid_output_{level}"
    return convolution(settings.width, "separable", name=name, strides=2, padding=padding, activation=activation)(
        tensor
    )


Apply = Callable[[tf.Tensor], tf.Tensor]


def convolution(
    filters: int,
    kind: str,
    *,
    name: str,
    strides: int = 1,
    padding: str = "same",
    activation: str | None = None,
    bias: float | None = 0.0,
) -> Apply:
    """Returns a function that applies one 3x3 convolution; calling it twice shares the weights.

    `full` is one Conv2D. `separable` is a DepthwiseConv2D and a 1x1 Conv2D rather than SeparableConv2D, which tfmot
    refuses when it is shared. Weights start at N(0, 0.01) in the full form (paper section 4.1); in the separable form
    the initial scale is preserved from layer to layer, because two thin layers at 0.01 would pass no signal. `bias` is
    where biases start; None is for a BatchNorm behind the convolution, which has offsets of its own.
    """
    use_bias = bias is not None
    bias_initializer = keras.initializers.Constant(bias) if use_bias else "zeros"
    if kind == "full":
        return keras.layers.Conv2D(
            filters,
            3,
            strides,
            padding=padding,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=bias_initializer,
            name=name,
        )
    depthwise = keras.layers.DepthwiseConv2D(
        3,
        strides,
        padding=padding,
        use_bias=False,
        # Each output sees 9 inputs: 9 * (1 / 3) ** 2 = 1 keeps the variance. Keras' own initializers count
        # 9 * channels inputs here and would shrink the signal by sqrt(channels) in every layer.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / 3),
        name=f"{name}_depthwise",
    )
    last = activation is None and use_bias
    pointwise = keras.layers.Conv2D(
        filters,
        1,
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01) if last else "he_normal",
        bias_initializer=bias_initializer,
        name=f"{name}_pointwise",
    )
    return lambda tensor: pointwise(depthwise(tensor))


def head_outputs(
    levels: list[tf.Tensor], settings: Head, *, anchors_per_cell: int, values: int, name: str, bias: float = 0.0
) -> tf.Tensor:
    """Applies one shared head to every level and returns `[batch, anchors, values]`, levels in order.

    `anchors` runs over level, row, column, anchor of the cell: the order of `AnchorGrid.boxes`. With `batch_norm:
    per_level` the convolutions stay shared and each level, numbered as in `levels`, has a BatchNorm behind each of
    them: features of different levels have different statistics. A GroupNorm (`group_norm`) is shared as well.

    Source of the norms: the code of EfficientDet and of Model Garden's RetinaNet; the paper's heads have none.
    """
    activation = settings.activation or usual_activation(settings.convolution)
    has_norms = settings.batch_norm == "per_level" or settings.group_norm > 0
    hidden: list[Apply] = [
        convolution(
            settings.width,
            settings.convolution,
            name=f"{name}_{index}",
            activation=None if has_norms else activation,
            bias=None if has_norms else 0.0,
        )
        for index in range(settings.convolutions)
    ]
    group_norms = [
        keras.layers.GroupNormalization(
            settings.group_norm, epsilon=settings.group_norm_epsilon, name=f"{name}_{index}_group_norm"
        )
        for index in range(settings.convolutions if settings.group_norm else 0)
    ]
    predict = convolution(anchors_per_cell * values, settings.convolution, name=f"{name}_prediction", bias=bias)
    rows = []
    for number, tensor in enumerate(levels):
        for index, layer in enumerate(hidden):
            tensor = layer(tensor)
            if has_norms:
                own = keras.layers.BatchNormalization(name=f"{name}_{index}_norm_{number}")
                tensor = (group_norms[index] if group_norms else own)(tensor)
                tensor = keras.layers.Activation(activation, name=f"{name}_{index}_{activation}_{number}")(tensor)
        tensor = predict(tensor)  # [batch, height, width, anchors_per_cell * values]
        rows.append(keras.layers.Reshape((-1, values), name=f"{name}_reshape_{number}")(tensor))
    if len(rows) == 1:
        return keras.layers.Activation("linear", name=name)(rows[0])
    return keras.layers.Concatenate(axis=1, name=name)(rows)


def prior_bias(prior: float) -> float:
    """Returns the logit of `prior`, the starting bias of the class head (paper section 4.1)."""
    return -math.log((1.0 - prior) / prior)


def detector_network(settings: Model, num_classes: int) -> keras.Model:
    """Builds the detector with random weights; frozen layers are already marked untrainable.

    Input `image` is float32 `[batch, height, width, 3]`, RGB in [-1, 1] (`DetectorSpec.pixel_mean`, `pixel_scale`).
    Outputs are `{"classes": [batch, anchors, num_classes] logits, "boxes": [batch, anchors, 4] deltas}`.
    There are no nested or subclassed models and no custom layers, so it loads and converts without our code.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4 and figure 3.
    """
    image = keras.Input((settings.input.height, settings.input.width, 3), name="image")
    features = backbone_features(image, settings.backbone)
    levels = feature_pyramid(features, settings.pyramid)
    per_cell = detector_spec(settings, ()).grid.per_cell
    bias = prior_bias(settings.head.prior)
    outputs = {
        "classes": head_outputs(
            levels, settings.head, anchors_per_cell=per_cell, values=num_classes, name="classes", bias=bias
        ),
        "boxes": head_outputs(levels, settings.head, anchors_per_cell=per_cell, values=4, name="boxes"),
    }
    model = keras.Model(image, outputs, name="retinanet")
    freeze(model, settings.backbone)
    return model
