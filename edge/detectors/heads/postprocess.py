"""Four outputs with suppression inside: boxes, classes, scores and count, in every order that tools write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.heads.head import Found, Head, Seen, are_shares, in_pixels
from edge.detectors.heads.tables.yolo import STEPS as YOLO_STEPS
from edge.detectors.pictures import Steps
from edge.export.tails import POSTPROCESS
from edge.tflite.flatbuffer import operator_name

NAME, YOLO_NAME = "postprocess", "yolov5-nms"
OPERATOR_ORDER = ("boxes", "classes", "scores", "count")
OTHER_ORDER = ("scores", "boxes", "count", "classes")  # what converters of TensorFlow 2 write: names sorted
YOLO_ORDER = ("boxes", "scores", "classes", "count")  # of tf.image.combined_non_max_suppression, and YOLOv5 --nms
IN_SIGNATURE = {"output_0": "count", "output_1": "scores", "output_2": "classes", "output_3": "boxes"}
IN_METADATA = {"location": "boxes", "category": "classes", "score": "scores", "number of detections": "count"}
ONE_TO_ONE = ("ADD", "SUB", "MUL", "CAST", "RESHAPE", "SQUEEZE", "RELU", "MINIMUM", "MAXIMUM", "QUANTIZE", "DEQUANTIZE")

Roles = tuple[str, ...]


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of four outputs: the corners of a box begin with y, or, after YOLOv5's export, with x."""
    if {output.kind for output in seen.outputs} - {"float32", "int32", "int64"}:
        return []
    shapes = [output.shape for output in seen.outputs]
    known = output_roles(seen.model, shapes, metadata_names=seen.metadata.output_names)
    sure = known is not None and not known[1].startswith("their positions")
    if not sure:
        known = roles_by_values([output.values for output in seen.outputs]) or known
    if known is None:
        return []
    roles, source = known
    heads = [Head(NAME, source, _reader(roles, seen, x_first=False, source=source), Steps())]
    if not sure and roles == YOLO_ORDER:
        why = f"{source}, the order of YOLOv5 with suppression inside; x before y"
        heads[0] = Head(NAME, f"{source}; y before x", heads[0].read, heads[0].steps)
        heads.append(Head(YOLO_NAME, why, _reader(roles, seen, x_first=True, source=source), YOLO_STEPS))
    return [head for head in heads if seen.allows(head.name)]


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


def roles_by_values(values: Sequence[np.ndarray]) -> tuple[Roles, str] | None:
    """Returns the roles where shapes tell boxes and count, and values tell whole classes from scores of 0 to 1."""
    shapes = [list(value.shape) for value in values]
    boxes = [place for place, shape in enumerate(shapes) if len(shape) == 3]
    counts = [place for place, shape in enumerate(shapes) if shape in ([], [1])]
    rest = [place for place in range(len(values)) if place not in (*boxes, *counts)]
    if (len(boxes), len(counts), len(rest)) != (1, 1, 2):
        return None
    for classes, scores in (rest, rest[::-1]):
        whole = values[classes] == np.round(values[classes])
        if whole.all() and are_shares(values[scores]) and (values[scores] != np.round(values[scores])).any():
            by_place = {boxes[0]: "boxes", counts[0]: "count", classes: "classes", scores: "scores"}
            roles = tuple(by_place[place] for place in range(4))
            return (roles, f"their positions: {', '.join(roles)}") if fits(roles, shapes) else None
    return None


def decode(
    boxes: np.ndarray, scores: np.ndarray, *, classes: np.ndarray, count: int, score_threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the filled rows that reach the score; boxes stay as they are.

    Raises:
        ValueError: scores are not between 0 and 1 or classes no whole numbers, so the roles are wrong.
    """
    boxes, classes, scores = boxes[:count], classes[:count], scores[:count]
    if not ((scores >= 0) & (scores <= 1)).all() or not (classes == np.round(classes)).all() or (classes < 0).any():
        raise ValueError(f"scores {scores[:3].tolist()}, classes {classes[:3].tolist()}")
    kept = scores >= score_threshold
    return boxes[kept], scores[kept], classes[kept].astype(np.int32)


def _reader(roles: Roles, seen: Seen, *, x_first: bool, source: str) -> partial[Found]:
    return partial(_read, roles=roles, x_first=x_first, height=seen.height, width=seen.width, source=source)


def _read(
    outputs: Sequence[np.ndarray], score_threshold: float, *, roles: Roles, x_first: bool, height: int, width: int,
    source: str,
) -> Found:  # fmt: skip
    by_role = dict(zip(roles, outputs, strict=True))
    count = int(by_role["count"].reshape(-1)[0])
    try:
        boxes, scores, classes = decode(
            by_role["boxes"][0], by_role["scores"][0], classes=by_role["classes"][0], count=count,
            score_threshold=score_threshold,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(
            f"expected scores of 0 to 1 and whole classes, by {source}. Received: {error}. "
            "Name the outputs in a signature output_0..3 or in metadata."
        ) from error
    boxes = boxes[:, [1, 0, 3, 2]] if x_first else boxes
    return Found(in_pixels(boxes, "shares", height=height, width=width), scores, classes)


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
