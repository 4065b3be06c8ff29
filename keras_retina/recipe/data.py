"""The sections `data` and `augmentation` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from keras_retina.recipe.section import Count, CountOrNone, Fraction, Positive, Section, Seed


class Data(Section):
    """Where the labels are and which of them count.

    Attributes:
        format: `auto`, to find it out, or a name in `keras_retina.data.reading.folder.READERS`, which checks it.
        train, validation, test: names of the splits; `val` also finds `valid`, `validation` and `val2017`.
        split: `folder` takes the splits of the folder; `auto` makes those that the folder does not have from its
            training images. `split_seed` draws them, whatever the seed of the training is.
        train_images: learns from so many images of `train` alone, drawn by `split_seed`, with every class in one of
            them if that can be.
        classes: names and order; boxes of other classes are left out.
        rename: `{name in the labels: name for the detector}`; several names may become one class.
        boxes: whether box numbers are `pixels` or `normalized`, shares of the image; `auto` is what the format says.
        bad_images: `refuse` stops at an image that cannot be read, `skip` leaves it out and counts it.
    """

    format: str = "auto"
    train: str = "train"
    validation: str = "val"
    test: str | None = None
    split: Literal["folder", "auto"] = "folder"
    split_seed: Seed = 0
    train_images: Count | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None = None
    rename: dict[str, str] = {}
    boxes: Literal["auto", "pixels", "normalized"] = "auto"
    bad_images: Literal["refuse", "skip"] = "refuse"
    cache_mebibytes: CountOrNone = 2048

    @model_validator(mode="after")
    def _classes_once(self) -> Data:
        twice = [name for name in self.classes or () if (self.classes or ()).count(name) > 1]
        if twice:
            raise ValueError(f"expected each class once. Received: classes with {twice[0]!r} twice. Remove one")
        return self


class Augmentation(Section):
    """Random changes of training images: the section `augmentation` of a recipe.

    Attributes:
        horizontal_flip, vertical_flip: mirror half of the images.
        scale: smallest and largest zoom.
        aspect: largest change of the aspect ratio, 1 to 2; 1 is none.
        brightness, contrast, saturation: largest change, 0 to 1.
        rand_augment: number of colour operations for each image, 0 to 8.
        rand_augment_strength: how strong one of them may be, 0 to 1.
        mosaic: share of samples that are joined from four images, 0 to 1.
        cutout: share of samples that lose a rectangle, 0 to 1.
        cutout_size: largest side of that rectangle, as a share of the side of the view.
        minimum_visible: an object with a smaller share of its area in view is ignored, not learnt.

    Raises:
        InputError: one line that names every wrong field, the value received and the closest valid choice.

    Source: Bochkovskiy et al., YOLOv4, section 3.3 (mosaic); Cubuk et al., RandAugment; Zhong et al., Random Erasing
    Data Augmentation (cutout).
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
