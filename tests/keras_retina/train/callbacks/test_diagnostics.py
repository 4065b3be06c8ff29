"""Losses by level add up to the losses that training minimises."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import tf
from keras_retina.losses import BoxLoss, FocalLoss, detector_losses
from keras_retina.losses.quality import quality_targets
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import BoxLossName, ClassLossName, Loss
from keras_retina.train.callbacks.diagnostics import losses_per_level

PAIRS = [("smooth_l1", "focal"), ("giou", "ohem"), ("diou", "equalized_focal"), ("ciou", "quality_focal")]
SPEC = DetectorSpec(
    class_names=("a", "b"),
    height=64,
    width=96,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0, 1.3),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)


def random_batch(positives: int) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    generator = np.random.default_rng(0)
    anchors = len(SPEC.anchors())
    classes = generator.choice([-1, -2], (2, anchors)).astype(np.int32)
    boxes = np.zeros((2, anchors, 5), np.float32)
    for index in generator.choice(anchors, positives, replace=False):
        classes[1, index], boxes[1, index] = index % 2, [*generator.normal(size=4), 1.0]
    outputs = {"classes": generator.normal(size=(2, anchors, 2)), "boxes": generator.normal(size=(2, anchors, 4))}
    return (
        {"classes": tf.constant(classes), "boxes": tf.constant(boxes)},
        {name: tf.constant(value, tf.float32) for name, value in outputs.items()},
    )


def test_every_anchor_belongs_to_one_level():
    counts = SPEC.grid.per_level()
    assert counts == {3: 8 * 12 * 2, 4: 4 * 6 * 2, 5: 2 * 3 * 2}
    assert sum(counts.values()) == len(SPEC.anchors())


@pytest.mark.parametrize("positives", [0, 17])
@pytest.mark.parametrize(("box", "classes"), PAIRS)
def test_the_levels_add_up_to_the_losses_of_training(box: BoxLossName, classes: ClassLossName, positives: int):
    gamma = {"gamma": 1.5} if classes == "focal" else {}
    whole = detector_losses(Loss(classes=classes, box=box, box_weight=0.3, box_beta=0.2, **gamma), SPEC)
    wanted, outputs = random_batch(positives)
    counts = list(SPEC.grid.per_level().values())
    of_classes, of_boxes = losses_per_level(
        wanted,
        outputs,
        counts=counts,
        class_loss=whole["classes"],
        box_loss=whole["boxes"],
        coder_weights=SPEC.coder_weights,
    )
    assert of_classes.shape == of_boxes.shape == (3,)
    codes = wanted["classes"]
    if whole["classes"].needs_boxes:
        codes = quality_targets(wanted, outputs["boxes"], coder_weights=SPEC.coder_weights)
    expected_classes = whole["classes"](codes, outputs["classes"])
    expected_boxes = whole["boxes"](wanted["boxes"], outputs["boxes"])
    for name, levels, expected in (("classes", of_classes, expected_classes), ("boxes", of_boxes, expected_boxes)):
        assert float(tf.reduce_sum(levels)) == pytest.approx(float(expected), rel=1e-5), name


def test_a_positive_anchor_costs_on_its_own_level():
    wanted, outputs = random_batch(0)
    first_of_last_level = 8 * 12 * 2 + 4 * 6 * 2
    flags = np.zeros(wanted["boxes"].shape, np.float32)
    flags[0, first_of_last_level] = [1, 2, 3, 4, 1]
    counts = list(SPEC.grid.per_level().values())
    _, boxes = losses_per_level(
        {**wanted, "boxes": tf.constant(flags)},
        outputs,
        counts=counts,
        class_loss=FocalLoss(),
        box_loss=BoxLoss(),
        coder_weights=SPEC.coder_weights,
    )
    assert boxes.numpy()[:2].tolist() == [0, 0]
    assert boxes.numpy()[2] > 0
