"""What comes behind the two heads of a converted detector: nothing (raw), TFLite_Detection_PostProcess with a sigmoid
before it, or the same from builtin operators.

The tail is written into the flatbuffer rather than converted, so that all forms of a file share one conversion (and
one calibration), and no converter can quantize the scores or the decoding of the boxes.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from edge.export.builtin_tail import add_builtin_tail
from edge.tflite.anchors import add_anchors
from edge.tflite.flatbuffer import operator_name, tensor_type
from edge.tflite.writer import Operator, Writer, clip_to_input
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export

POSTPROCESS = "TFLite_Detection_PostProcess"
SIGNATURE = b"serving_default"

EMPTY_COLUMNS = 17
"""Zero score columns before the real ones, so that no class sits at index 2..16.

With n > 1 threads the per-class suppression of TFLite_Detection_PostProcess never looks at column n: a three-class file
loses its last class on two threads, and says nothing (tensorflow issue 56058, still so in LiteRT 2.3). Fast suppression
looks at no class after another, and has all columns.
"""

FEW_ANCHORS = 10000
"""TFLite_Detection_PostProcess is given all anchors of a detector that has no more than these."""

CANDIDATES = 2000
"""Anchors that it is given of a detector with more."""

PICKS = 4
"""Cells that are taken of each group of cells, where there are more cells than `CANDIDATES`."""


def end_at_heads(model: schema.ModelT, unsigned: bool = True) -> None:
    """Makes the raw form: outputs `boxes` and `classes`, in this order, 8-bit where the network is int8, else float32.

    They stay two tensors with a scale each. `unsigned` makes them uint8, which is what MediaPipe takes; it costs a
    QUANTIZE each that XNNPACK leaves to the interpreter. Of 16-bit heads 8 bits would lose what they are for.
    """
    graph = model.subgraphs[0]
    heads = _heads(model)
    for name, operator in _int8_ends(model, heads).items():
        if unsigned:
            _end_unsigned(model, operator)
        else:
            heads[name] = int(operator.inputs[0])
            graph.operators.remove(operator)
    for name, index in heads.items():
        graph.tensors[index].name = name.encode()
    _set_signature(model, {name: heads[name] for name in ("boxes", "classes")}, order=["boxes", "classes"])


def _int8_ends(model: schema.ModelT, heads: dict[str, int]) -> dict[str, schema.OperatorT]:
    """Returns the DEQUANTIZE behind each head that is int8."""
    graph = model.subgraphs[0]
    ends = {
        int(operator.outputs[0]): operator
        for operator in graph.operators
        if operator_name(model, operator) == "DEQUANTIZE" and tensor_type(graph.tensors[operator.inputs[0]]) == "int8"
    }
    return {name: ends[index] for name, index in heads.items() if index in ends}


def _end_unsigned(model: schema.ModelT, operator: schema.OperatorT) -> None:
    """Replaces a DEQUANTIZE by a QUANTIZE to uint8: the same scale, a zero point 128 higher."""
    tensors = model.subgraphs[0].tensors
    int8, output = tensors[operator.inputs[0]].quantization, tensors[operator.outputs[0]]
    output.type = schema.TensorType.UINT8
    output.quantization = schema.QuantizationParametersT(
        scale=np.array(int8.scale, np.float32), zeroPoint=np.array(int8.zeroPoint, np.int64) + 128
    )
    Writer.before(model, operator).quantize(int(operator.inputs[0]), int(operator.outputs[0]))
    model.subgraphs[0].operators.remove(operator)


def end_with_postprocess(model: schema.ModelT, spec: DetectorSpec, *, settings: Export) -> None:
    """Makes the postprocess form: float sigmoid, then decoding and suppression (`settings.nms`) in the custom operator.

    The outputs are boxes `[1, M, 4]` (y1, x1, y2, x2 as shares of the input, 0 to 1), classes `[1, M]`, scores
    `[1, M]` and count `[1]`, all float32: the order that clients without a signature expect. The signature names them
    output_3, output_2, output_1 and output_0, as pycoral demands. Boxes are clipped to the input, which the operator
    does not do. It is given the best anchors alone (`_candidates`).

    Source: tensorflow/lite/kernels/detection_postprocess.cc; pycoral/adapters/detect.py.
    """
    number, most = len(spec.class_names), settings.max_detections
    boxes, logits, anchors, rows = _candidates(model, _heads(model), spec=spec)
    writer = Writer(model)
    scores = writer.tensor("class_probabilities", [1, rows, number])
    writer.connect(Operator.LOGISTIC, [logits], outputs=[scores])
    empty = empty_columns(number, settings.nms)
    if empty:
        scores = _pad_columns(writer, scores, shape=[1, rows, number + empty], empty=empty)
    names = [POSTPROCESS] + [f"{POSTPROCESS}:{position}" for position in (1, 2, 3)]
    shapes = [[1, most, 4], [1, most], [1, most], [1]]
    outputs = [writer.tensor(name, shape) for name, shape in zip(names, shapes, strict=True)]
    writer.connect_custom(
        POSTPROCESS, [boxes, scores, anchors], outputs=outputs, options=postprocess_options(spec, settings)
    )
    if empty:
        outputs[1] = _subtract_columns(writer, outputs[1], shape=[1, most], empty=empty)
    outputs[0] = clip_to_input(model, outputs[0], shape=shapes[0])
    _name_detections(model, outputs)


def end_with_builtin(model: schema.ModelT, spec: DetectorSpec, *, settings: Export) -> None:
    """Makes the builtin form: outputs and signature of the postprocess form, without its custom operator."""
    outputs = add_builtin_tail(model, _heads(model), spec=spec, settings=settings)
    outputs[0] = clip_to_input(model, outputs[0], shape=[1, settings.max_detections, 4])
    _name_detections(model, outputs)


def empty_columns(number_of_classes: int, nms: str = "per_class") -> int:
    """Returns how many columns stand before the classes; one or two classes are never affected."""
    return EMPTY_COLUMNS if number_of_classes > 2 and nms == "per_class" else 0


def postprocess_options(spec: DetectorSpec, settings: Export) -> bytes:
    """Returns the flexbuffer map of TFLite_Detection_PostProcess."""
    number = len(spec.class_names)
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("max_detections", settings.max_detections)
        builder.Int("max_classes_per_detection", 1)
        builder.Int("detections_per_class", settings.max_detections)
        builder.Int("num_classes", number + empty_columns(number, settings.nms))
        builder.Bool("use_regular_nms", settings.nms == "per_class")
        builder.Float("nms_score_threshold", settings.score_threshold)
        builder.Float("nms_iou_threshold", settings.iou_threshold)
        for name, weight in zip(("y_scale", "x_scale", "h_scale", "w_scale"), spec.coder_weights, strict=True):
            builder.Float(name, weight)
    return bytes(builder.Finish())


def _heads(model: schema.ModelT) -> dict[str, int]:
    return {entry.name.decode(): int(entry.tensorIndex) for entry in model.signatureDefs[0].outputs}


def _candidates(model: schema.ModelT, heads: dict[str, int], *, spec: DetectorSpec) -> tuple[int, int, int, int]:
    """Returns deltas `[1, n, 4]`, logits `[1, n, classes]` and anchors `[n, 4]` of the best anchors, and n.

    TFLite_Detection_PostProcess decodes every anchor it is given, and sorts and goes through their scores class by
    class: at 512 x 640 that takes as long as the network. It is given the anchor with the highest score of each cell,
    because the others there find the same object, and of many cells the best `PICKS` of each group. To sort out the
    best of all would take several times as long.
    """
    count, number = len(spec.anchors()), len(spec.class_names)
    anchors = add_anchors(model, spec)
    if count <= FEW_ANCHORS:
        return heads["boxes"], heads["classes"], anchors, count
    writer = Writer(model)
    rows, chosen = _best_of_cells(writer, heads["classes"], count=count, number=number, spec=spec)
    deltas, logits, places = (
        writer.gather(writer.reshape(tensor, [count, values]), rows, shape=[chosen, values])
        for tensor, values in ((heads["boxes"], 4), (heads["classes"], number), (anchors, 4))
    )
    return writer.reshape(deltas, [1, chosen, 4]), writer.reshape(logits, [1, chosen, number]), places, chosen


def _best_of_cells(writer: Writer, logits: int, *, count: int, number: int, spec: DetectorSpec) -> tuple[int, int]:
    """Returns the rows `[n]` of the best anchors, at most one of a cell and `CANDIDATES` in all, and n."""
    per_cell = spec.grid.per_cell
    cells = count // per_cell
    table = writer.reshape(logits, [cells, per_cell * number])
    if cells > CANDIDATES:
        highest = writer.highest(table, 1, shape=[cells])
        groups = max(1, CANDIDATES // PICKS)
        chosen, taken = writer.largest_of_groups(highest, cells, groups=groups, number=PICKS), groups * PICKS
        table = writer.gather(table, chosen, shape=[taken, per_cell * number])
    else:
        chosen, taken = writer.constant(np.arange(cells), np.int32), cells
    scores = writer.highest(writer.reshape(table, [taken, per_cell, number]), 2, shape=[taken, per_cell])
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    inputs = [scores, writer.constant(1, np.int32)]
    best = writer.add(Operator.ARG_MAX, inputs, shape=[taken], kind="int32", options=options)
    first = writer.arithmetic(
        Operator.MUL, chosen, right=writer.constant(per_cell, np.int32), shape=[taken], kind="int32"
    )
    return writer.arithmetic(Operator.ADD, first, right=best, shape=[taken], kind="int32"), taken


def _pad_columns(writer: Writer, scores: int, *, shape: list[int], empty: int) -> int:
    padded = writer.tensor("padded_probabilities", shape)
    amounts = writer.constant([[0, 0], [0, 0], [empty, 0]], np.int32, name="padding")
    writer.connect(Operator.PAD, [scores, amounts], outputs=[padded], options=schema.PadOptionsT())
    return padded


def _subtract_columns(writer: Writer, classes: int, *, shape: list[int], empty: int) -> int:
    """Gives the classes their own indices back; the RELU keeps unused rows at 0."""
    renumbered = writer.tensor("classes", shape)
    offset = writer.constant([-empty], np.float32, name="empty_columns")
    options = schema.AddOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU)
    writer.connect(Operator.ADD, [classes, offset], outputs=[renumbered], options=options)
    return renumbered


def _name_detections(model: schema.ModelT, outputs: list[int]) -> None:
    """Names boxes, classes, scores and count as pycoral demands, in the order of clients without a signature."""
    named = {"output_0": outputs[3], "output_1": outputs[2], "output_2": outputs[1], "output_3": outputs[0]}
    _set_signature(model, named, order=["output_3", "output_2", "output_1", "output_0"])


def _set_signature(model: schema.ModelT, outputs: dict[str, int], *, order: list[str]) -> None:
    """Names the outputs in the one signature, and sets their order for clients that go by position."""
    graph = model.subgraphs[0]
    graph.outputs = np.array([outputs[name] for name in order], np.int32)
    image = int(graph.inputs[0])
    graph.tensors[image].name = b"image"
    model.signatureDefs = [
        schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=b"image", tensorIndex=image)],
            outputs=[schema.TensorMapT(name=name.encode(), tensorIndex=outputs[name]) for name in sorted(outputs)],
            signatureKey=SIGNATURE,
            subgraphIndex=0,
        )
    ]
