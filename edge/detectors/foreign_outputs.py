"""What the outputs of anybody's file mean: four of TFLite_Detection_PostProcess, or two heads with anchors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.outputs import output_roles
from edge.runtime import ModelFileError, dequantized, non_maximum_suppression
from edge.tflite.detector_options import DetectorOptions
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.read_metadata import FileMetadata

IOU_THRESHOLD, MAX_DETECTIONS = 0.5, 100  # of a file that ends at its heads: nothing in it says them

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes `[n, 4]` (y1, x1, y2, x2) in shares of the input, classes `[n]` and scores `[n]`."""


@dataclass(frozen=True)
class PostprocessedOutputs:
    """Four float32 outputs; `indices` are their tensors by role, `source` says by what the roles are known."""

    path: Path
    indices: dict[str, int]
    source: str

    def read(self, interpreter: Any, score_threshold: float) -> Found:
        """Returns what the last invoke found.

        Raises:
            ModelFileError: scores are not between 0 and 1 or classes no whole numbers, so the roles are wrong.
        """
        found = {role: interpreter.get_tensor(index) for role, index in self.indices.items()}
        count = int(found["count"].reshape(-1)[0])
        boxes, classes, scores = found["boxes"][0, :count], found["classes"][0, :count], found["scores"][0, :count]
        if not ((scores >= 0) & (scores <= 1)).all() or not (classes == np.round(classes)).all() or (classes < 0).any():
            raise ModelFileError(
                f"{self.path}: expected scores of 0 to 1 and whole classes, by {self.source}. "
                f"Received: scores {scores[:3].tolist()}, classes {classes[:3].tolist()}. "
                "Name the outputs in a signature output_0..3 or in metadata."
            )
        kept = scores >= score_threshold
        return boxes[kept], classes[kept].astype(np.int32), scores[kept]


@dataclass(frozen=True)
class HeadOutputs:
    """Two outputs, location `[1, n, 4]` and score `[1, n, classes]`, float32 or quantized, decoded here."""

    location: dict[str, Any]
    score: dict[str, Any]
    options: DetectorOptions

    @property
    def source(self) -> str:
        return f"two heads and their anchors; suppression within a class at IoU {IOU_THRESHOLD:g}"

    def read(self, interpreter: Any, score_threshold: float) -> Found:
        """Returns what the last invoke found, best score first."""
        scores = _values(interpreter, self.score)[0]
        if self.options.sigmoid:
            with np.errstate(over="ignore"):
                scores = 1 / (1 + np.exp(-scores))
        rows, classes = np.nonzero(scores >= score_threshold)
        boxes = self.options.boxes(_values(interpreter, self.location)[0])[rows]
        kept = non_maximum_suppression(boxes, scores[rows, classes], classes, IOU_THRESHOLD, MAX_DETECTIONS)
        return boxes[kept], classes[kept].astype(np.int32), scores[rows, classes][kept]


def understood_outputs(path: Path, interpreter: Any, metadata: FileMetadata) -> PostprocessedOutputs | HeadOutputs:
    """Returns how the outputs of an open file are read.

    Raises:
        ModelFileError: they are not those of a detector.
    """
    details = interpreter.get_output_details()
    shapes = [_shape(detail) for detail in details]
    kinds = [np.dtype(detail["dtype"]).name for detail in details]
    if len(details) == 2 and metadata.options is not None:
        rows, classes = len(metadata.options.anchors), metadata.options.classes
        by_name = dict(zip(metadata.output_names, details, strict=False))
        by_shape = {"location": [1, rows, 4], "score": [1, rows, classes]}
        # With four classes both have one shape, and the names decide.
        location, score = (by_name.get(name) or _of_shape(details, by_shape[name]) for name in ("location", "score"))
        if location and score and [_shape(location), _shape(score)] == list(by_shape.values()):
            return HeadOutputs(location, score, metadata.options)
    elif set(kinds) == {"float32"}:
        model = read_flatbuffer(path.read_bytes())
        if (known := output_roles(model, shapes, metadata.output_names)) is not None:
            roles, source = known
            indices = {role: int(detail["index"]) for role, detail in zip(roles, details, strict=True)}
            return PostprocessedOutputs(path, indices, source)
    received = ", ".join(f"{kind} {shape}" for kind, shape in zip(kinds, shapes, strict=True))
    raise ModelFileError(
        f"{path}: expected the four float32 outputs of a detector, boxes [1, n, 4], classes [1, n], scores [1, n] and "
        f"count [1]. Received: {received}. A file that ends at its heads needs their anchors, in DETECTOR_METADATA or "
        "in the description that `keras-retina export` writes; a classifier has no boxes."
    )


def _shape(detail: dict[str, Any]) -> list[int]:
    return list(detail["shape"].tolist())


def _of_shape(details: list[dict[str, Any]], shape: list[int]) -> dict[str, Any] | None:
    return next((detail for detail in details if _shape(detail) == shape), None)


def _values(interpreter: Any, detail: dict[str, Any]) -> np.ndarray:
    return dequantized(interpreter.get_tensor(detail["index"]), detail)
