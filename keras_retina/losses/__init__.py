"""Losses of classes and boxes, plain Keras losses: `compile(loss={"classes": FocalLoss(), "boxes": BoxLoss()})`."""

from keras_retina.losses.adaptive import AutomatedFocalLoss, EqualizedFocalLoss
from keras_retina.losses.boxes import BoxLoss, CIoULoss, DIoULoss, GIoULoss
from keras_retina.losses.choose import detector_losses, importance_losses, network_for_losses
from keras_retina.losses.focal import CrossEntropyLoss, FocalLoss, FocalStarLoss, focal_loss
from keras_retina.losses.mining import OHEMLoss
from keras_retina.losses.quality import QualityFocalLoss, VarifocalLoss, with_box_quality

__all__ = [
    "AutomatedFocalLoss",
    "BoxLoss",
    "CIoULoss",
    "CrossEntropyLoss",
    "DIoULoss",
    "EqualizedFocalLoss",
    "FocalLoss",
    "FocalStarLoss",
    "GIoULoss",
    "OHEMLoss",
    "QualityFocalLoss",
    "VarifocalLoss",
    "detector_losses",
    "focal_loss",
    "importance_losses",
    "network_for_losses",
    "with_box_quality",
]
