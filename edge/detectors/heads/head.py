"""What a head is: how the outputs of a file become boxes, by what that is known, and what the input then wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.pictures import Steps
from edge.runtime import non_maximum_suppression
from edge.tflite.read_metadata import FileMetadata

UNITS = ("pixels", "shares")


class Found(NamedTuple):
    """Boxes `[n, 4]` (y1, x1, y2, x2) in pixels of the input, scores `[n]` and classes `[n]`, best score first."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


Read = Callable[[Sequence[np.ndarray], float], Found]
"""From the outputs as float32, in the order of the file, and the least score."""


@dataclass(frozen=True)
class Head:
    """One way to read a file. `name` is what `--head` takes, `why` what it was recognised by."""

    name: str
    why: str
    read: Read
    steps: Steps
    units: str | None = None


@dataclass(frozen=True)
class Output:
    """An output of the file: its name, type and shape, and its values for a picture of noise, as float32."""

    name: str
    kind: str
    values: np.ndarray

    @property
    def shape(self) -> list[int]:
        return list(self.values.shape)

    def line(self) -> str:
        """Returns `float32 [1, 84, 8400] Identity, 0 to 0.997`."""
        size = self.values.size
        span = f", {self.values.min():.4g} to {self.values.max():.4g}" if size else ", empty"
        return f"{self.kind} {self.shape} {self.name}{span}"


@dataclass(frozen=True)
class Seen:
    """What a file shows when it is opened: input size, outputs, the graph, metadata, and what the user says.

    `classes` is the number of class names, None where they are not known; `asked` and `units` are `--head` and
    `--box-units`, `anchors` those of `--anchors`, level by level. `steady` is false where a second run on the same
    picture gave other numbers.
    """

    height: int
    width: int
    outputs: tuple[Output, ...]
    model: schema.ModelT
    metadata: FileMetadata
    classes: int | None = None
    asked: str | None = None
    units: str | None = None
    steady: bool = True
    anchors: Sequence[Sequence[float]] | None = None

    def allows(self, name: str) -> bool:
        return self.asked in (None, name)

    def fits_classes(self, number: int) -> bool:
        return number >= 1 and self.classes in (None, number)


def centres_to_yxyx(boxes: np.ndarray) -> np.ndarray:
    """Returns `[n, 4]` (y1, x1, y2, x2) of (x centre, y centre, width, height)."""
    x, y, width, height = boxes.T
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)


def xyxy_to_yxyx(boxes: np.ndarray) -> np.ndarray:
    """Returns `[n, 4]` with x and y of both corners exchanged."""
    return boxes[:, [1, 0, 3, 2]]


def in_pixels(boxes: np.ndarray, units: str, *, height: int, width: int) -> np.ndarray:
    """Returns `[n, 4]` (y1, x1, y2, x2) in pixels of the input."""
    if units == "pixels":
        return boxes
    return boxes * np.array([height, width, height, width], np.float32)


def suppressed(
    boxes: np.ndarray, scores: np.ndarray, *, classes: np.ndarray, iou_threshold: float, limit: int
) -> Found:
    """Returns what suppression within each class leaves, at most `limit` boxes."""
    boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    kept = non_maximum_suppression(boxes, scores, classes=classes, iou_threshold=iou_threshold, limit=limit)
    return Found(boxes[kept], scores[kept], classes[kept].astype(np.int32))


def sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-values))


def are_shares(values: np.ndarray) -> bool:
    """Whether values are all from 0 to 1, but for the rounding of int8."""
    return bool(values.size and values.min() >= -0.01 and values.max() <= 1.01)
