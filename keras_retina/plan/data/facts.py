"""What a plan looks at: the sizes, shapes, numbers and names that are in a training split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, printable
from keras_retina.geometry.boxes import area

FEW_OBJECTS = 5  # of a class: their median says nothing about the class


@dataclass(frozen=True)
class DataFacts:
    """Measured on the labels of a training split; images are not opened. Crowd boxes are left out.

    A side is the square root of an area. Relative sides are shares of the image's own side, so that a side times that
    of the network's input is its length in input pixels, whatever the aspects.

    Attributes:
        images, empty_images: how many, and how many of them without objects.
        image_side: median, in pixels.
        aspect: median of width / height.
        aspect_spread: the 90 % quantile of width / height over the 10 % quantile; 1 when all images agree.
        boxes: how many.
        boxes_per_image, crowded_image: mean and 95 % quantile of the number of objects.
        sides: relative side of the objects at the quantiles 2, 10, 50, 90 and 98 %.
        class_counts: objects of each class, in the order of the classes.
        class_sides: median relative side of each class; None for a class with under FEW_OBJECTS.
        class_spread: how much the sides differ inside a class, 90 % over 10 % quantile, mean over the objects.
    """

    images: int
    empty_images: int
    image_side: float
    aspect: float
    aspect_spread: float
    boxes: int
    boxes_per_image: float
    crowded_image: float
    sides: tuple[float, float, float, float, float]
    class_counts: dict[str, int]
    class_sides: dict[str, float | None]
    class_spread: float

    @property
    def smallest_class(self) -> tuple[str, float]:
        """The class with the smallest objects, and their median relative side."""
        known = [(name, side) for name, side in self.class_sides.items() if side is not None]
        return min(known, key=lambda pair: pair[1], default=("all objects", self.sides[2]))


QUANTILES = (0.02, 0.1, 0.5, 0.9, 0.98)


def data_facts(dataset: Dataset) -> DataFacts:
    """Measures a training split.

    Raises:
        InputError: no object with an area is labelled in it.
    """
    heights = np.array([record.height for record in dataset.records], np.float64)
    widths = np.array([record.width for record in dataset.records], np.float64)
    sides, classes = _objects(dataset)
    if not len(sides):
        raise InputError(
            f"{printable(dataset.name)}: expected labelled objects to plan for. Received: none in the "
            f"{len(heights)} images of split={dataset.split!r}. Label some, or name another split with "
            "--set data.train=NAME."
        )
    counts = np.array([np.count_nonzero(~record.crowd) for record in dataset.records])
    low, median, high = np.quantile(widths / heights, (0.1, 0.5, 0.9))
    own = {name: sides[classes == index] for index, name in enumerate(dataset.class_names)}
    return DataFacts(
        images=len(heights),
        empty_images=int(np.count_nonzero(counts == 0)),
        image_side=float(np.median(np.sqrt(heights * widths))),
        aspect=float(median),
        aspect_spread=float(high / low),
        boxes=len(sides),
        boxes_per_image=float(counts.mean()),
        crowded_image=float(np.quantile(counts, 0.95)),
        sides=tuple(float(side) for side in np.quantile(sides, QUANTILES)),  # type: ignore[arg-type]
        class_counts={name: len(one) for name, one in own.items()},
        class_sides={name: float(np.median(one)) if len(one) >= FEW_OBJECTS else None for name, one in own.items()},
        class_spread=_spread(list(own.values())),
    )


def facts_lines(facts: DataFacts, name: str, *, split: str) -> list[str]:
    """Returns what was measured, for the head of a recipe."""
    names = ", ".join(f"{printable(one)} {count}" for one, count in list(facts.class_counts.items())[:12])
    more = f" and {len(facts.class_counts) - 12} more" if len(facts.class_counts) > 12 else ""
    small, large = (100 * facts.sides[index] for index in (1, 3))
    return [
        f"data: {printable(name)}, split {printable(split)}: {facts.images} images, {facts.empty_images} of them "
        f"without objects; median side {facts.image_side:.0f} px, width / height {facts.aspect:.2f}",
        f"objects: {facts.boxes}, {facts.boxes_per_image:.1f} an image; eight of ten have a side of {small:.1f} to "
        f"{large:.1f} % of the image's",
        f"classes: {names}{more}",
    ]


def _objects(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the relative sides of the objects that have an area and are no crowd, and their classes."""
    sides, classes = [np.zeros(0)], [np.zeros(0, np.int32)]
    for record in dataset.records:
        kept = ~record.crowd & (area(record.boxes) > 0)
        sides.append(np.sqrt(area(record.boxes[kept]) / (record.height * record.width)))
        classes.append(record.classes[kept])
    return np.concatenate(sides), np.concatenate(classes)


def _spread(sides_of_classes: list[np.ndarray]) -> float:
    many = [sides for sides in sides_of_classes if len(sides) >= FEW_OBJECTS]
    if not many:
        return float("inf")  # unknown: treated like objects of every size
    spreads = [np.quantile(sides, 0.9) / np.quantile(sides, 0.1) for sides in many]
    return float(np.average(spreads, weights=[len(sides) for sides in many]))
