"""The section `training` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_retina.recipe.section import Count, Fraction, Inside, Positive, Section

BoxLossName = Literal["smooth_l1", "giou"]


class Matching(Section):
    """Paper section 4: positive at IoU 0.5, background under 0.4, ignored between; `force` gives each box an anchor."""

    positive: Fraction = 0.5
    negative: Fraction = 0.4
    force: bool = True

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Matching:
        if self.negative > self.positive:
            raise ValueError(
                f"expected negative <= positive. Received: negative={self.negative}, positive={self.positive}. "
                "Use 0.4 and 0.5"
            )
        return self


class Loss(Section):
    """Focal loss (paper equation 5) and the box loss times `box_weight`: `smooth_l1` of the deltas, or `giou`.

    The coder's weights make the deltas, and so smooth L1 with its transition point `box_beta`, 5 to 10 times the
    paper's: hence a weight under 1. GIoU is 0 to 2 whatever the coder; 1 is about right for it.
    """

    alpha: Fraction | None = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    box: BoxLossName = "smooth_l1"
    box_beta: Annotated[float, Field(ge=0)] = 0.1
    box_weight: Positive = 0.2


class EarlyStop(Section):
    """Stops when the validation AP has not risen for `patience` evaluations."""

    patience: Count = 5


class Training(Section):
    """Optimiser, schedule, checkpoints and evaluation during training.

    `schedule` takes the learning rate from its value, after a linear warm-up, to `final_learning_rate_fraction` of it:
    `cosine` smoothly, `step` in equal factors at the fractions `decay_at` of all updates (two factors of 10 for 0.01).
    The gradients of `accumulate_steps` batches make one update; `warmup_steps` and the schedule count updates.
    `minutes` shortens the training to the epochs that end within it, evaluation included; `epochs` stays the most.
    `precision` is that of the computation; weights, losses and files are float32.
    `feature_views` computes the frozen layers once, for so many random views of each image, and trains on those views
    alone; they are kept in `feature_cache`, a folder that several runs may share, by default inside the run.
    """

    epochs: Count = 40
    minutes: Positive | None = None
    batch_size: Count = 8
    accumulate_steps: Count = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    schedule: Literal["cosine", "step"] = "cosine"
    decay_at: Annotated[tuple[Inside, ...], Field(min_length=1, strict=False)] | None = None
    final_learning_rate_fraction: Fraction = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    clip_norm: Positive | None = 10.0
    weight_average: Annotated[float, Field(gt=0, lt=1)] | None = 0.99
    matching: Matching = Matching()
    loss: Loss = Loss()
    evaluate_every: Count = 5
    checkpoint: Literal["best", "last"] = "best"
    early_stop: EarlyStop | None = None
    strategy: Literal["auto", "gpu", "one_device", "mirrored"] = "auto"
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    steps_per_epoch: Count | None = None
    feature_views: Count | None = None
    feature_cache: str | None = None

    @model_validator(mode="after")
    def _feature_cache_has_views(self) -> Training:
        if self.feature_cache is not None and self.feature_views is None:
            raise ValueError(
                "feature_cache belongs to feature_views. "
                f"Received: feature_cache={self.feature_cache!r}, feature_views=None. Set feature_views: 8, or neither"
            )
        return self

    @model_validator(mode="after")
    def _step_schedule_has_steps(self) -> Training:
        if (self.schedule == "step") != (self.decay_at is not None):
            raise ValueError(
                "decay_at belongs to schedule 'step', which needs it. "
                f"Received: schedule={self.schedule!r}, decay_at={self.decay_at}. Set both, or neither"
            )
        if self.decay_at is not None and list(self.decay_at) != sorted(set(self.decay_at)):
            raise ValueError(
                f"decay_at must rise. Received: decay_at={list(self.decay_at)}. Use {sorted(set(self.decay_at))}"
            )
        if self.schedule == "step" and self.final_learning_rate_fraction == 0:
            raise ValueError(
                "equal factors cannot reach zero. Received: schedule='step', final_learning_rate_fraction=0. Use 0.01"
            )
        return self
