"""What a smaller detector learns from the outputs of the float model."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.distillation import DistillationLoss, class_distillation, with_teacher
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.retinanet import detector_network


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_class_loss_is_the_squared_difference_times_the_divergence_by_hand():
    """Teacher 0.8, student 0.5: divergence 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.19274, times 0.3^2."""
    loss = class_distillation(tf.constant([[[logit(0.8)]]]), tf.constant([[[0.0]]]))
    assert float(loss) == pytest.approx(0.09 * 0.192745, abs=1e-6)


def test_equal_outputs_cost_nothing_and_have_no_gradient():
    logits = tf.constant(np.random.default_rng(1).normal(0, 6, (2, 5, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = class_distillation(tf.stop_gradient(logits), logits)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert np.abs(tape.gradient(loss, logits)).max() < 1e-6


def test_huge_logits_have_finite_loss_and_gradient():
    teacher, student = tf.constant([[[80.0, -80.0]]]), tf.constant([[[-80.0, 80.0]]])
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = class_distillation(teacher, student)
    assert float(loss) == pytest.approx(160.0, rel=1e-5)
    assert np.isfinite(tape.gradient(loss, student)).all()


def test_boxes_are_learnt_where_the_teacher_is_sure_by_hand():
    """Beyond a beta of 0.1 smooth L1 is |d| - 0.05; equal logits cost nothing; two of three anchors are sure."""
    scores = tf.constant([[[logit(0.9)], [logit(0.11)], [logit(0.09)]]])
    teacher, student = tf.zeros([1, 3, 4]), tf.constant([[[1.0, 0, 0, 0], [0, 0, 2.0, 0], [9.0, 9.0, 9.0, 9.0]]])
    loss = DistillationLoss(BoxLoss(beta=0.1, weight=2.0))([scores, student, scores, teacher])
    assert float(loss) == pytest.approx(2.0 * (0.95 + 1.95) / 2)


def test_a_teacher_that_is_sure_of_nothing_teaches_no_box():
    scores = tf.fill([1, 2, 1], logit(0.01))
    loss = DistillationLoss(BoxLoss())([scores, tf.ones([1, 2, 4]), scores, tf.zeros([1, 2, 4])])
    assert float(loss) == pytest.approx(0.0, abs=1e-9)


@pytest.fixture
def pair(tiny_recipe) -> tuple[keras.Model, keras.Model]:
    """A student and its teacher, whose scores of a start, 0.01 everywhere, are moved apart: something to learn."""
    keras.utils.set_random_seed(1)
    student, teacher = detector_network(tiny_recipe.model, 2), detector_network(tiny_recipe.model, 2)
    layer = teacher.get_layer("classes_prediction_pointwise")
    layer.bias.assign(layer.bias + tf.linspace(-2.0, 4.0, layer.bias.shape[0]))
    return student, teacher


def test_outputs_and_trainable_weights_are_those_of_the_student(pair):
    student, teacher = pair
    model = with_teacher(student, teacher, weight=1.0, box_loss=BoxLoss(weight=0.2))
    image = np.random.default_rng(1).uniform(-1, 1, (1, *student.input_shape[1:])).astype(np.float32)
    for name, values in student(image, training=False).items():
        np.testing.assert_array_equal(model(image, training=False)[name], values)
    assert [id(one) for one in model.trainable_variables] == [id(one) for one in student.trainable_variables]


def test_a_student_that_learns_from_nothing_else_comes_nearer_to_its_teacher(pair):
    student, teacher = pair
    image = np.random.default_rng(1).uniform(-1, 1, (2, *student.input_shape[1:])).astype(np.float32)
    anchors = student.output["classes"].shape[1]
    nothing = {"classes": np.full((2, anchors), -2), "boxes": np.zeros((2, anchors, 5), np.float32)}  # all ignored
    model = with_teacher(student, teacher, weight=1.0, box_loss=BoxLoss(weight=0.2))
    before = [values.copy() for values in teacher.get_weights()]
    model.compile(keras.optimizers.Adam(1e-2), {"classes": FocalLoss(), "boxes": BoxLoss(weight=0.2)})
    losses = model.fit(image, nothing, epochs=30, verbose=0).history
    assert losses["loss"][-1] < 0.2 * losses["loss"][0]
    assert losses["classes_loss"] == [0.0] * 30
    for values, kept in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, kept)


def test_twice_the_weight_is_twice_the_loss(pair):
    student, teacher = pair
    image = np.random.default_rng(2).uniform(-1, 1, (1, *student.input_shape[1:])).astype(np.float32)
    anchors = student.output["classes"].shape[1]
    targets = {"classes": np.full((1, anchors), -2), "boxes": np.zeros((1, anchors, 5))}
    losses = []
    for weight in (1.0, 2.0):
        model = with_teacher(student, teacher, weight=weight, box_loss=BoxLoss(weight=0.2))
        model.compile("sgd", {"classes": FocalLoss(), "boxes": BoxLoss(weight=0.2)})
        losses.append(model.evaluate(image, targets, verbose=0, return_dict=True)["loss"])
    assert losses[0] > 0 and losses[1] == pytest.approx(2 * losses[0], rel=1e-5)
