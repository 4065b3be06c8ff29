"""Facts and data sets for the tests of the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.plan.data.facts import DataFacts

USUAL = DataFacts(
    images=500,
    empty_images=10,
    image_side=500.0,
    aspect=1.0,
    aspect_spread=2.0,
    boxes=1000,
    boxes_per_image=2.0,
    crowded_image=5.0,
    sides=(0.05, 0.1, 0.25, 0.5, 0.6),
    class_counts={"cup": 600, "spoon": 400},
    class_sides={"cup": 0.3, "spoon": 0.2},
    class_spread=4.0,
)


@pytest.fixture(scope="session")
def facts() -> Callable[..., DataFacts]:
    """`facts(images=30)`: photographs of cups and spoons of many sizes, with what is given changed."""

    def changed(**changes: Any) -> DataFacts:
        return dataclasses.replace(USUAL, **changes)

    return changed


@pytest.fixture(scope="session")
def dataset() -> Callable[..., Dataset]:
    """`dataset([(height, width, boxes, classes), ...], names)`: a training split that is nowhere on disk."""

    def make(images: list[tuple[int, int, list[list[float]], list[int]]], names: tuple[str, ...]) -> Dataset:
        records = tuple(
            Record(
                number,
                Path(f"{number}.png"),
                f"{number}.png",
                height,
                width,
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(classes, np.int32),
                np.zeros(len(boxes), bool),
            )
            for number, (height, width, boxes, classes) in enumerate(images)
        )
        return Dataset("drawn", "train", names, tuple(range(len(names))), records)

    return make
