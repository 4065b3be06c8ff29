"""The sections `data` and `augmentation` of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from keras_retina.recipe.section import Fraction, Positive, Section


class Data(Section):
    """Where the labels are: `classes` fixes names and order.

    `format` is `auto`, to find it out, or a name in `keras_retina.data.folder.READERS`, which is where it is checked.
    """

    format: str = "auto"
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
