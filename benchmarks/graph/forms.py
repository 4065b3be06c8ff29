"""Where a detector's graph ends, and its detections from any of these ends: what `choice.py` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.open_file import load
from edge.export.tails import end_at_heads
from edge.quantize.ranges import Histogram, Range, best_range, class_range, set_ranges
from edge.runtime import EVALUATION_SCORE_THRESHOLD, decode, dequantized, non_maximum_suppression
from edge.tflite.flatbuffer import operator_name, tensor_type
from edge.tflite.writer import Writer
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.graph import calls_of, output_places
from keras_retina.model.spec import DetectorSpec

HEADS = ("boxes", "classes")
IOU_THRESHOLD, MAX_DETECTIONS = 0.5, 100  # the defaults of `export`
PROBABILITY = (1 / 256, -128)  # the only int8 scale and zero point that LOGISTIC writes
Operator = schema.BuiltinOperator

LevelRanges = dict[str, list[Range]]
"""The int8 range of each level's output, by head."""

End = Callable[[schema.ModelT, LevelRanges], None]
"""Makes the outputs of a converted detector; the ranges are for those that have one a level."""


def joined(model: schema.ModelT, ranges: LevelRanges) -> None:
    """`boxes [1, n, 4]` and the logits `classes [1, n, K]`: the raw file as it is exported."""
    end_at_heads(model)


def joined_probabilities(model: schema.ModelT, ranges: LevelRanges) -> None:
    """As `joined`, with the sigmoid of the class logits inside: outputs `boxes` and `probabilities`."""
    end_at_heads(model)
    graph = model.subgraphs[0]
    output = int(graph.outputs[HEADS.index("classes")])
    shape = [int(side) for side in graph.tensors[output].shape]
    if tensor_type(graph.tensors[output]) == "float32":
        graph.tensors[output].name = b"logits"
        writer = Writer(model)
        probabilities = writer.tensor("probabilities", shape)
        writer.connect(Operator.LOGISTIC, [output], outputs=[probabilities])
        graph.outputs[HEADS.index("classes")] = probabilities
        return
    # int8 logits -> LOGISTIC -> int8 probabilities -> the QUANTIZE to uint8 that is there already.
    to_bytes = next(operator for operator in graph.operators if output in operator.outputs)
    writer = Writer.before(model, to_bytes)
    probabilities = writer.tensor("int8_probabilities", shape, kind="int8")
    _set_quantization(graph.tensors[probabilities], *PROBABILITY)
    writer.connect(Operator.LOGISTIC, [int(to_bytes.inputs[0])], outputs=[probabilities], version=2)
    to_bytes.inputs = np.array([probabilities], np.int32)
    _set_quantization(graph.tensors[output], PROBABILITY[0], zero_point=PROBABILITY[1] + 128)
    graph.tensors[output].name = b"probabilities"


def one_output_a_level(model: schema.ModelT, ranges: LevelRanges) -> None:
    """Outputs `boxes_0`, ..., `classes_0`, ... `[1, rows, columns, anchors x values]`: no RESHAPE, no CONCATENATION.

    In int8 each gets a scale of its own, which joined outputs cannot have.
    """
    graph = model.subgraphs[0]
    heads = {entry.name.decode(): int(entry.tensorIndex) for entry in model.signatureDefs[0].outputs}
    made_by = {int(index): operator for operator in graph.operators for index in operator.outputs}
    levels: dict[str, list[int]] = {}
    removed: set[int] = set()
    for name in HEADS:
        operator = made_by[heads[name]]
        if operator_name(model, operator) in ("DEQUANTIZE", "QUANTIZE"):  # as converted, or as exported
            removed.add(id(operator))
            operator = made_by[int(operator.inputs[0])]
        reshapes = [made_by[int(index)] for index in operator.inputs]
        removed |= {id(operator), *map(id, reshapes)}
        levels[name] = [int(reshape.inputs[0]) for reshape in reshapes]
    graph.operators = [operator for operator in graph.operators if id(operator) not in removed]
    is_quantized = tensor_type(graph.tensors[levels["boxes"][0]]) == "int8"
    if is_quantized:
        chosen = {
            graph.tensors[index].name: limits
            for name in HEADS
            for index, limits in zip(levels[name], ranges[name], strict=True)
        }
        set_ranges(model, chosen)
        levels = {name: [_as_bytes(model, index) for index in levels[name]] for name in HEADS}
    for name in HEADS:
        for number, index in enumerate(levels[name]):
            graph.tensors[index].name = f"{name}_{number}".encode()
    graph.outputs = np.array([index for name in HEADS for index in levels[name]], np.int32)
    model.signatureDefs = []


