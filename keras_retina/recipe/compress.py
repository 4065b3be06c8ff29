"""The section `compress` of a recipe: smaller models, each made from the float model or from another of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_retina.recipe.formats import RESERVED, RecipeFormat
from keras_retina.recipe.section import Count, CountOrNone, Fraction, Inside, Positive, Section


class Channels(Section):
    """Removes whole channels until the share `keep` of the cost `of` the parent is left.

    `criterion` ranks them: `taylor` by what the loss would lose on training batches, `l1` and `l2` by their weights,
    `batch_norm` by the scale of their BatchNorm. Counts stay multiples of `multiple`. With several `rounds` the cost
    falls by equal factors, and each round but the last is followed by `round_epochs` of fine-tuning.
    """

    keep: Inside = 0.5
    of: Literal["multiply_adds", "parameters", "latency"] = "multiply_adds"
    criterion: Literal["taylor", "l1", "l2", "batch_norm"] = "taylor"
    multiple: Count = 8
    rounds: Count = 1
    round_epochs: Count = 3


class Sparsity(Section):
    """Sets the smallest weights to zero: the share `amount` of them, or two of each four.

    `spread: by_loss` takes most from the kernels whose weights matter least to the loss on training batches, and none
    from the `frozen_stages` of the fine-tuning; `even` takes the same share of each, as `2_of_4` always does. The share
    rises over the first part `until` of the fine-tuning and stays for the rest.
    """

    amount: Inside = 0.7
    pattern: Literal["unstructured", "2_of_4"] = "unstructured"
    spread: Literal["by_loss", "even"] = "by_loss"
    until: Inside = 0.6

    @model_validator(mode="after")
    def _two_of_four_is_a_half(self) -> Sparsity:
        if self.pattern == "2_of_4" and self.amount != 0.5:
            raise ValueError(f"pattern '2_of_4' is a half. Received: amount={self.amount}. Set amount: 0.5")
        return self


class Clusters(Section):
    """Lets each kernel have only `number` different weights."""

    number: Annotated[int, Field(ge=3, le=256)] = 16


class Quantize(Section):
    """Quantization-aware training, with ranges from `calibration_images` images of the training split."""

    calibration_images: Count = 300


class FineTune(Section):
    """Training after the change; batches, augmentation, matching and losses are those of the recipe.

    `frozen_stages` of the backbone never train here. BatchNorm trains if the recipe trains it, and with `sparsity`
    always. `training.checkpoint` says which epoch is kept; with `sparsity` and `clusters` it is the last one.
    `distillation` is the weight of a loss against the outputs of the float model, beside those against the labels; 0 is
    none. `minutes` shortens the fine-tuning to the epochs that end within it, as in `training`; not with `sparsity`.
    """

    epochs: Count = 10
    minutes: Positive | None = None
    learning_rate: Positive = 3e-4
    final_learning_rate_fraction: Fraction = 0.01
    warmup_steps: CountOrNone = 25
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    weight_average: Annotated[float, Field(gt=0, lt=1)] | None = None
    evaluate_every: Count = 2
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0
    distillation: Annotated[float, Field(ge=0)] = 0.0


class CompressedModel(Section):
    """One smaller model: exactly one of the four ways, from the float model or from `parent`.

    What the parents have, sparsity or clusters, is kept. Files are written in `formats`; a quantized model has its own,
    `int8_qat`. Its AP must be at least `minimum_ap_ratio` of that of the float model.
    """

    parent: str | None = None
    channels: Channels | None = None
    sparsity: Sparsity | None = None
    clusters: Clusters | None = None
    quantize: Quantize | None = None
    fine_tune: FineTune = FineTune()
    formats: Annotated[tuple[RecipeFormat, ...], Field(min_length=1, strict=False)] = ("float32", "int8")
    minimum_ap_ratio: Fraction = 0.99

    @model_validator(mode="after")
    def _one_way(self) -> CompressedModel:
        ways = [name for name in ("channels", "sparsity", "clusters", "quantize") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(
                "expected exactly one of channels, sparsity, clusters and quantize. "
                f"Received: {', '.join(ways) or 'none'}. Make a model of each, one with the other as its parent"
            )
        return self

    @model_validator(mode="after")
    def _zeros_rise_over_known_epochs(self) -> CompressedModel:
        if self.sparsity is not None and self.fine_tune.minutes is not None:
            raise ValueError(
                "fine_tune.minutes cannot be with sparsity, whose zeros rise over a known number of epochs. "
                f"Received: minutes={self.fine_tune.minutes}. Set fine_tune.epochs alone"
            )
        return self


ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,31}$")]

CompressedModels = dict[ModelName, CompressedModel]


def check_parents(models: CompressedModels) -> None:
    """Raises ValueError unless each parent stands before its children and none is quantized."""
    seen: list[str] = []
    for name, model in models.items():
        if name in RESERVED:
            raise ValueError(f"{name}: the name is taken by a number format. Received: {name!r}. Use another name")
        if model.parent is not None and model.parent not in seen:
            raise ValueError(
                f"{name}.parent: expected a model that stands before it. Received: parent={model.parent!r}. "
                f"Before it: {', '.join(seen) or 'none, leave parent away'}"
            )
        if model.parent is not None and models[model.parent].quantize is not None:
            raise ValueError(
                f"{name}.parent: a quantized model cannot be changed any more. Received: parent={model.parent!r}. "
                f"Use its parent, {models[model.parent].parent or 'the float model: leave parent away'}"
            )
        seen.append(name)


def ancestry(models: CompressedModels, name: str) -> list[CompressedModel]:
    """Returns the model and its parents, the oldest first."""
    line = [models[name]]
    while line[0].parent is not None:
        line.insert(0, models[line[0].parent])
    return line
