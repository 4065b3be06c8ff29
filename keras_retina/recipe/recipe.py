"""One experiment, typed and validated: the only configuration there is.

A recipe is a YAML file with the sections below. Unknown keys are errors that name the closest valid one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.compress import CompressedModel, CompressedModels, FineTune, check_parents
from keras_retina.recipe.errors import explain
from keras_retina.recipe.export import Export, Verification
from keras_retina.recipe.section import Fraction, Positive, Section
from keras_retina.recipe.training import EarlyStop, Loss, Matching, Training
from keras_retina.recipe.yaml_file import apply_override, dump_yaml, read_yaml

# Read from here by everyone else.
__all__ = ["CompressedModel", "EarlyStop", "Export", "FineTune", "Loss", "Matching", "Training", "Verification"]

MOBILENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

_CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # those of every TFLite SSD file


class Backbone(Section):
    """`weights`: `imagenet`, `none` or the path of a weights file; `frozen_stages`: how many stages never train."""

    name: Literal["mobilenet_v2", "resnet50", "resnet101", "plain"] = "mobilenet_v2"
    alpha: float = 1.0
    weights: str = "imagenet"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2
    batch_norm: Literal["frozen", "trained"] = "frozen"

    @model_validator(mode="after")
    def _alpha_exists(self) -> Backbone:
        if self.name == "mobilenet_v2" and self.alpha not in MOBILENET_ALPHAS:
            nearest = min(MOBILENET_ALPHAS, key=lambda alpha: abs(alpha - self.alpha))
            raise ValueError(f"expected one of {MOBILENET_ALPHAS}. Received: alpha={self.alpha}. Closest: {nearest}")
        if self.name != "mobilenet_v2" and self.alpha != 1.0:
            raise ValueError(f"expected 1.0 for {self.name}. Received: alpha={self.alpha}. Remove the key")
        if self.name == "plain" and self.weights != "none":
            raise ValueError(f"plain has no pretrained weights. Received: weights={self.weights!r}. Use 'none'")
        if self.weights == "none" and (self.frozen_stages > 0 or self.batch_norm == "frozen"):
            raise ValueError(
                "random weights cannot be frozen. Received: weights='none', "
                f"frozen_stages={self.frozen_stages}, batch_norm={self.batch_norm!r}. "
                "Set frozen_stages: 0 and batch_norm: trained"
            )
        return self


class Input(Section):
    """Pixels of the network input; both sides must be multiples of the stride of the last level."""

    height: Annotated[int, Field(ge=32, le=4096)] = 384
    width: Annotated[int, Field(ge=32, le=4096)] = 384
    resize: Literal["stretch", "letterbox"] = "stretch"


class Anchors(Section):
    """`size` in strides (paper 4, small inputs 3), octave `scales`, height/width `ratios`."""

    size: Positive = 3.0
    scales: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)] = (0.5, 1.0, 2.0)


class Pyramid(Section):
    """FPN from level `levels[0]` to `levels[1]`; levels above 5 come from strided convolutions."""

    levels: Annotated[tuple[int, int], Field(strict=False)] = (3, 7)
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    convolution: Literal["separable", "full"] = "separable"
    upsampling: Literal["nearest", "bilinear"] = "bilinear"

    @model_validator(mode="after")
    def _levels_in_order(self) -> Pyramid:
        first, last = self.levels
        if not 3 <= first <= 5 <= last <= 7:
            raise ValueError(f"expected first 3..5 and last 5..7. Received: levels={list(self.levels)}. Use [3, 7]")
        return self


class Head(Section):
    """Class and box heads, shared over the levels; `batch_norm: per_level` normalises each level for itself."""

    convolutions: Annotated[int, Field(ge=0, le=8)] = 3
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    convolution: Literal["separable", "full"] = "separable"
    batch_norm: Literal["none", "per_level"] = "none"
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01

    @model_validator(mode="after")
    def _norms_have_convolutions(self) -> Head:
        if self.batch_norm == "per_level" and self.convolutions == 0:
            raise ValueError(
                "expected a hidden convolution before every BatchNorm. "
                f"Received: batch_norm={self.batch_norm!r}, convolutions={self.convolutions}. "
                "Set convolutions to 1..8 or batch_norm: none"
            )
        return self


class Model(Section):
    """The network."""

    backbone: Backbone = Backbone()
    input: Input = Input()
    anchors: Anchors = Anchors()
    pyramid: Pyramid = Pyramid()
    head: Head = Head()
    coder_weights: Annotated[tuple[Positive, Positive, Positive, Positive], Field(strict=False)] = _CODER_WEIGHTS

    @model_validator(mode="after")
    def _input_divides(self) -> Model:
        stride = 2 ** self.pyramid.levels[1]
        for side in ("height", "width"):
            pixels = getattr(self.input, side)
            if pixels % stride:
                nearest = max(stride, round(pixels / stride) * stride)
                raise ValueError(
                    f"input.{side} must be a multiple of {stride}, the stride of the last level. "
                    f"Received: {side}={pixels}. Closest: {nearest}"
                )
        return self


class Data(Section):
    """Where the labels are: `format` is found out when `auto`; `classes` fixes names and order."""

    format: Literal["auto", "coco", "voc", "yolo", "csv", "pack"] = "auto"
    train: str = "train"
    validation: str = "val"
    test: str | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None = None
    cache_mebibytes: Annotated[int, Field(ge=0)] = 2048

    @model_validator(mode="after")
    def _classes_once(self) -> Data:
        twice = [name for name in self.classes or () if (self.classes or ()).count(name) > 1]
        if twice:
            raise ValueError(f"expected each class once. Received: classes with {twice[0]!r} twice. Remove one")
        return self


class Augmentation(Section):
    """Applied to training images. `scale` and `aspect` are ranges of zoom; the rest are strengths or probabilities.

    `rand_augment` is the number of colour operations per image, each at most as strong as `rand_augment_strength`.
    `mosaic` and `cutout` are the shares of samples that are joined from four images and lose a rectangle, whose sides
    are at most `cutout_size` of those of the view.
    """

    horizontal_flip: bool = True
    vertical_flip: bool = False
    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.7, 1.4)
    aspect: Annotated[float, Field(ge=1, le=2)] = 1.1
    brightness: Fraction = 0.15
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    rand_augment: Annotated[int, Field(ge=0, le=8)] = 0
    rand_augment_strength: Fraction = 0.5
    mosaic: Fraction = 0.0
    cutout: Fraction = 0.0
    cutout_size: Fraction = 0.3
    minimum_visible: Fraction = 0.3

    @model_validator(mode="after")
    def _range_in_order(self) -> Augmentation:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"expected [low, high]. Received: scale={list(self.scale)}. Swap the two")
        return self


class Expected(Section):
    """What this recipe gave when it was run: AP in percent by row of `verify.json`, and where."""

    command: str
    machine: str
    date: str
    split: str
    training_minutes: Positive
    tolerance_ap: Positive
    ap: dict[str, Annotated[float, Field(ge=0, le=100)]]
    ap50: dict[str, Annotated[float, Field(ge=0, le=100)]]


class Published(Section):
    """A result printed by somebody else for this model; not ours."""

    source: str
    ap: Annotated[float, Field(ge=0, le=100)]
    ap50: Annotated[float, Field(ge=0, le=100)] | None = None
    split: str


class Recipe(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seed: Annotated[int, Field(ge=0)] = 0
    model: Model = Model()
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    compress: CompressedModels = {}
    export: Export = Export()
    verification: Verification = Verification()
    expected: Expected | None = None
    published: Published | None = None

    @field_validator("compress")
    @classmethod
    def _parents_come_first(cls, models: CompressedModels) -> CompressedModels:
        check_parents(models)
        return models

    @model_validator(mode="after")
    def _kept_features_are_frozen(self) -> Recipe:
        backbone = self.model.backbone
        if self.training.feature_views is not None and (not backbone.frozen_stages or backbone.batch_norm != "frozen"):
            raise ValueError(
                "training.feature_views needs a frozen part of the backbone. "
                f"Received: feature_views={self.training.feature_views}, frozen_stages={backbone.frozen_stages}, "
                f"batch_norm={backbone.batch_norm!r}. Set model.backbone.frozen_stages to 1..5 and batch_norm: frozen"
            )
        return self


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe and applies `section.key=value` overrides.

    Raises:
        InputError: the file is missing or is not plain YAML, or a field is unknown or has an impossible value.
    """
    fields = read_yaml(Path(path))
    for override in overrides or []:
        apply_override(fields, override)
    source = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    return recipe_from_fields(fields, " ".join(source.split()))


def recipe_from_fields(fields: dict[str, Any], source: str) -> Recipe:
    """Validates plain nested dictionaries; `source` is named in errors.

    Raises:
        InputError: one line that names every wrong field, the value received and the closest valid choice.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, Recipe)}") from error


def dump_recipe(recipe: Recipe) -> str:
    """Returns the resolved recipe, every field written out, as YAML."""
    return dump_yaml(recipe.model_dump(mode="json"))
