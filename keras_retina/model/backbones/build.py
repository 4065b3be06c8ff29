"""Every backbone by its name, built flat on our own input, cut at the pyramid levels, and frozen by stages."""

from __future__ import annotations

from itertools import pairwise

from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones.darknets import DARKNETS
from keras_retina.model.backbones.efficientnets import EFFICIENTNETS
from keras_retina.model.backbones.kind import BackboneKind
from keras_retina.model.backbones.mobilenets import MOBILENETS
from keras_retina.model.backbones.mobilenets_v3 import MOBILENETS_V3
from keras_retina.model.backbones.resnets import RESNETS
from keras_retina.model.backbones.transformers import TRANSFORMERS
from keras_retina.recipe.model import Backbone

BACKBONES: dict[str, BackboneKind] = {
    **MOBILENETS,
    **MOBILENETS_V3,
    **EFFICIENTNETS,
    **RESNETS,
    **DARKNETS,
    **TRANSFORMERS,
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


def stage_layers(model: keras.Model, settings: Backbone) -> list[list[keras.layers.Layer]]:
    """Returns the layers of the five stages of the backbone inside a detector, the stem first, in graph order."""
    layers = backbone_layers(model, settings)
    names = [layer.name for layer in layers]
    bounds = [0, *(names.index(stage) for stage in kind_of(settings).stages), len(names)]
    return [layers[first:last] for first, last in pairwise(bounds)]


def freeze(model: keras.Model, settings: Backbone) -> None:
    """Makes the first `frozen_stages` stages untrainable, and every BatchNorm for `batch_norm: frozen`.

    An untrainable BatchNorm runs in inference mode in Keras, also during `fit`. Gradients are not propagated through
    stages that hold no trainable weight, which is what makes frozen early stages cheap.
    """
    for number, layers in enumerate(stage_layers(model, settings)):
        for layer in layers:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            is_frozen = number < settings.frozen_stages or (is_norm and settings.batch_norm == "frozen")
            layer.trainable = not is_frozen
