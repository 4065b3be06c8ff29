"""What the outputs of anybody's file are: boxes, classes, scores and count in every known order, or two heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.export.tails import POSTPROCESS
from edge.runtime import ModelFileError, dequantized, non_maximum_suppression
from edge.tflite.flatbuffer import operator_name, read_flatbuffer
from edge.tflite.read_metadata import DetectorOptions, FileMetadata

OPERATOR_ORDER = ("boxes", "classes", "scores", "count")
OTHER_ORDER = ("scores", "boxes", "count", "classes")  # what converters of TensorFlow 2 write: names sorted
IN_SIGNATURE = {"output_0": "count", "output_1": "scores", "output_2": "classes", "output_3": "boxes"}
IN_METADATA = {"location": "boxes", "category": "classes", "score": "scores", "number of detections": "count"}
ONE_TO_ONE = ("ADD", "SUB", "MUL", "CAST", "RESHAPE", "SQUEEZE", "RELU", "MINIMUM", "MAXIMUM", "QUANTIZE", "DEQUANTIZE")

Roles = tuple[str, ...]


def output_roles(
    model: schema.ModelT, shapes: Sequence[Sequence[int]], *, metadata_names: Sequence[str]
) -> tuple[Roles, str] | None:
    """Returns what each output is, and by what that is known; None when the outputs are not those of a detector.

    `shapes` are those of an open interpreter: an old file leaves them out.

    The operator in the graph is asked first, then the signature, the metadata, and at last the order by position.

    Source: pycoral/adapters/detect.py for signature and positions; MediaPipe Tasks for the names in metadata.
    """
    known = (
        (_by_operator(model), f"the operator {POSTPROCESS}"),
        (_by_signature(model), "the signature output_0..3"),
        (tuple(IN_METADATA.get(name, "") for name in metadata_names), "the names in the metadata"),
        (OPERATOR_ORDER, "their positions: boxes, classes, scores, count"),
        (OTHER_ORDER, "their positions: scores, boxes, count, classes"),
    )
    return next(((roles, source) for roles, source in known if fits(roles, shapes)), None)


def fits(roles: Roles, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether the roles are all there and have their shapes: boxes [1, M, 4], classes and scores [1, M], count [1]."""
    if sorted(roles) != sorted(OPERATOR_ORDER) or len(shapes) != 4:
        return False
    by_role = {role: list(shape) for role, shape in zip(roles, shapes, strict=True)}
    boxes = by_role["boxes"]
    if len(boxes) != 3 or boxes[0] != 1 or boxes[2] != 4 or by_role["count"] not in ([], [1]):
        return False
    return by_role["classes"] == by_role["scores"] == boxes[:2]


def _by_operator(model: schema.ModelT) -> Roles:
    """Follows each output back to the operator, through what renumbers or reshapes a single value stream."""
    graph = model.subgraphs[0]
    made_by = {int(index): operator for operator in graph.operators for index in operator.outputs}
    roles = []
    for output in _numbers(graph.outputs):
        operator = made_by.pop(output, None)  # each operator is passed once, whatever loops a damaged file has
        while operator is not None and operator_name(model, operator) in ONE_TO_ONE and len(operator.inputs):
            output = int(operator.inputs[0])
            operator = made_by.pop(output, None)
        if operator is None or operator_name(model, operator) != POSTPROCESS:
            return ()
        place = _numbers(operator.outputs).index(output)
        if place >= len(OPERATOR_ORDER):
            return ()
        roles.append(OPERATOR_ORDER[place])
    return tuple(roles)


def _by_signature(model: schema.ModelT) -> Roles:
    if len(model.signatureDefs or []) != 1:
        return ()
    outputs = model.signatureDefs[0].outputs or []
    names = {int(one.tensorIndex): (one.name or b"").decode(errors="replace") for one in outputs}
    return tuple(IN_SIGNATURE.get(names.get(index, ""), "") for index in _numbers(model.subgraphs[0].outputs))


def _numbers(vector: Iterable[int] | None) -> list[int]:
    return [] if vector is None else [int(index) for index in vector]


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
        kept = non_maximum_suppression(
            boxes, scores[rows, classes], classes=classes, iou_threshold=IOU_THRESHOLD, limit=MAX_DETECTIONS
        )
        return boxes[kept], classes[kept].astype(np.int32), scores[rows, classes][kept]


def understood_outputs(path: Path, interpreter: Any, *, metadata: FileMetadata) -> PostprocessedOutputs | HeadOutputs:
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
        if (known := output_roles(model, shapes, metadata_names=metadata.output_names)) is not None:
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
