"""The losses that a recipe names, for the outputs of a detector."""

from __future__ import annotations

from collections.abc import Callable

from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses.adaptive import AutomatedFocalLoss, EqualizedFocalLoss
from keras_retina.losses.boxes import BoxLoss, CIoULoss, DIoULoss, GIoULoss, MatchedBoxLoss
from keras_retina.losses.dense import ClassLoss
from keras_retina.losses.focal import CrossEntropyLoss, FocalLoss, FocalStarLoss
from keras_retina.losses.mining import OHEMLoss
from keras_retina.losses.quality import QualityFocalLoss, VarifocalLoss, with_box_quality
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import Loss

CLASS_LOSSES: dict[str, Callable[[Loss, DetectorSpec], ClassLoss]] = {
    "focal": lambda settings, spec: FocalLoss(settings.alpha, settings.gamma),
    "cross_entropy": lambda settings, spec: CrossEntropyLoss(settings.alpha),
    "focal_star": lambda settings, spec: FocalStarLoss(settings.alpha, settings.gamma, beta=settings.star_beta),
    "ohem": lambda settings, spec: OHEMLoss(
        spec.grid, settings.hard_anchors, iou=settings.hard_iou, negatives=settings.hard_negatives
    ),
    "automated_focal": lambda settings, spec: AutomatedFocalLoss(settings.alpha, settings.gamma_decay),
    "equalized_focal": lambda settings, spec: EqualizedFocalLoss(
        len(spec.class_names), settings.alpha, gamma=settings.gamma, scale=settings.gamma_scale
    ),
    "quality_focal": lambda settings, spec: QualityFocalLoss(spec.coder_weights, settings.gamma),
    "varifocal": lambda settings, spec: VarifocalLoss(spec.coder_weights, settings.alpha or 0.0, gamma=settings.gamma),
}
"""The loss of the classes by its name in a recipe, made from the section `loss` and the detector."""

BOX_LOSSES: dict[str, Callable[[Loss, DetectorSpec], MatchedBoxLoss]] = {
    "smooth_l1": lambda settings, spec: BoxLoss(settings.box_beta, settings.box_weight),
    "giou": lambda settings, spec: GIoULoss(spec.coder_weights, settings.box_weight),
    "diou": lambda settings, spec: DIoULoss(spec.grid, spec.coder_weights, weight=settings.box_weight),
    "ciou": lambda settings, spec: CIoULoss(spec.grid, spec.coder_weights, weight=settings.box_weight),
}
"""The loss of the boxes by its name in a recipe, made in the same way."""


def detector_losses(settings: Loss, spec: DetectorSpec) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output: `compile(loss=detector_losses(...))` of a model of `network_for_losses`."""
    return {
        "classes": CLASS_LOSSES[settings.classes](settings, spec),
        "boxes": BOX_LOSSES[settings.box](settings, spec),
    }


def network_for_losses(network: keras.Model, settings: Loss, spec: DetectorSpec) -> keras.Model:
    """Returns the network to compile: itself, or one of the same layers whose class loss needs the boxes."""
    return with_box_quality(network) if CLASS_LOSSES[settings.classes](settings, spec).needs_boxes else network


def importance_losses(settings: Loss, spec: DetectorSpec) -> dict[str, keras.losses.Loss]:
    """Returns losses of plain outputs, to rank weights and channels by.

    For the classes it is the focal loss where that of the recipe needs boxes, or follows the training: rankings look at
    one image after the other, and must not depend on their order.
    """
    losses = detector_losses(settings, spec)
    classes = losses["classes"]
    return {**losses, "classes": FocalLoss()} if classes.needs_boxes or classes.state else losses
