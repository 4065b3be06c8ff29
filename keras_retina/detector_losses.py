"""The losses that a recipe asks for, as `compile` takes them."""

from __future__ import annotations

from collections.abc import Sequence

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.iou_loss import GIoULoss, giou_loss
from keras_retina.losses import BoxLoss, FocalLoss, box_loss
from keras_retina.recipe.recipe import Loss


def detector_losses(settings: Loss, coder_weights: Sequence[float]) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output of the detector: `compile(loss=detector_losses(...))`."""
    boxes = (
        GIoULoss(coder_weights, settings.box_weight)
        if settings.box == "giou"
        else BoxLoss(settings.box_beta, settings.box_weight)
    )
    return {"classes": FocalLoss(settings.alpha, settings.gamma), "boxes": boxes}


def box_loss_of_images(
    settings: Loss, coder_weights: Sequence[float], targets: tf.Tensor, deltas: tf.Tensor
) -> tf.Tensor:
    """Returns the box loss of each image, `[batch]`: weighted, and not divided by the number of positive anchors."""
    if settings.box == "giou":
        return settings.box_weight * giou_loss(targets, deltas, coder_weights)
    return settings.box_weight * box_loss(targets, deltas, settings.box_beta)
