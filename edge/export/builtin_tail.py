"""The postprocess form without a custom operator: decoding and suppression from TFLite's builtin operators.

For runtimes that have no TFLite_Detection_PostProcess. Everything is float32 and of static shape: the best candidates,
their boxes, NON_MAX_SUPPRESSION_V4. It knows no classes, so for suppression within each class the candidates of a class
are moved to a cell of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.anchors import add_anchors, centre_size_anchors
from edge.tflite.writer import Operator, Writer, clip_to_input
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export

CANDIDATES = 5000
"""Most scores that are suppressed, the best ones; `keras_retina.geometry.nms` and the paper keep as many anchors."""

REACH = 1.0
"""How far a box counts beyond the outermost anchor when its overlap with others of its class is computed, in inputs."""


def add_builtin_tail(model: schema.ModelT, heads: dict[str, int], *, spec: DetectorSpec, settings: Export) -> list[int]:
    """Adds the operators; returns the outputs boxes `[1, M, 4]`, classes and scores `[1, M]`, count `[1]`, all float32.

    Rows from `count` on are zeros. Values are those of TFLite_Detection_PostProcess, but that only the `CANDIDATES`
    best scores are looked at, and that within classes the overlap of two boxes is that of their parts within `REACH`.
    """
    writer, anchors, most = Writer(model), centre_size_anchors(spec), settings.max_detections
    choose = _best_classes if settings.nms == "fast" else _all_scores
    scores, rows, classes, number = choose(
        writer, heads["classes"], anchors=len(anchors), classes=len(spec.class_names)
    )
    boxes = _decoded(writer, heads["boxes"], rows=rows, anchors=add_anchors(model, spec), number=number, spec=spec)
    if spec.clip_boxes:
        boxes = clip_to_input(model, boxes, shape=[number, 4])
    rivals = boxes
    if settings.nms == "per_class" and len(spec.class_names) > 1:
        rivals = _apart(writer, boxes, classes=classes, number=number, cells=_cells(anchors, len(spec.class_names)))
    kept, count = _suppressed(writer, rivals, scores=scores, number=number, settings=settings)
    # The row is free when its number reaches the count; NON_MAX_SUPPRESSION_V4 leaves index 0 there.
    filled = writer.add(Operator.LESS, [writer.constant(range(most), np.int32), count], shape=[most], kind="bool")
    nothing = writer.constant([0], np.float32)
    outputs = []
    for values, width, kind in ((boxes, 4, "float32"), (classes, 1, "int32"), (scores, 1, "float32")):
        shape = [most, 4] if width == 4 else [most]
        chosen = writer.gather(values, kept, shape=shape, kind=kind)
        chosen = writer.cast(chosen, shape) if kind == "int32" else chosen
        rows_filled = writer.reshape(filled, [most, 1], kind="bool") if width == 4 else filled
        options = schema.SelectV2OptionsT()
        kept_rows = writer.add(
            Operator.SELECT_V2, [rows_filled, chosen, nothing], shape=shape, kind="float32", options=options
        )
        outputs.append(writer.reshape(kept_rows, [1, *shape]))
    return [*outputs, writer.reshape(writer.cast(count, []), [1])]


def _all_scores(writer: Writer, logits: int, *, anchors: int, classes: int) -> tuple[int, int, int, int]:
    """Returns scores, anchor rows, classes and number of the best (anchor, class) pairs, best first."""
    best, place, number = _top(writer, logits, size=anchors * classes)
    divisor = writer.constant(classes, np.int32)
    rows = writer.arithmetic(Operator.FLOOR_DIV, place, right=divisor, shape=[number], kind="int32")
    labels = writer.arithmetic(Operator.FLOOR_MOD, place, right=divisor, shape=[number], kind="int32")
    return best, rows, labels, number


def _best_classes(writer: Writer, logits: int, *, anchors: int, classes: int) -> tuple[int, int, int, int]:
    """Returns the same of the best anchors, each with its best class."""
    highest = writer.highest(logits, 2, shape=[1, anchors])
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    labels = writer.add(
        Operator.ARG_MAX, [logits, writer.constant(2, np.int32)], shape=[1, anchors], kind="int32", options=options
    )
    best, rows, number = _top(writer, highest, size=anchors)
    flat = writer.reshape(labels, [anchors], kind="int32")
    return best, rows, writer.gather(flat, rows, shape=[number], kind="int32"), number


def _top(writer: Writer, logits: int, *, size: int) -> tuple[int, int, int]:
    """Returns the best scores, their places among the `size` logits, and how many they are."""
    number = min(size, CANDIDATES)
    best, place = writer.largest(logits, size, number=number)
    return writer.add(Operator.LOGISTIC, [best], shape=[number]), place, number


def _decoded(writer: Writer, deltas: int, *, rows: int, anchors: int, number: int, spec: DetectorSpec) -> int:
    """Returns the boxes of the candidates, `[number, 4]`, y1, x1, y2, x2 in shares of the input."""
    flat = writer.reshape(deltas, [len(spec.anchors()), 4])
    chosen = writer.gather(flat, rows, shape=[number, 4])
    centre_size = writer.gather(anchors, rows, shape=[number, 4])
    weights = writer.constant([spec.coder_weights], np.float32)
    scaled = writer.arithmetic(Operator.DIV, chosen, right=weights, shape=[number, 4])
    pair = [number, 2]
    sizes = writer.columns(centre_size, 2, rows=number)
    shift = writer.arithmetic(Operator.MUL, writer.columns(scaled, 0, rows=number), right=sizes, shape=pair)
    centres = writer.arithmetic(Operator.ADD, shift, right=writer.columns(centre_size, 0, rows=number), shape=pair)
    growth = writer.add(
        Operator.EXP, [writer.columns(scaled, 2, rows=number)], shape=pair, kind="float32", options=schema.ExpOptionsT()
    )
    half_sizes = writer.arithmetic(Operator.MUL, sizes, right=writer.constant([[0.5, 0.5]], np.float32), shape=pair)
    halves = writer.arithmetic(Operator.MUL, growth, right=half_sizes, shape=pair)
    corners = [
        writer.arithmetic(builtin, centres, right=halves, shape=pair) for builtin in (Operator.SUB, Operator.ADD)
    ]
    options = schema.ConcatenationOptionsT(axis=1)
    return writer.add(Operator.CONCATENATION, corners, shape=[number, 4], kind="float32", options=options)


@dataclass(frozen=True)
class Cells:
    """Boxes are cut off at `low` and `high`, and those of class k moved by `offsets[k]`, `[classes, 4]`."""

    low: float
    high: float
    offsets: np.ndarray


def _cells(anchors: np.ndarray, class_count: int) -> Cells:
    """Returns a cell for each class, in a square rather than a line: small numbers keep float32 exact."""
    halves = anchors[:, 2:] / 2
    low = float((anchors[:, :2] - halves).min()) - REACH
    high = float((anchors[:, :2] + halves).max()) + REACH
    side = math.ceil(math.sqrt(class_count))
    places = np.array([(index // side, index % side) * 2 for index in range(class_count)])
    return Cells(low, high, places * (high - low))


def _apart(writer: Writer, boxes: int, *, classes: int, number: int, cells: Cells) -> int:
    """Returns the boxes with each class in its cell, so that boxes of two classes never overlap."""
    low, high = writer.constant(cells.low, np.float32), writer.constant(cells.high, np.float32)
    above = writer.arithmetic(Operator.MAXIMUM, boxes, right=low, shape=[number, 4])
    inside = writer.arithmetic(Operator.MINIMUM, above, right=high, shape=[number, 4])
    offsets = writer.gather(writer.constant(cells.offsets, np.float32), classes, shape=[number, 4])
    return writer.arithmetic(Operator.ADD, inside, right=offsets, shape=[number, 4])


def _suppressed(writer: Writer, boxes: int, *, scores: int, number: int, settings: Export) -> tuple[int, int]:
    """Returns the indices of the candidates that stay, `[max_detections]`, and their number, a scalar.

    NON_MAX_SUPPRESSION_V4 gets the rank of a candidate for its score, so that equal scores, of which int8 has many,
    stay in their order: which goes first differs between builds of TFLite. It drops an overlap of just its threshold,
    ours do not.
    """
    threshold = writer.constant(settings.score_threshold, np.float32)
    enough = writer.add(Operator.GREATER_EQUAL, [scores, threshold], shape=[number], kind="bool")
    ranks = writer.constant(range(number, 0, -1), np.float32)
    order = writer.arithmetic(Operator.MUL, writer.cast(enough, [number]), right=ranks, shape=[number])
    overlap = writer.constant(np.nextafter(np.float32(settings.iou_threshold), np.float32(2)), np.float32)
    limits = [writer.constant(settings.max_detections, np.int32), overlap, writer.constant(0.5, np.float32)]
    made: list[tuple[list[int], str]] = [([settings.max_detections], "int32"), ([], "int32")]
    options = schema.NonMaxSuppressionV4OptionsT()
    kept, count = writer.add_two(Operator.NON_MAX_SUPPRESSION_V4, [boxes, order, *limits], made=made, options=options)
    return kept, count