def level_ranges(model: keras.Model, samples: Iterable[list[np.ndarray]]) -> LevelRanges:
    """Returns the range of each level's boxes and logits, as `edge.quantize.ranges` chooses it."""
    inputs_of = {(call.layer, call.number): call.inputs for call in calls_of(model)}
    places = {name: inputs_of[place] for name, place in output_places(model).items()}
    outputs = {name: [model.get_layer(layer).get_output_at(number) for layer, number in places[name]] for name in HEADS}
    probe = tf.function(keras.Model(model.input, outputs))
    found = {name: [Histogram() for _ in outputs[name]] for name in HEADS}
    for (image,) in samples:
        for name, levels in probe(tf.constant(image), training=False).items():
            for histogram, values in zip(found[name], levels, strict=True):
                histogram.add(values.numpy())
    choose = {"boxes": best_range, "classes": class_range}
    return {name: [choose[name](histogram) for histogram in found[name]] for name in HEADS}


def detect_function_of_file(path: Path, spec: DetectorSpec) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns what `keras_retina.evaluate.predict.predict_dataset` calls, for a file with any of the ends above."""
    interpreter = load(path, 2)
    image_index = interpreter.get_input_details()[0]["index"]
    details = sorted(interpreter.get_output_details(), key=lambda detail: detail["name"])
    anchors = spec.anchors()

    def detect(images: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        for image in images:
            interpreter.set_tensor(image_index, image[None])
            interpreter.invoke()
            found = {detail["name"]: dequantized(interpreter.get_tensor(detail["index"]), detail) for detail in details}
            rows.append(detections(found, anchors, spec=spec))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return detect


def detections(outputs: dict[str, np.ndarray], anchors: np.ndarray, *, spec: DetectorSpec) -> dict[str, np.ndarray]:
    """Returns `boxes [100, 4]`, `scores`, `classes` and `count` of one image, as `geometry.nms.detections` does."""

    def joined_rows(kind: str, values: int) -> np.ndarray:
        return np.concatenate([outputs[name].reshape(-1, values) for name in outputs if name.startswith(kind)])

    number = len(spec.class_names)
    deltas = joined_rows("boxes", 4)
    has_sigmoid = "probabilities" in outputs
    probabilities = joined_rows("probabilities", number) if has_sigmoid else sigmoid(joined_rows("classes", number))
    positions = np.flatnonzero(probabilities.ravel() >= EVALUATION_SCORE_THRESHOLD)
    rows, classes = np.divmod(positions, number)
    scores = probabilities.ravel()[positions]
    boxes = decode(deltas[rows], anchors[rows], weights=spec.coder_weights)
    kept = non_maximum_suppression(boxes, scores, classes=classes, iou_threshold=IOU_THRESHOLD, limit=MAX_DETECTIONS)
    padding = MAX_DETECTIONS - len(kept)
    return {
        "boxes": np.pad(boxes[kept], ((0, padding), (0, 0))),
        "scores": np.pad(scores[kept], (0, padding)),
        "classes": np.pad(classes[kept], (0, padding)),
        "count": np.array(len(kept)),
    }


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities, float32; what the runtime does outside the graph."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def _as_bytes(model: schema.ModelT, index: int) -> int:
    """Adds the QUANTIZE of an int8 tensor to uint8, which is what MediaPipe and the Edge TPU take."""
    tensor = model.subgraphs[0].tensors[index]
    scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    writer = Writer(model)
    output = writer.tensor("bytes", [int(side) for side in tensor.shape], kind="uint8")
    _set_quantization(model.subgraphs[0].tensors[output], scale, zero_point=zero_point + 128)
    writer.quantize(index, output)
    return output


def _set_quantization(tensor: Any, scale: float, zero_point: int) -> None:
    tensor.quantization = schema.QuantizationParametersT(
        scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point], np.int64)
    )
