"""Backbones: C3, C4 and C5 of an image."""

from keras_retina.model.backbones.build import (
    BACKBONES,
    backbone_features,
    backbone_layers,
    freeze,
    kind_of,
    stage_layers,
)

__all__ = ["BACKBONES", "backbone_features", "backbone_layers", "freeze", "kind_of", "stage_layers"]
