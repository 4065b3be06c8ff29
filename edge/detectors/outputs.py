"""Which of four outputs are boxes, classes, scores and count: every order that clients of TFLite know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ai_edge_litert import schema_py_generated as schema

from edge.export.tails import POSTPROCESS
from edge.tflite.flatbuffer import operator_name

OPERATOR_ORDER = ("boxes", "classes", "scores", "count")
OTHER_ORDER = ("scores", "boxes", "count", "classes")  # what converters of TensorFlow 2 write: names sorted
IN_SIGNATURE = {"output_0": "count", "output_1": "scores", "output_2": "classes", "output_3": "boxes"}
IN_METADATA = {"location": "boxes", "category": "classes", "score": "scores", "number of detections": "count"}
ONE_TO_ONE = ("ADD", "SUB", "MUL", "CAST", "RESHAPE", "SQUEEZE", "RELU", "MINIMUM", "MAXIMUM", "QUANTIZE", "DEQUANTIZE")

Roles = tuple[str, ...]


def output_roles(
    model: schema.ModelT, shapes: Sequence[Sequence[int]], metadata_names: Sequence[str]
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
