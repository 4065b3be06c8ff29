"""What TensorBoard shows besides the loss: the levels it arises on, how many anchors learn, what scores look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.matching import BACKGROUND
from keras_retina.losses.boxes import MatchedBoxLoss
from keras_retina.losses.dense import ClassLoss
from keras_retina.losses.quality import quality_targets
from keras_retina.model.spec import DetectorSpec


def losses_per_level(
    wanted: dict[str, tf.Tensor],
    outputs: dict[str, tf.Tensor],
    *,
    counts: Sequence[int],
    class_loss: ClassLoss,
    box_loss: MatchedBoxLoss,
    coder_weights: Sequence[float],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns class and box loss of each level, `[levels]` each; their sums are the losses of the batch.

    Args:
        wanted: targets of `keras_retina.geometry.matching.targets`, batched.
        outputs: logits `[batch, A, K]` and deltas `[batch, A, 4]`.
        counts: anchors of each level, together A.
        class_loss, box_loss: those of the training.
        coder_weights: those of the deltas.
    """
    positives = tf.maximum(tf.reduce_sum(tf.cast(wanted["classes"] >= 0, tf.float32)), 1.0)
    codes = wanted["classes"]
    if class_loss.needs_boxes:
        codes = quality_targets(wanted, outputs["boxes"], coder_weights=coder_weights)
    of_classes, count = class_loss.of_anchors(codes, outputs["classes"])
    of_boxes = box_loss.of_anchors(wanted["boxes"], tf.cast(outputs["boxes"], tf.float32))

    def by_level(losses: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.reduce_sum(part) for part in tf.split(losses, list(counts), axis=1)])

    return by_level(of_classes) / tf.maximum(count, 1.0), by_level(of_boxes) / positives


class Diagnostics(keras.callbacks.Callback):
    """Writes the losses of each level, positive anchors an image and histograms of the scores, every few epochs.

    All are of one fixed batch of training samples, in inference mode, with the weights of that step.
    """

    def __init__(
        self, batch: tuple[tf.Tensor, dict[str, tf.Tensor]], spec: DetectorSpec, *, every: int, writer: Any
    ) -> None:
        super().__init__()
        self.batch, self.every, self.writer = batch, every, writer
        self.counts, self.coder_weights = spec.grid.per_level(), spec.coder_weights

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        images, wanted = self.batch
        outputs = self.model(images, training=False)
        counts = list(self.counts.values())
        class_loss, box_loss = self.model.loss["classes"], self.model.loss["boxes"]
        losses = losses_per_level(
            wanted,
            outputs,
            counts=counts,
            class_loss=class_loss,
            box_loss=box_loss,
            coder_weights=self.coder_weights,
        )
        is_positive = wanted["classes"] >= 0
        scores = tf.sigmoid(tf.reduce_max(outputs["classes"], axis=-1))  # [batch, A]
        with self.writer.as_default(step=epoch + 1):
            for name, values in zip(("classes", "boxes"), losses, strict=True):
                for level, value in zip(self.counts, tf.unstack(values), strict=True):
                    tf.summary.scalar(f"levels/{name}_P{level}", value)
            positives = tf.reduce_sum(tf.cast(is_positive, tf.float32), axis=1)  # [batch]
            tf.summary.scalar("anchors/positive_per_image", tf.reduce_mean(positives))
            tf.summary.histogram("scores/positive_anchors", tf.boolean_mask(scores, is_positive))
            tf.summary.histogram("scores/background_anchors", tf.boolean_mask(scores, wanted["classes"] == BACKGROUND))
