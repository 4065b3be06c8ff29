"""The learning rate at each update of a training."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.recipe import Training


def learning_rate_schedule(
    settings: Training, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up of at most half the training, then `training.schedule` down to its final fraction.

    `steps_per_epoch` counts batches; the schedule counts updates, of `accumulate_steps` batches each.
    """
    total = settings.epochs * steps_per_epoch // settings.accumulate_steps
    warmup = min(settings.warmup_steps, total // 2)
    if settings.decay_at is not None:
        boundaries = [max(1, round(fraction * total)) for fraction in settings.decay_at]
        factor = settings.final_learning_rate_fraction ** (1.0 / len(boundaries))
        return StepDecay(settings.learning_rate, boundaries, factor, warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, total - warmup),
        alpha=settings.final_learning_rate_fraction,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`rate * step / warmup` before step `warmup`, then `rate`, multiplied by `factor` from each of `boundaries` on."""

    def __init__(self, rate: float, boundaries: list[int], factor: float, warmup: int) -> None:
        super().__init__()
        self.rate, self.boundaries, self.factor, self.warmup = rate, list(boundaries), factor, warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        passed = tf.reduce_sum(tf.cast(step >= tf.constant(self.boundaries, tf.float32), tf.float32))
        ramp = tf.minimum(step / max(1, self.warmup), 1.0) if self.warmup else 1.0
        return self.rate * self.factor**passed * ramp

    def get_config(self) -> dict:
        return {"rate": self.rate, "boundaries": self.boundaries, "factor": self.factor, "warmup": self.warmup}
