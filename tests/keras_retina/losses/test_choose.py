"""The losses that a recipe names."""

from __future__ import annotations

from typing import get_args

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import FocalLoss, GIoULoss, OHEMLoss, detector_losses, importance_losses, network_for_losses
from keras_retina.losses.choose import BOX_LOSSES, CLASS_LOSSES
from keras_retina.losses.quality import BoxQualityModel
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import LOSS_SETTINGS, BoxLossName, ClassLossName, Loss

SPEC = DetectorSpec(
    class_names=("a", "b"),
    height=64,
    width=96,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0, 1.3),
    anchor_ratios=(1.0,),
    coder_weights=(1.0, 2.0, 3.0, 4.0),
)


def test_a_recipe_names_the_losses_that_there_are():
    assert set(get_args(ClassLossName)) == set(CLASS_LOSSES) == set(LOSS_SETTINGS)
    assert set(get_args(BoxLossName)) == set(BOX_LOSSES)


def test_the_loss_of_a_recipe_has_its_settings():
    giou = detector_losses(Loss(box="giou", box_weight=0.7, alpha=0.4, gamma=1.0), SPEC)
    assert isinstance(giou["boxes"], GIoULoss)
    assert (giou["boxes"].coder_weights, giou["boxes"].weight) == ((1.0, 2.0, 3.0, 4.0), 0.7)
    assert isinstance(giou["classes"], FocalLoss) and (giou["classes"].alpha, giou["classes"].gamma) == (0.4, 1.0)
    smooth = detector_losses(Loss(box_beta=0.3, box_weight=0.7), SPEC)["boxes"].get_config()
    assert (smooth["beta"], smooth["weight"]) == (0.3, 0.7)
    for box in ("diou", "ciou"):
        config = detector_losses(Loss(box=box, box_weight=0.7), SPEC)["boxes"].get_config()
        assert (config["coder_weights"], config["weight"], config["grid"]["height"]) == ([1.0, 2.0, 3.0, 4.0], 0.7, 64)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"classes": "cross_entropy"}, {"alpha": None}),
        ({"classes": "cross_entropy", "alpha": 0.75}, {"alpha": 0.75}),
        ({"classes": "focal_star", "gamma": 4.0, "star_beta": 0.0}, {"alpha": 0.25, "gamma": 4.0, "beta": 0.0}),
        ({"classes": "automated_focal", "gamma_decay": 0.5}, {"alpha": 0.25, "decay": 0.5}),
        ({"classes": "equalized_focal", "gamma_scale": 4.0}, {"classes": 2, "alpha": 0.25, "gamma": 2.0, "scale": 4.0}),
        ({"classes": "quality_focal", "gamma": 1.5}, {"beta": 1.5}),
        ({"classes": "varifocal"}, {"alpha": 0.75, "gamma": 2.0}),
        ({"classes": "ohem", "hard_anchors": 64, "hard_iou": 0.7, "hard_negatives": 3.0},
         {"keep": 64, "iou": 0.7, "negatives": 3.0}),
    ],
)  # fmt: skip
def test_each_loss_of_classes_gets_its_settings(settings, expected):
    loss = Loss(**settings)
    config = detector_losses(loss, SPEC)["classes"].get_config()
    assert {name: config[name] for name in expected} == expected
    assert Loss(**loss.model_dump()) == loss  # a recipe that was written reads back


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"classes": "cross_entropy", "gamma": 1.0},
            "settings of cross_entropy: alpha. Received: gamma=1.0. Remove it, or set 2.0",
        ),
        ({"star_beta": 0.0}, "settings of focal: alpha, gamma. Received: star_beta=0.0"),
        ({"classes": "ohem", "alpha": 0.5}, "Received: alpha=0.5"),
        ({"classes": "automated_focal", "gamma": 3.0}, "Received: gamma=3.0"),
        ({"classes": "focal_star", "gamma": 0.0}, "focal_star needs a gamma above 0. Received: gamma=0.0"),
        ({"classes": "quality_focal", "gamma": 0.5}, "gamma of 1 or more. Received: gamma=0.5"),
        ({"classes": "varifocal", "alpha": None}, "varifocal needs an alpha. Received: alpha=None"),
        ({"classes": ["focal"]}, "classes: "),
        ({"classes": "automated_focal", "gamma_decay": 0.99995}, "gamma_decay: "),
    ],
)
def test_settings_of_another_loss_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Loss(**settings)


def test_losses_that_need_boxes_get_a_network_that_gives_them_and_the_others_keep_theirs():
    inputs = keras.Input((2,))
    network = keras.Model(inputs, {"classes": inputs + 0.0, "boxes": inputs + 1.0})
    assert network_for_losses(network, Loss(), SPEC) is network
    for name in ("quality_focal", "varifocal"):
        assert isinstance(network_for_losses(network, Loss(classes=name), SPEC), BoxQualityModel)


def test_weights_are_ranked_by_a_loss_of_plain_outputs_without_a_state():
    for name in ("quality_focal", "varifocal", "automated_focal", "equalized_focal"):
        assert isinstance(importance_losses(Loss(classes=name), SPEC)["classes"], FocalLoss)
    assert isinstance(importance_losses(Loss(classes="ohem"), SPEC)["classes"], OHEMLoss)
