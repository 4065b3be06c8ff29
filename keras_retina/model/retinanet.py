"""The detector as one flat functional Keras model."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras
from keras_retina.geometry.anchors import anchors_per_cell
from keras_retina.model.backbones import backbone_features, freeze
from keras_retina.model.heads import head_outputs, prior_bias
from keras_retina.model.pyramid import feature_pyramid
from keras_retina.recipe.recipe import Model


def retinanet(settings: Model, num_classes: int) -> keras.Model:
    """Builds the detector with random weights; frozen layers are already marked untrainable.

    Input `image` is float32 `[batch, height, width, 3]`, RGB in [-1, 1] (`DetectorSpec.pixel_mean`, `pixel_scale`).
    Outputs are `{"classes": [batch, anchors, num_classes] logits, "boxes": [batch, anchors, 4] deltas}`.
    There are no nested or subclassed models and no custom layers, so it loads and converts without our code.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4 and figure 3.
    """
    image = keras.Input((settings.input.height, settings.input.width, 3), name="image")
    features = backbone_features(image, settings.backbone)
    levels = feature_pyramid(features, settings.pyramid)
    per_cell = anchors_per_cell(settings.anchors.scales, settings.anchors.ratios)
    bias = prior_bias(settings.head.prior)
    outputs = {
        "classes": head_outputs(levels, settings.head, per_cell, num_classes, "classes", bias),
        "boxes": head_outputs(levels, settings.head, per_cell, 4, "boxes"),
    }
    model = keras.Model(image, outputs, name="retinanet")
    freeze(model, settings.backbone)
    return model
