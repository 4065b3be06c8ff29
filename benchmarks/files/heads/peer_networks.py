"""Small `.tflite` files with the heads of other detectors: what they find hangs on the image.

One convolution for each level, with random kernels, moves boxes and scores around a plan that makes sense for the head:
boxes lie on their cells and most scores are low. They stand in for trained files where only the reading is compared,
and are written without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import append_members, write_flatbuffer
from edge.tflite.writer import Operator, Writer

CLASSES = 3
NAMES = ("circle", "square", "star")
POSTPROCESS_ORDERS = tuple(permutations(("boxes", "classes", "scores", "count")))


@dataclass(frozen=True)
class Form:
    """What is built: the head, and in which of its forms."""

    head: str
    channels_first: bool = False
    shares: bool = False
    nchw: bool = False
    int8: bool = False
    logits: bool = False
    grey: bool = False
    corners: bool = False
    order: tuple[str, ...] = ()
    rows: int = 300

    @property
    def name(self) -> str:
        words = [self.head] + [
            word
            for word, said in (
                ("first", self.channels_first),
                ("shares", self.shares),
                ("nchw", self.nchw),
                ("int8", self.int8),
                ("logits", self.logits),
                ("grey", self.grey),
                ("corners", self.corners),
            )
            if said
        ]
        return "_".join([*words, *(role[:2] for role in self.order)])


FORMS = (
    Form("yolov8", channels_first=True, shares=True),
    Form("yolov8", channels_first=True),
    Form("yolov8"),
    Form("yolov8", channels_first=True, shares=True, nchw=True),
    Form("yolov8", channels_first=True, shares=True, int8=True),
    Form("yolov5", shares=True),
    Form("yolov5"),
    Form("yolov6"),
    Form("yolo-parts"),
    Form("yolo-parts", channels_first=True, shares=True, int8=True),
    Form("yolo-parts", corners=True, nchw=True),
    Form("yolo-best", corners=True),
    Form("yolo-best", corners=True, shares=True),
    Form("yolo-nms", shares=True),
    Form("yolo-nms"),
    Form("yolox"),
    Form("yolox-grid"),
    Form("nanodet"),
    Form("nanodet", nchw=True),
    Form("nanodet", channels_first=True),
    Form("nanodet", logits=True),
    Form("nanodet-plus"),
    Form("fomo"),
    Form("fomo", int8=True),
    Form("fomo", grey=True),
    Form("centernet"),
    Form("centernet", logits=True, nchw=True),
    Form("centernet-tf"),
    Form("yolov5-nms", shares=True),
    *(Form("postprocess", shares=True, order=order) for order in POSTPROCESS_ORDERS),
)


def write_network(form: Form, path: Path, *, height: int, width: int, seed: int = 0) -> Path:
    """Writes one file; `height` and `width` are multiples of 64."""
    return write_model(Network(form, height, width=width, seed=seed).model(), path)


def write_model(model: schema.ModelT, path: Path) -> Path:
    """Writes a model with the names of the classes behind it, as Ultralytics does."""
    names = "{" + ", ".join(f'"{number}": "{name}"' for number, name in enumerate(NAMES)) + "}"
    members = {"metadata.json": f'{{"task": "detect", "names": {names}}}'.encode()}
    path.write_bytes(append_members(write_flatbuffer(model), members))
    return path


class Network:
    """A graph that grows: an input, a convolution for each level, and the head."""

    def __init__(self, form: Form, height: int, *, width: int, seed: int) -> None:
        self.form, self.height, self.width = form, height, width
        self.random = np.random.default_rng(seed)
        graph = schema.SubGraphT(tensors=[], operators=[], name=b"main")
        self._model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()], subgraphs=[graph])
        self.writer = Writer(self._model)
        self.channels = 1 if form.grey else 3
        shape = [1, self.channels, height, width] if form.nchw else [1, height, width, self.channels]
        image = self.writer.tensor("image", shape)
        graph.inputs = np.array([image], np.int32)
        if form.nchw:
            image = self._transposed(image, [0, 2, 3, 1], [1, height, width, self.channels])
        self.image = image

    def model(self) -> schema.ModelT:
        made = self._outputs()
        if self.form.int8:
            made = [self._int8(index) for index in made]
        self._model.subgraphs[0].outputs = np.array(made, np.int32)
        return self._model

    def _outputs(self) -> list[int]:
        return {
            "yolov8": self._yolov8,
            "yolov5": self._yolov5,
            "yolov6": self._yolov6,
            "yolo-parts": self._parts,
            "yolo-best": self._best,
            "yolo-nms": self._yolo_nms,
            "yolox": self._yolox,
            "yolox-grid": self._yolox,
            "nanodet": self._nanodet,
            "nanodet-plus": self._nanodet,
            "fomo": self._fomo,
            "centernet": self._centernet,
            "centernet-tf": self._centernet,
            "yolov5-nms": self._four,
            "postprocess": self._four,
        }[self.form.head]()

    # Heads

    def _yolov8(self) -> list[int]:
        strides = (8, 16, 32)
        places = _cells(strides, self.height, self.width)
        boxes = self._boxes(strides, places)
        scores = self._scores(strides, CLASSES, rows=len(places))
        return [self._table([self._in_units(boxes, len(places)), scores], len(places), [4, CLASSES])]

    def _yolov5(self) -> list[int]:
        strides = (8, 16, 32)
        places = np.repeat(_cells(strides, self.height, self.width), 3, axis=0)
        boxes = self._boxes(strides, places, per_cell=3)
        scores = self._scores(strides, 1 + CLASSES, rows=len(places), per_cell=3)
        return [self._table([self._in_units(boxes, len(places)), scores], len(places), [4, 1 + CLASSES])]

    def _yolov6(self) -> list[int]:
        strides = (8, 16, 32)
        places = _cells(strides, self.height, self.width)
        ones = self.writer.constant(np.ones((1, len(places), 1)), np.float32)
        parts = [self._boxes(strides, places), ones, self._scores(strides, CLASSES, rows=len(places))]
        return [self._table(parts, len(places), [4, 1, CLASSES])]

    def _parts(self) -> list[int]:
        places, boxes, scores = self._boxes_and_scores()
        if not self.form.channels_first:
            return [boxes, scores]
        laid = [(scores, CLASSES), (boxes, 4)]
        return [self._transposed(tensor, [0, 2, 1], [1, columns, len(places)]) for tensor, columns in laid]

    def _best(self) -> list[int]:
        places, boxes, scores = self._boxes_and_scores()
        shape = [1, len(places)]
        best = self.writer.highest(scores, 2, shape=shape)
        inputs = [scores, self.writer.constant(2, np.int32)]
        options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
        labels = self.writer.add(Operator.ARG_MAX, inputs, shape=shape, kind="int32", options=options)
        cast = schema.CastOptionsT(inDataType=schema.TensorType.INT32, outDataType=schema.TensorType.UINT8)
        return [boxes, best, self.writer.add(Operator.CAST, [labels], shape=shape, kind="uint8", options=cast)]

    def _boxes_and_scores(self) -> tuple[np.ndarray, int, int]:
        """Returns the cells, `[1, n, 4]` boxes in units of the form and `[1, n, classes]` scores."""
        strides = (8, 16, 32)
        places = _cells(strides, self.height, self.width)
        if self.form.corners:
            plan = np.concatenate([places[:, :2] - 2 * places[:, 2:], places[:, :2] + 2 * places[:, 2:]], axis=1)
            boxes = self._moved(strides, plan, places[:, 2] / 2)
        else:
            boxes = self._boxes(strides, places)
        return places, self._in_units(boxes, len(places)), self._scores(strides, CLASSES, rows=len(places))

    def _yolox(self) -> list[int]:
        strides = (8, 16, 32)
        places = _cells(strides, self.height, self.width)
        if self.form.head == "yolox":
            boxes = self._boxes(strides, places)
        else:
            plan = np.concatenate([np.full((len(places), 2), 0.5), np.full((len(places), 2), np.log(3))], axis=1)
            boxes = self._moved(strides, plan, np.full(len(places), 0.3))
        scores = self._scores(strides, 1 + CLASSES, rows=len(places))
        return [self._table([boxes, scores], len(places), [4, 1 + CLASSES])]

    def _nanodet(self) -> list[int]:
        strides = (8, 16, 32, 64) if self.form.head == "nanodet-plus" else (8, 16, 32)
        rows = len(_cells(strides, self.height, self.width))
        scores = self._scores(strides, CLASSES, rows=rows, logits=self.form.logits)
        distances = self._moved(strides, np.zeros((rows, 32)), np.full(rows, 2.0))
        return [self._table([scores, distances], rows, [CLASSES, 32])]

    def _fomo(self) -> list[int]:
        shape = [1, self.height // 8, self.width // 8, 1 + CLASSES]
        logits = self._convolution(8, 1 + CLASSES, gain=2.5, bias=[2.0] + [0.0] * CLASSES)
        return [self.writer.add(Operator.SOFTMAX, [logits], shape=shape, options=schema.SoftmaxOptionsT(beta=1.0))]

    def _centernet(self) -> list[int]:
        rows, columns = self.height // 4, self.width // 4
        heat = self._convolution(4, CLASSES, gain=2.0, bias=[-2.0] * CLASSES)
        if not self.form.logits:
            heat = self.writer.add(Operator.LOGISTIC, [heat], shape=[1, rows, columns, CLASSES])
        size = self._convolution(4, 2, gain=2.0, bias=[8.0, 8.0])
        offset = self._convolution(4, 2, gain=0.2, bias=[0.5, 0.5])
        maps = [(heat, CLASSES), (size, 2), (offset, 2)]
        if self.form.nchw:
            return [self._transposed(one, [0, 3, 1, 2], [1, count, rows, columns]) for one, count in maps]
        return [one for one, _ in maps]

    def _yolo_nms(self) -> list[int]:
        rows, boxes, scores = self._first_rows()
        labels = self.writer.constant(np.arange(rows).reshape(1, rows, 1) % CLASSES, np.float32)
        return [self._joined([boxes, scores, labels], 2, [1, rows, 6])]

    def _four(self) -> list[int]:
        rows, boxes, scores = self._first_rows()
        made = {"boxes": boxes, "scores": self.writer.reshape(scores, [1, rows])}
        zero = self.writer.arithmetic(
            Operator.MUL, made["scores"], right=self.writer.constant(0.0, np.float32), shape=[1, rows]
        )
        labels = self.writer.constant(np.arange(rows).reshape(1, rows) % CLASSES, np.float32)
        made["classes"] = self.writer.arithmetic(Operator.ADD, zero, right=labels, shape=[1, rows])
        one = self.writer.add(
            Operator.SLICE,
            [zero, self.writer.constant([0, 0], np.int32), self.writer.constant([1, 1], np.int32)],
            shape=[1, 1],
            options=schema.SliceOptionsT(),
        )
        count = self.writer.reshape(one, [1])
        made["count"] = self.writer.arithmetic(
            Operator.ADD, count, right=self.writer.constant([float(rows)], np.float32), shape=[1]
        )
        return [made[role] for role in self.form.order or ("boxes", "scores", "classes", "count")]

    # Parts

    def _first_rows(self) -> tuple[int, int, int]:
        """Returns a number of rows, `[1, rows, 4]` corners and `[1, rows, 1]` scores, as what suppression leaves."""
        places = _cells((8,), self.height, self.width)
        rows = min(self.form.rows, len(places))
        x_first = self.form.head != "postprocess"
        order = [0, 1] if x_first else [1, 0]
        half = np.full((len(places), 2), 24.0)
        plan = np.concatenate([places[:, order] - half, places[:, order] + half], axis=1)
        boxes = self._in_units(self._moved((8,), plan, np.full(len(places), 4.0)), len(places), x_first=x_first)
        scores = self._scores((8,), 1, rows=len(places))
        begin = self.writer.constant([0, 0, 0], np.int32)
        cut = []
        for tensor, columns in ((boxes, 4), (scores, 1)):
            size = self.writer.constant([1, rows, columns], np.int32)
            cut.append(
                self.writer.add(
                    Operator.SLICE, [tensor, begin, size], shape=[1, rows, columns], options=schema.SliceOptionsT()
                )
            )
        return rows, cut[0], cut[1]

    def _boxes(self, strides: Sequence[int], places: np.ndarray, *, per_cell: int = 1) -> int:
        """Returns `[1, n, 4]`: x centre, y centre, width, height in pixels, of about four strides."""
        plan = np.concatenate([places[:, :2], np.repeat(4 * places[:, 2:], 2, axis=1)], axis=1)
        return self._moved(strides, plan, places[:, 2] / 2, per_cell=per_cell)

    def _in_units(self, boxes: int, rows: int, *, x_first: bool = True) -> int:
        if not self.form.shares:
            return boxes
        sides = [self.width, self.height] if x_first else [self.height, self.width]
        factor = self.writer.constant([[[1 / side for side in sides * 2]]], np.float32)
        return self.writer.arithmetic(Operator.MUL, boxes, right=factor, shape=[1, rows, 4])

    def _moved(self, strides: Sequence[int], plan: np.ndarray, gain: np.ndarray, *, per_cell: int = 1) -> int:
        """Returns `plan` `[n, c]` plus `gain` `[n]` times what the convolutions see."""
        rows, columns = plan.shape
        seen = self._rows(strides, columns, per_cell=per_cell)
        factor = self.writer.constant(gain.reshape(1, rows, 1), np.float32)
        scaled = self.writer.arithmetic(Operator.MUL, seen, right=factor, shape=[1, rows, columns])
        offset = self.writer.constant(plan[None], np.float32)
        return self.writer.arithmetic(Operator.ADD, scaled, right=offset, shape=[1, rows, columns])

    def _scores(
        self, strides: Sequence[int], classes: int, *, rows: int, per_cell: int = 1, logits: bool = False
    ) -> int:
        table = self._moved(strides, np.full((rows, classes), -2.0), np.full(rows, 2.0), per_cell=per_cell)
        return table if logits else self.writer.add(Operator.LOGISTIC, [table], shape=[1, rows, classes])

    def _rows(self, strides: Sequence[int], columns: int, *, per_cell: int) -> int:
        """Returns `[1, n, columns]`, about 0 +- 1, level by level and row by row."""
        levels, total = [], 0
        for stride in strides:
            number = (self.height // stride) * (self.width // stride) * per_cell
            made = self._convolution(stride, columns * per_cell, gain=1.0, bias=[0.0] * columns * per_cell)
            levels.append(self.writer.reshape(made, [1, number, columns]))
            total += number
        return levels[0] if len(levels) == 1 else self._joined(levels, 1, [1, total, columns])

    def _convolution(self, stride: int, channels: int, *, gain: float, bias: list[float]) -> int:
        """Returns `[1, height / stride, width / stride, channels]` of a kernel that sees no plain brightness."""
        kernel = self.random.normal(size=(channels, stride, stride, self.channels))
        kernel -= kernel.mean(axis=(1, 2), keepdims=True)
        scale = {"yolox": 255, "yolox-grid": 255}.get(self.form.head, 1)
        kernel *= 4 * gain * 3 / self.channels / (stride * scale)
        inputs = [self.image, self.writer.constant(kernel, np.float32), self.writer.constant(bias, np.float32)]
        shape = [1, self.height // stride, self.width // stride, channels]
        options = schema.Conv2DOptionsT(strideH=stride, strideW=stride, padding=schema.Padding.VALID)
        options.dilationHFactor = options.dilationWFactor = 1
        return self.writer.add(Operator.CONV_2D, inputs, shape=shape, options=options)

    def _table(self, parts: list[int], rows: int, columns: list[int]) -> int:
        table = self._joined(parts, 2, [1, rows, sum(columns)])
        return self._transposed(table, [0, 2, 1], [1, sum(columns), rows]) if self.form.channels_first else table

    def _joined(self, parts: list[int], axis: int, shape: list[int]) -> int:
        return self.writer.add(
            Operator.CONCATENATION, parts, shape=shape, options=schema.ConcatenationOptionsT(axis=axis)
        )

    def _transposed(self, tensor: int, order: list[int], shape: list[int]) -> int:
        inputs = [tensor, self.writer.constant(order, np.int32)]
        return self.writer.add(Operator.TRANSPOSE, inputs, shape=shape, options=schema.TransposeOptionsT())

    def _int8(self, tensor: int) -> int:
        return self._quantized(tensor, scale=1 / 200, zero_point=-100)

    def _quantized(self, tensor: int, *, scale: float, zero_point: int) -> int:
        shape = [int(side) for side in self.writer.graph.tensors[tensor].shape]
        made = self.writer.tensor("quantized", shape, kind="int8")
        self.writer.graph.tensors[made].quantization = schema.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point], np.int64)
        )
        self.writer.quantize(tensor, made)
        return made


def _cells(strides: Sequence[int], height: int, width: int) -> np.ndarray:
    """Returns `[n, 3]`: x and y of the middle of every cell, and its stride."""
    return np.array(
        [
            ((column + 0.5) * stride, (row + 0.5) * stride, stride)
            for stride in strides
            for row in range(height // stride)
            for column in range(width // stride)
        ]
    )
