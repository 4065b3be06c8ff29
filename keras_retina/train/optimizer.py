"""The optimiser of a recipe, and one that gathers the gradients of several batches for each of its updates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.recipe import Training
from keras_retina.train.unfreezing import unfreezing


def learning_rate_schedule(settings: Training, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up of at most half the training, then `training.schedule` down to its final fraction.

    `steps_per_epoch` counts batches; the schedule counts updates, of `accumulate_steps` batches each.
    """
    return _schedule(settings, settings.epochs * steps_per_epoch // settings.accumulate_steps)


def _schedule(settings: Training, total: Any) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the schedule of `total` updates: a number, or an int32 tensor that is read at each step."""
    is_known = isinstance(total, int)
    lower, higher = (min, max) if is_known else (tf.minimum, tf.maximum)
    warmup = lower(settings.warmup_steps, total // 2) if settings.warmup_steps else 0
    if settings.decay_at is not None:
        whole = round if is_known else lambda number: tf.cast(tf.round(number), tf.int32)
        length = total if is_known else tf.cast(total, tf.float32)
        boundaries = [higher(1, whole(fraction * length)) for fraction in settings.decay_at]
        factor = settings.final_learning_rate_fraction ** (1.0 / len(boundaries))
        return StepDecay(settings.learning_rate, boundaries, factor, warmup)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if settings.warmup_steps else settings.learning_rate,
        decay_steps=higher(1, total - warmup),
        alpha=settings.final_learning_rate_fraction,
        warmup_target=settings.learning_rate if settings.warmup_steps else None,
        warmup_steps=warmup,
    )


class OfChangingLength(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule of a recipe over a number of epochs that may change while it runs: the variable `epochs`."""

    def __init__(self, settings: Training, steps_per_epoch: int) -> None:
        super().__init__()
        self.settings, self.steps_per_epoch = settings, steps_per_epoch
        self.epochs = tf.Variable(settings.epochs, dtype=tf.int32, trainable=False)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        total = self.epochs * self.steps_per_epoch // self.settings.accumulate_steps
        return _schedule(self.settings, total)(step)

    def get_config(self) -> dict:
        return {"settings": self.settings, "steps_per_epoch": self.steps_per_epoch}


def set_epochs(optimizer: keras.optimizers.Optimizer, epochs: int) -> None:
    """Makes the schedule of a training of `training.minutes` end after so many epochs."""
    getattr(optimizer, "inner_optimizer", optimizer)._learning_rate.epochs.assign(epochs)


def hold_frozen(
    optimizer: keras.optimizers.Optimizer,
    starts: Sequence[tuple[tf.Variable, float]],
    *,
    settings: Training,
    steps_per_epoch: int,
) -> None:
    """Holds variables of an optimiser of `unfreeze_at` until their share of the training is over."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = inner._learning_rate

    def updates() -> Any:
        epochs = schedule.epochs if isinstance(schedule, OfChangingLength) else settings.epochs
        return epochs * steps_per_epoch // settings.accumulate_steps

    inner.hold(starts, updates=updates)


class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`rate * step / warmup` before step `warmup`, then `rate`, multiplied by `factor` from each of `boundaries` on.

    Steps are numbers or tensors.
    """

    def __init__(self, rate: float, boundaries: list[Any], factor: float, warmup: Any) -> None:
        super().__init__()
        self.rate, self.boundaries, self.factor, self.warmup = rate, list(boundaries), factor, warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        boundaries = tf.stack([tf.cast(one, tf.float32) for one in self.boundaries])
        passed = tf.reduce_sum(tf.cast(step >= boundaries, tf.float32))
        warmup = tf.cast(self.warmup, tf.float32)
        ramp = tf.where(step < warmup, step / tf.maximum(warmup, 1.0), 1.0)
        return self.rate * self.factor**passed * ramp

    def get_config(self) -> dict:
        return {"rate": self.rate, "boundaries": self.boundaries, "factor": self.factor, "warmup": self.warmup}


def build_optimizer(settings: Training, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Returns the optimiser with its schedule. Weight decay is decoupled and leaves biases and BatchNorm alone.

    `steps_per_epoch` counts batches. The optimiser's `iterations`, and with them schedule, warm-up, momentum and weight
    average, count updates: one for each `accumulate_steps` batches.
    """
    average = settings.weight_average
    schedule = OfChangingLength if settings.minutes is not None else learning_rate_schedule
    common: dict[str, Any] = {
        "learning_rate": schedule(settings, steps_per_epoch),
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm,
        "use_ema": average is not None,
        "ema_momentum": average if average is not None else 0.99,
        "jit_compile": False,  # XLA makes depthwise convolutions on the CPU many times slower
    }
    if settings.accumulate_steps > 1:
        common["accumulate_steps"] = settings.accumulate_steps
        sgd, adam, adamw = AccumulatingSGD, AccumulatingAdam, AccumulatingAdamW
    else:
        sgd, adam, adamw = keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.AdamW
    if settings.unfreeze_at:
        sgd, adam, adamw = unfreezing(sgd), unfreezing(adam), unfreezing(adamw)
    if settings.optimizer == "adamw":
        # AdamW refuses to go without decay; then it is Adam.
        optimizer = adamw(**common) if settings.weight_decay else adam(**common)
    else:
        optimizer = sgd(momentum=settings.momentum, **common)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class Accumulation:
    """Stands before a Keras optimiser: one update, with the mean gradient, for every `accumulate_steps` batches.

    The mean over the batches is followed. The losses are normalised by the positive anchors of each batch, so a batch
    with few of them weighs as much as one with many: with equal counts, N batches give the update of one batch N times
    as large, otherwise nearly so. Clipping is applied to the mean; decay, moments and the weight average move only with
    an update. Sums and their count are optimiser variables: a checkpoint between two updates is continued exactly.
    """

    def __init__(self, accumulate_steps: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.accumulate_steps = accumulate_steps

    def build(self, variables: Iterable[tf.Variable]) -> None:
        super().build(variables)  # type: ignore[misc]
        if hasattr(self, "gathered"):
            return
        self.gathered = self.add_variable([], tf.int64, name="gathered")  # type: ignore[attr-defined]
        self.gradient_sums = [
            self.add_variable_from_reference(variable, "gradient_sum")  # type: ignore[attr-defined]
            for variable in variables
        ]

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[tf.Tensor | None, tf.Variable]],
        name: str | None = None,
        *,
        skip_gradients_aggregation: bool = False,
    ) -> tf.Variable:
        pairs = list(grads_and_vars)
        with tf.init_scope():
            self.build([variable for _, variable in pairs])
        if not skip_gradients_aggregation:
            pairs = self.aggregate_gradients(pairs)  # type: ignore[attr-defined]
        variables = [variable for gradient, variable in pairs if gradient is not None]
        sums = [self.gradient_sums[self._index_dict[self._var_key(variable)]] for variable in variables]  # type: ignore[attr-defined]
        for total, gradient in zip(sums, [gradient for gradient, _ in pairs if gradient is not None], strict=True):
            total.assign_add(gradient)
        self.gathered.assign_add(1)
        apply = super().apply_gradients  # type: ignore[misc]

        def update() -> None:
            means = [total / self.accumulate_steps for total in sums]
            apply(zip(means, variables, strict=True), name, skip_gradients_aggregation=True)
            for total in sums:
                total.assign(tf.zeros_like(total))
            self.gathered.assign(0)

        def update_when_all_are_there(strategy: tf.distribute.Strategy) -> None:
            is_last = self.gathered >= self.accumulate_steps
            tf.cond(is_last, lambda: strategy.extended.call_for_each_replica(update), lambda: None)

        # The condition stands outside the replicas: under a MirroredStrategy, a branch cannot wait for the others.
        tf.distribute.get_replica_context().merge_call(update_when_all_are_there)
        return self.iterations  # type: ignore[attr-defined]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"accumulate_steps": self.accumulate_steps}  # type: ignore[misc]


class AccumulatingSGD(Accumulation, keras.optimizers.SGD):
    """SGD with momentum on the mean of several batches."""


class AccumulatingAdam(Accumulation, keras.optimizers.Adam):
    """Adam on the mean of several batches."""


class AccumulatingAdamW(Accumulation, keras.optimizers.AdamW):
    """AdamW on the mean of several batches."""
