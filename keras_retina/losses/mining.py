"""Online hard example mining, which the paper compares the focal loss with: a few hard anchors, and no others."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.matching import IGNORED
from keras_retina.losses.dense import ClassLoss, check_number, class_codes, sum_over_classes
from keras_retina.losses.focal import focal_terms

CANDIDATES = 32
"""Hardest anchors of an image that non-maximum suppression looks at for each one that it may keep."""
LEAST_CANDIDATES = 4096


def hard_anchors(
    losses: tf.Tensor, codes: tf.Tensor, *, anchors: tf.Tensor, keep: int, iou: float, negatives: float | None
) -> tf.Tensor:
    """Returns which anchors of one image are learnt from, bool `[A]`.

    The hardest anchor is kept and those that overlap it by more than `iou` are dropped, and so on. With `negatives`,
    positive and background anchors are chosen apart: at most `keep / (1 + negatives)` positives, and `negatives` times
    as many of the background as there are; an image without a positive gives its share of background alone.

    Args:
        losses: float32 `[A]`.
        codes: int32 `[A]`, class, `BACKGROUND` or `IGNORED`, which is never chosen.
        anchors: float32 `[A, 4]`.
        keep: most anchors.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, section 4; the
    ratio is that of SSD.
    """

    def hardest(allowed: tf.Tensor, most: int) -> tf.Tensor:
        candidates = tf.minimum(max(LEAST_CANDIDATES, CANDIDATES * most), tf.size(losses))
        found, places = tf.math.top_k(tf.where(allowed, losses, -1.0), candidates)
        kept = tf.image.non_max_suppression(tf.gather(anchors, places), found, most, iou, score_threshold=-0.5)
        return tf.gather(places, kept)

    if negatives is None:
        chosen = hardest(codes != IGNORED, keep)
    else:
        most_positives = max(1, round(keep / (1.0 + negatives)))
        positives = hardest(codes >= 0, most_positives)
        wanted = tf.cast(tf.math.ceil(negatives * tf.cast(tf.size(positives), tf.float32)), tf.int32)
        rest = keep - most_positives
        background = hardest((codes < 0) & (codes != IGNORED), rest)
        background = background[: tf.where(tf.size(positives) > 0, tf.minimum(wanted, rest), rest)]
        chosen = tf.concat([positives, background], axis=0)
    return tf.scatter_nd(chosen[:, None], tf.ones_like(chosen), tf.shape(losses)) > 0


@keras.saving.register_keras_serializable(package="keras_retina")
class OHEMLoss(ClassLoss):
    """Cross entropy of the hardest anchors of each image, divided by the number of these anchors in the global batch.

    Inputs are those of `FocalLoss`; `hard_anchors` says which anchors are chosen.

    Args:
        grid: the anchors of the detector.
        keep: most anchors of an image.
        iou: an anchor that overlaps a harder one by more is dropped.
        negatives: background anchors for each positive one; None chooses by the loss alone.

    Raises:
        InputError: nothing to keep, an IoU outside 0..1, or a ratio that is not above 0.

    Source: Focal Loss for Dense Object Detection, section 5.1 (FL vs. OHEM).
    """

    def __init__(
        self,
        grid: AnchorGrid | dict[str, Any],
        keep: int = 128,
        *,
        iou: float = 0.5,
        negatives: float | None = None,
        name: str = "ohem_loss",
    ) -> None:
        check_number(self, "keep", keep, least=2, usual="128")
        check_number(self, "iou", iou, least=0, most=1, usual="0.5")
        if negatives is not None:
            check_number(self, "negatives", negatives, least=0.01, usual="3")
        super().__init__(name)
        self.grid = grid if isinstance(grid, AnchorGrid) else AnchorGrid(**grid)
        self.keep, self.iou, self.negatives = int(keep), iou, negatives

    def of_anchors(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        codes, logits = class_codes(y_true), tf.cast(y_pred, tf.float32)
        losses = sum_over_classes(focal_terms, logits, codes, 1.0, 1.0, 0.0)
        anchors = tf.constant(self.grid.boxes())

        def chosen(image: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return hard_anchors(
                image[0], image[1], anchors=anchors, keep=self.keep, iou=self.iou, negatives=self.negatives
            )

        hard = tf.map_fn(chosen, (tf.stop_gradient(losses), codes), fn_output_signature=tf.bool)
        return tf.where(hard, losses, 0.0), tf.reduce_sum(tf.cast(hard, tf.float32))

    def get_config(self) -> dict:
        return {
            "grid": asdict(self.grid),
            "keep": self.keep,
            "iou": self.iou,
            "negatives": self.negatives,
            "name": self.name,
        }
