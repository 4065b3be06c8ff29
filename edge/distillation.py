"""Distillation: a smaller detector learns from the outputs of the float model, besides the labels.

The float model says of every anchor how sure it is and where the box is, on every augmented view: far more than the few
anchors that a label matches.
"""

from __future__ import annotations

from keras_retina.legacy_keras import keras, tf
from keras_retina.losses import smooth_l1
from keras_retina.model.folding import fold_frozen_batch_norm

DELTA_BETA = 0.1
SHARPNESS = 2.0


def class_distillation(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """Returns `|p - q|^2` times the cross entropy of q against p, summed: p, q are the teacher's, the student's scores.

    The factor does what it does in the focal loss: the thousands of anchors on which both say background add nothing.
    The entropy of p is taken off, so that equal logits give zero.

    Args:
        teacher, student: logits `[batch, A, K]`.

    Source: Li et al., Generalized Focal Loss, equation 5 (quality focal loss), with the teacher's score as quality.
    """
    wanted = tf.sigmoid(teacher)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, teacher)
    excess = tf.nn.sigmoid_cross_entropy_with_logits(wanted, student) - entropy
    return tf.reduce_sum(tf.abs(wanted - tf.sigmoid(student)) ** SHARPNESS * excess)


def box_distillation(teacher: tf.Tensor, student: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Returns smooth L1 between the deltas, each anchor times the teacher's score, summed.

    Args:
        teacher, student: deltas `[batch, A, 4]`.
        scores: the teacher's best score of each anchor, `[batch, A]`, 0..1.
    """
    return tf.reduce_sum(scores[..., None] * smooth_l1(student - teacher, DELTA_BETA))


class DistillationLoss(keras.layers.Layer):
    """The distillation loss of a batch, a scalar, from the student's logits and deltas and the teacher's.

    Divided by the sum of the teacher's best scores, at least 1: its count of positive anchors.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        classes, boxes, teacher_classes, teacher_boxes = inputs
        scores = tf.sigmoid(tf.reduce_max(teacher_classes, axis=-1))  # [batch, A]
        loss = class_distillation(teacher_classes, classes) + box_distillation(teacher_boxes, boxes, scores)
        return loss / tf.maximum(tf.reduce_sum(scores), 1.0)


def with_teacher(student: keras.Model, teacher: keras.Model, weight: float) -> keras.Model:
    """Returns a model for `fit` of the student's layers and outputs whose loss has `weight` x the distillation in it.

    The teacher becomes untrainable; it has the student's anchors and classes, and an input of the same size.
    """
    teacher.trainable = False
    wanted = fold_frozen_batch_norm(teacher)(student.inputs[0], training=False)
    found = student.output
    model = keras.Model(student.inputs, found, name=student.name)
    outputs = [found["classes"], found["boxes"], wanted["classes"], wanted["boxes"]]
    model.add_loss(weight * DistillationLoss(name="distillation", dtype="float32")(outputs))
    return model
