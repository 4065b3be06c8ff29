"""The section `training` of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from keras_retina.recipe.section import LARGEST_COUNT, Count, CountOrNone, Fraction, Inside, Positive, Section

ClassLossName = Literal[
    "focal",
    "cross_entropy",
    "focal_star",
    "ohem",
    "automated_focal",
    "equalized_focal",
    "quality_focal",
    "varifocal",
]
BoxLossName = Literal["smooth_l1", "giou", "diou", "ciou"]

LOSS_SETTINGS: dict[ClassLossName, tuple[str, ...]] = {
    "focal": ("alpha", "gamma"),
    "cross_entropy": ("alpha",),
    "focal_star": ("alpha", "gamma", "star_beta"),
    "ohem": ("hard_anchors", "hard_iou", "hard_negatives"),
    "automated_focal": ("alpha", "gamma_decay"),
    "equalized_focal": ("alpha", "gamma", "gamma_scale"),
    "quality_focal": ("gamma",),
    "varifocal": ("alpha", "gamma"),
}
"""The settings that each loss of classes has."""

_USUAL_ALPHA: dict[str, float | None] = {"cross_entropy": None, "varifocal": 0.75}  # for the others 0.25


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
    """The loss of the classes, by default the focal loss (paper equation 5), and that of the boxes times `box_weight`.

    `LOSS_SETTINGS` says which settings belong to which loss of classes; `keras_retina.losses` has their equations.
    `alpha` is 0.25 where it is not given, none for `cross_entropy` and 0.75 for `varifocal`.

    The coder's weights make the deltas, and so smooth L1 with its transition point `box_beta`, 5 to 10 times the
    paper's: hence a weight under 1. `giou`, `diou` and `ciou` are small whatever the coder; 1 is about right for them.
    """

    classes: ClassLossName = "focal"
    alpha: Fraction | None = 0.25
    gamma: Annotated[float, Field(ge=0)] = 2.0
    star_beta: Annotated[float, Field(ge=-100, le=100)] = 1.0
    gamma_decay: Annotated[float, Field(ge=0, le=0.9999)] = 0.95
    gamma_scale: Annotated[float, Field(ge=0)] = 8.0
    hard_anchors: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] = 128
    hard_iou: Fraction = 0.5
    hard_negatives: Annotated[float, Field(ge=0.01)] | None = None
    box: BoxLossName = "smooth_l1"
    box_beta: Annotated[float, Field(ge=0)] = 0.1
    box_weight: Positive = 0.2

    @model_validator(mode="before")
    @classmethod
    def _usual_alpha(cls, fields: Any) -> Any:
        name = fields.get("classes") if isinstance(fields, dict) else None
        if isinstance(name, str) and name in _USUAL_ALPHA and "alpha" not in fields:
            return {**fields, "alpha": _USUAL_ALPHA[name]}
        return fields

    @model_validator(mode="after")
    def _settings_belong_to_the_loss(self) -> Loss:
        own = LOSS_SETTINGS[self.classes]
        for name in sorted({name for names in LOSS_SETTINGS.values() for name in names} - set(own)):
            default, value = Loss.model_fields[name].default, getattr(self, name)
            if value != default:
                raise ValueError(
                    f"expected settings of {self.classes}: {', '.join(own)}. Received: {name}={value}. "
                    f"Remove it, or set {default}"
                )
        if self.classes in ("focal_star", "equalized_focal") and self.gamma < 1e-3:
            raise ValueError(f"{self.classes} needs a gamma above 0. Received: gamma={self.gamma}. Use 2.0")
        if self.classes == "quality_focal" and self.gamma < 1:
            raise ValueError(f"quality_focal needs a gamma of 1 or more. Received: gamma={self.gamma}. Use 2.0")
        if self.classes == "varifocal" and self.alpha is None:
            raise ValueError("varifocal needs an alpha. Received: alpha=None. Use 0.75")
        return self


class EarlyStop(Section):
    """Stops when the validation AP has not risen for `patience` evaluations."""

    patience: Count = 5


class Training(Section):
    """Optimiser, schedule, checkpoints and evaluation during training.

    `schedule` takes the learning rate from its value, after a linear warm-up, to `final_learning_rate_fraction` of it:
    `cosine` smoothly, `step` in equal factors at the fractions `decay_at` of all updates (two factors of 10 for 0.01).
    The gradients of `accumulate_steps` batches make one update; `warmup_steps` and the schedule count updates.
    `unfreeze_at` lets one more of `model.backbone.frozen_stages` learn at each of these fractions of all updates, the
    deepest one first.
    `minutes` shortens the training to the epochs that end within it, evaluation included; `epochs` stays the most.
    `worker_timeout` is how many seconds the workers of `strategy: multi_worker` wait for each other at the start.
    `synchronize_batch_norm` takes the statistics of BatchNorm over the batch of all replicas, as one device would.
    `precision` is that of the computation; weights, losses and files are float32.
    `feature_views` computes the frozen layers once, for so many random views of each image, and trains on those views
    alone; they are kept in `feature_cache`, a folder that several runs may share, by default inside the run.
    A checkpoint is written every `checkpoint_steps` batches and every `checkpoint_minutes`; without both, as often as a
    200th of the time allows.
    `deterministic` makes two runs on one machine equal bit by bit, all that follows the training included; nothing may
    then be decided by the clock.
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
    unfreeze_at: Annotated[tuple[Inside, ...], Field(max_length=5, strict=False)] = ()
    warmup_steps: CountOrNone = 100
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    clip_norm: Positive | None = 10.0
    weight_average: Annotated[float, Field(gt=0, lt=1)] | None = 0.99
    matching: Matching = Matching()
    loss: Loss = Loss()
    evaluate_every: Count = 5
    checkpoint: Literal["best", "last"] = "best"
    checkpoint_steps: Count | None = None
    checkpoint_minutes: Positive | None = None
    early_stop: EarlyStop | None = None
    strategy: Literal["auto", "gpu", "one_device", "mirrored", "multi_worker", "tpu"] = "auto"
    worker_timeout: Positive = 600.0
    synchronize_batch_norm: bool = True
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    steps_per_epoch: Count | None = None
    feature_views: Count | None = None
    feature_cache: str | None = None
    deterministic: bool = False

    @model_validator(mode="after")
    def _feature_cache_has_views(self) -> Training:
        if self.feature_cache is not None and self.feature_views is None:
            raise ValueError(
                "feature_cache belongs to feature_views. "
                f"Received: feature_cache={self.feature_cache!r}, feature_views=None. Set feature_views: 8, or neither"
            )
        return self

    @model_validator(mode="after")
    def _the_clock_decides_nothing(self) -> Training:
        if self.deterministic and self.minutes is not None:
            raise ValueError(
                "deterministic cannot be with minutes: the clock never says the same twice. "
                f"Received: deterministic=True, minutes={self.minutes}. Set minutes to null, and epochs"
            )
        return self

    @model_validator(mode="after")
    def _workers_share_what_they_can(self) -> Training:
        for name in ("minutes", "feature_views"):
            if self.strategy == "multi_worker" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is for one process. Received: {name}={getattr(self, name)}, strategy='multi_worker'. "
                    f"Remove {name}, or use strategy 'auto'"
                )
        return self

    @model_validator(mode="after")
    def _stages_unfreeze_one_after_the_other(self) -> Training:
        if list(self.unfreeze_at) != sorted(set(self.unfreeze_at)):
            raise ValueError(
                f"unfreeze_at must rise. Received: unfreeze_at={list(self.unfreeze_at)}. "
                f"Use {sorted(set(self.unfreeze_at))}"
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
