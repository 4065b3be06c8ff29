"""Feature pyramid: lateral 1x1 convolutions, top-down sums, and strided convolutions for the levels above C5."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.layers import convolution
from keras_retina.recipe.recipe import Pyramid


def feature_pyramid(features: dict[int, tf.Tensor], settings: Pyramid) -> list[tf.Tensor]:
    """Returns P_first .. P_last, each `[batch, H / 2**level, W / 2**level, width]`.

    P3..P5 are lateral(C) + upsampled P above, then a 3x3 convolution; P6 is a strided 3x3 convolution of C5 (of P5 in
    the separable form, which has fewer channels) and P7 of relu(P6). There is no BatchNorm: with the few hundred
    steps of a fine-tune its statistics on P6 and P7 lag behind the weights.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4, footnote 2.
    """
    first, last = settings.levels
    activation = "relu" if settings.convolution == "full" else "relu6"
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
    outputs = {level: _smooth(merged[level], settings, activation, level) for level in range(first, 6)}
    if last >= 6:
        source = features[5] if settings.convolution == "full" else merged[5]
        outputs[6] = _strided(source, settings, 6)
    if last >= 7:
        active = keras.layers.Activation(activation, name="pyramid_activation_6")(outputs[6])
        outputs[7] = _strided(active, settings, 7)
    return [outputs[level] for level in range(first, last + 1)]


def _smooth(tensor: tf.Tensor, settings: Pyramid, activation: str, level: int) -> tf.Tensor:
    if settings.convolution == "full":
        layer = keras.layers.Conv2D(settings.width, 3, padding="same", name=f"pyramid_output_{level}")
        return layer(tensor)
    return convolution(settings.width, "separable", f"pyramid_output_{level}", activation=activation)(tensor)


def _strided(tensor: tf.Tensor, settings: Pyramid, level: int) -> tf.Tensor:
    if settings.convolution == "full":
        layer = keras.layers.Conv2D(settings.width, 3, 2, padding="same", name=f"pyramid_output_{level}")
        return layer(tensor)
    return convolution(settings.width, "separable", f"pyramid_output_{level}", strides=2, activation="relu6")(tensor)
