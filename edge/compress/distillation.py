"""Distillation: a smaller detector learns from the outputs of the float model, besides the labels.

The float model says of every anchor how sure it is and where the box is, on every augmented view: far more than the few
anchors that a label matches.
"""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses.boxes import MatchedBoxLoss
from keras_retina.train.batch_norm import fold_frozen_batch_norm

TEACHER_SCORE = 0.1
"""From this score on the teacher's box of an anchor is learnt; below, it was hardly trained."""
SHARPNESS = 2.0


def class_distillation(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """Returns `|p - q|^2` times the cross entropy of q against p, summed: p, q are the teacher's, the student's scores.

    The factor does what it does in the focal loss: the thousands of anchors on which both say background add nothing.
    The entropy of p is taken off, so that equal logits give zero.

    Args:
        teacher, student: logits `[batch, A, K]`.

    Source: Li et al., Generalized Focal Loss (quality focal loss), with the teacher's score as quality.
    """
    wanted = tf.sigmoid(teacher)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, teacher)
    excess = tf.nn.sigmoid_cross_entropy_with_logits(wanted, student) - entropy
    return tf.reduce_sum(tf.abs(wanted - tf.sigmoid(student)) ** SHARPNESS * excess)


class DistillationLoss(keras.layers.Layer):
    """The distillation loss of a batch, a scalar, from the student's logits and deltas and the teacher's.

    Classes learn from every anchor by `class_distillation`, boxes by the box loss of the recipe from the anchors of
    which the teacher is sure. Both are divided by the number of these anchors, at least 1.
    """

    def __init__(self, box_loss: MatchedBoxLoss) -> None:
        super().__init__(name="distillation", dtype="float32")
        self.box_loss = box_loss

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        classes, boxes, teacher_classes, teacher_boxes = inputs
        scores = tf.sigmoid(tf.reduce_max(teacher_classes, axis=-1))  # [batch, A]
        is_sure = tf.cast(scores >= TEACHER_SCORE, tf.float32)
        targets = tf.concat([teacher_boxes, is_sure[..., None]], axis=-1)  # as `targets` makes them
        box_loss = tf.reduce_sum(self.box_loss.of_anchors(targets, boxes))
        return (class_distillation(teacher_classes, classes) + box_loss) / tf.maximum(tf.reduce_sum(is_sure), 1.0)


def with_teacher(student: keras.Model, teacher: keras.Model, *, weight: float, box_loss: MatchedBoxLoss) -> keras.Model:
    """Returns a model for `fit` of the student's layers and outputs whose loss has `weight` x the distillation in it.

    The teacher becomes untrainable; it has the student's anchors and classes, and an input of the same size.

    Args:
        box_loss: of the recipe.
    """
    teacher.trainable = False
    wanted = fold_frozen_batch_norm(teacher)(student.inputs[0], training=False)
    found = student.output
    model = type(student)(student.inputs, found, name=student.name)  # with_box_quality stays
    outputs = [found["classes"], found["boxes"], wanted["classes"], wanted["boxes"]]
    model.add_loss(weight * DistillationLoss(box_loss)(outputs))
    return model
