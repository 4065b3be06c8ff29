"""Small `.tflite` files that end in maps for each level, in every order of sides, as `peer_networks` writes tables.

The outputs stand in an order that depends on the seed, so that nothing can rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from peer_networks import CLASSES, Form, Network, write_model

from edge.tflite.writer import Operator

P5, P6, TINY = (8, 16, 32), (8, 16, 32, 64), (16, 32)
ANCHORED = (
    "yolov5-levels",
    "yolov7-levels",
    "yolov4-csp-levels",
    "yolov3-levels",
    "yolov4-levels",
    "yolo-fastest-levels",
)
EXPONENTIAL = ANCHORED[3:]
OWN_TWO = ((8.5, 9.0, 20.0, 15.0), (40.0, 30.0, 30.0, 60.0), (90.0, 80.0, 120.0, 150.0))
OWN_THREE = ((20, 30, 40, 20, 50, 50), (80, 80, 90, 120, 150, 140))
# How [1, rows, columns, channels] is transposed after its cells or anchors got sides of their own.
TRANSPOSED = {
    "chw": [0, 3, 1, 2],
    "cn": [0, 2, 1],
    "ahwc": [0, 3, 1, 2, 4],
    "achw": [0, 3, 4, 1, 2],
    "anc": [0, 2, 1, 3],
}


@dataclass(frozen=True)
class LevelForm:
    """What is built: the head, the order of sides behind the batch, maps apart, the sigmoid left out, and strides.

    `joined` puts the levels of each kind of map below each other; `bins` are those of a distance of YOLOv6; `anchors`
    are somebody's own.
    """

    head: str
    layout: str = "hwc"
    apart: bool = False
    sums: bool = False
    logits: bool = False
    int8: bool = False
    nchw: bool = False
    strides: tuple[int, ...] = P5
    joined: bool = False
    bins: int = 1
    anchors: tuple[tuple[float, ...], ...] | None = None

    @property
    def name(self) -> str:
        words = [self.head, self.layout]
        words += [word for word in ("apart", "sums", "logits", "int8", "nchw", "joined") if getattr(self, word)]
        words += [f"{self.bins}_bins"] * (self.bins > 1) + ["own_anchors"] * (self.anchors is not None)
        return "_".join([*words, str(len(self.strides))])


LEVEL_FORMS = (
    LevelForm("yolov5-levels"),
    LevelForm("yolov5-levels", logits=True),
    LevelForm("yolov5-levels", "chw", logits=True, nchw=True),
    LevelForm("yolov5-levels", "hwac"),
    LevelForm("yolov5-levels", "ahwc"),
    LevelForm("yolov5-levels", "achw", logits=True),
    LevelForm("yolov5-levels", "nac", logits=True),
    LevelForm("yolov5-levels", "anc"),
    LevelForm("yolov5-levels", "nc", logits=True),
    LevelForm("yolov5-levels", logits=True, strides=P6),
    LevelForm("yolov5-levels", logits=True, int8=True),
    LevelForm("yolov7-levels"),
    LevelForm("yolov7-levels", "ahwc", logits=True),
    LevelForm("yolov4-csp-levels"),
    LevelForm("yolov5-levels", logits=True, anchors=OWN_TWO),
    LevelForm("yolov5-levels", "ahwc", anchors=OWN_TWO),
    LevelForm("yolov4-csp-levels", anchors=OWN_THREE, strides=TINY),
    LevelForm("yolov4-levels", logits=True, anchors=OWN_THREE, strides=TINY),
    LevelForm("yolov3-levels", logits=True),
    LevelForm("yolov3-levels", "chw", logits=True, strides=TINY),
    LevelForm("yolov4-levels", "chw", logits=True),
    LevelForm("yolov4-levels", logits=True, strides=TINY),
    LevelForm("yolo-fastest-levels", logits=True, strides=TINY),
    LevelForm("yolo-fastest-levels", logits=True, int8=True, strides=TINY),
    LevelForm("yolov8-levels"),
    LevelForm("yolov8-levels", logits=True),
    LevelForm("yolov8-levels", "chw", logits=True, nchw=True),
    LevelForm("yolov8-levels", apart=True),
    LevelForm("yolov8-levels", apart=True, logits=True, int8=True),
    LevelForm("yolov8-levels", "chw", apart=True, logits=True),
    LevelForm("yolov8-levels", "chw", apart=True, sums=True),
    LevelForm("yolov8-levels", "nc", apart=True),
    LevelForm("yolov8-levels", "cn", apart=True, logits=True),
    LevelForm("yolov8-levels", "nc", apart=True, joined=True),
    LevelForm("yolov8-levels", "cn", apart=True, joined=True, logits=True, int8=True),
    LevelForm("yolov6-levels", apart=True),
    LevelForm("yolov6-levels", "chw", apart=True, sums=True),
    LevelForm("yolov6-levels", "nc", apart=True, joined=True),
    LevelForm("yolov6-levels", apart=True, bins=17),
    LevelForm("yolox-levels", "nc", apart=True, joined=True, logits=True),
    LevelForm("nanodet-levels", "cn", apart=True, joined=True),
    LevelForm("yolox-levels"),
    LevelForm("yolox-levels", logits=True),
    LevelForm("yolox-levels", "chw"),
    LevelForm("yolox-levels", apart=True),
    LevelForm("yolox-levels", "chw", apart=True, logits=True),
    LevelForm("yolox-levels", apart=True, logits=True, int8=True),
    LevelForm("nanodet-levels", logits=True),
    LevelForm("nanodet-levels", "nc"),
    LevelForm("nanodet-levels", "cn", logits=True),
    LevelForm("nanodet-levels", "nc", apart=True),
    LevelForm("nanodet-levels", "chw", apart=True, logits=True),
    LevelForm("nanodet-plus-levels", strides=P6),
    LevelForm("nanodet-plus-levels", "nc", apart=True, strides=P6),
)


def write_levels(form: LevelForm, path: Path, *, height: int, width: int, seed: int = 0) -> Path:
    """Writes one file; `height` and `width` are multiples of 64."""
    return write_model(LevelNetwork(form, height, width=width, seed=seed).model(), path)


class LevelNetwork(Network):
    """A convolution for each map: what it sees moves boxes and scores around a plan that makes sense for the head."""

    def __init__(self, form: LevelForm, height: int, *, width: int, seed: int) -> None:
        super().__init__(
            Form(form.head.removesuffix("-levels"), nchw=form.nchw, int8=form.int8), height, width=width, seed=seed
        )
        self.levels = form

    def _outputs(self) -> list[int]:
        levels = [self._maps(stride) for stride in self.levels.strides]
        if self.levels.joined:
            made = [self._below(maps) for maps in zip(*levels, strict=True)]
        else:
            made = [
                self._laid(tensor, stride, channels)
                for stride, maps in zip(self.levels.strides, levels, strict=True)
                for tensor, channels in maps
            ]
        return [made[place] for place in self.random.permutation(len(made))]

    def _int8(self, tensor: int) -> int:
        return self._quantized(tensor, scale=0.1, zero_point=0)  # logits and distances, -12.8 to 12.7

    def _maps(self, stride: int) -> list[tuple[int, int]]:
        """Returns the maps of one level, `[1, rows, columns, channels]`, with their channels."""
        head = self.levels.head
        if head in ANCHORED:
            return [self._anchored(stride)]
        if head in ("yolov8-levels", "yolov6-levels"):
            bins = 16 if head == "yolov8-levels" else self.levels.bins
            bias = [2.0] * 4 if bins == 1 else [-0.4 * step for step in range(bins)] * 4
            boxes = self._convolution(stride, 4 * bins, gain=0.5 if bins == 1 else 2.0, bias=bias)
            parts = [(boxes, 4 * bins), self._scores_of(stride, CLASSES)]
            if self.levels.sums:
                parts.append((self._sum(parts[1][0], stride), 1))
        elif head == "yolox-levels":
            bias = [0.5, 0.5, float(np.log(3)), float(np.log(3))]
            boxes = self._convolution(stride, 4, gain=0.3, bias=bias)
            parts = [(boxes, 4), self._scores_of(stride, 1), self._scores_of(stride, CLASSES)]
        else:
            distances = self._convolution(stride, 32, gain=2.0, bias=[0.0] * 32)
            parts = [self._scores_of(stride, CLASSES), (distances, 32)]
        if self.levels.apart:
            return parts
        return [self._beside(parts, stride)]

    @property
    def _per_cell(self) -> int:
        return 3 if self.levels.anchors is None else len(self.levels.anchors[0]) // 2

    def _anchored(self, stride: int) -> tuple[int, int]:
        gain = 0.4 if self.levels.head in EXPONENTIAL else 1.0
        parts = []
        for _ in range(self._per_cell):
            parts.append((self._convolution(stride, 4, gain=gain, bias=[0.0] * 4), 4))
            parts.append((self._convolution(stride, 1 + CLASSES, gain=2.0, bias=[-2.0] * (1 + CLASSES)), 1 + CLASSES))
        joined, channels = self._beside(parts, stride)
        return (joined if self.levels.logits else self._sigmoid(joined, stride, channels)), channels

    def _scores_of(self, stride: int, channels: int) -> tuple[int, int]:
        gain = 0.3 if self.form.head.startswith("nanodet") else 2.0  # its pixels reach further: no scores of exactly 1
        logits = self._convolution(stride, channels, gain=gain, bias=[-2.0] * channels)
        return (logits if self.levels.logits else self._sigmoid(logits, stride, channels)), channels

    def _sum(self, scores: int, stride: int) -> int:
        inputs = [scores, self.writer.constant([3], np.int32)]
        shape = self._shape(stride, 1)
        added = self.writer.add(Operator.SUM, inputs, shape=shape, options=schema.ReducerOptionsT(keepDims=True))
        inputs = [added, self.writer.constant(1.0, np.float32)]
        return self.writer.add(Operator.MINIMUM, inputs, shape=shape, options=schema.MaximumMinimumOptionsT())

    def _sigmoid(self, tensor: int, stride: int, channels: int) -> int:
        return self.writer.add(Operator.LOGISTIC, [tensor], shape=self._shape(stride, channels))

    def _beside(self, parts: list[tuple[int, int]], stride: int) -> tuple[int, int]:
        channels = sum(number for _, number in parts)
        return self._joined([tensor for tensor, _ in parts], 3, self._shape(stride, channels)), channels

    def _below(self, maps: tuple[tuple[int, int], ...]) -> int:
        """Returns the maps of one kind with the cells of all levels below each other."""
        channels, total, tables = maps[0][1], 0, []
        for stride, (tensor, _) in zip(self.levels.strides, maps, strict=True):
            cells = (self.height // stride) * (self.width // stride)
            tables.append(self.writer.reshape(tensor, [1, cells, channels]))
            total += cells
        table = self._joined(tables, 1, [1, total, channels])
        return self._transposed(table, [0, 2, 1], [1, channels, total]) if self.levels.layout == "cn" else table

    def _laid(self, tensor: int, stride: int, channels: int) -> int:
        """Returns a map in the order of sides that the form has."""
        layout = self.levels.layout
        _, rows, columns, _ = self._shape(stride, channels)
        sizes = {"h": rows, "w": columns, "n": rows * columns, "a": self._per_cell}
        if "a" in layout:
            sizes["c"] = channels // self._per_cell
        else:
            sizes["c"] = channels
        before = [side for side in "hwnac" if side in layout]
        if before != list("hwc"):
            tensor = self.writer.reshape(tensor, [1, *(sizes[side] for side in before)])
        if layout in TRANSPOSED:
            tensor = self._transposed(tensor, TRANSPOSED[layout], [1, *(sizes[side] for side in layout)])
        return tensor

    def _shape(self, stride: int, channels: int) -> list[int]:
        return [1, self.height // stride, self.width // stride, channels]
