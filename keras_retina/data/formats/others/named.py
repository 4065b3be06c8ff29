"""Labelled images whose classes are names: what each of these formats is read into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keras_retina.data.formats.repair import LabelledBox, LabelledImage
from keras_retina.data.records import Problem


@dataclass(frozen=True)
class NamedBox:
    """One box as the labels have it: `corners` is `(y1, x1, y2, x2)` in pixels, `where` is file and entry.

    `crowd` is a group of objects. Without a class, it is a region where objects of any class may have no label.
    """

    where: str
    class_name: str | None
    corners: tuple[float, float, float, float]
    crowd: bool = False


@dataclass(frozen=True)
class NamedImage:
    """One image as the labels have it; `size` is their `(height, width)`, `split` its split, "" for none."""

    where: str
    file_name: str
    boxes: tuple[NamedBox, ...]
    size: tuple[int, int] | None = None
    split: str = ""


@dataclass(frozen=True)
class NamedLabels:
    """What a label file says; `class_names` are all that it declares, in its order, () where it only uses them."""

    images: tuple[NamedImage, ...]
    problems: tuple[Problem, ...] = ()
    class_names: tuple[str, ...] = ()


def class_names(labels: Iterable[NamedLabels]) -> tuple[str, ...]:
    """Returns the classes that files declare, in their order, then those that they only use, sorted."""
    declared: dict[str, None] = {}
    used: set[str] = set()
    for one in labels:
        declared.update(dict.fromkeys(one.class_names))
        used.update(box.class_name for image in one.images for box in image.boxes if box.class_name is not None)
    return (*declared, *sorted(used - set(declared)))


def numbered(images: Sequence[NamedImage], names: Sequence[str]) -> list[LabelledImage]:
    """Returns the images with ids from 1 on and classes as places in `names`.

    A region without a class becomes a crowd of each class, which training ignores and evaluation does not count.
    """
    place = {name: index for index, name in enumerate(names)}

    def labelled(box: NamedBox) -> list[LabelledBox]:
        if box.class_name is None:
            return [LabelledBox(box.where, box.corners, index, True) for index in range(len(names))]
        return [LabelledBox(box.where, box.corners, place[box.class_name], box.crowd)]

    return [
        LabelledImage(
            image.where,
            index,
            image.file_name,
            image.size,
            tuple(one for box in image.boxes for one in labelled(box)),
        )
        for index, image in enumerate(images, start=1)
    ]
