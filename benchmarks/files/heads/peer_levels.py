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
ANCHORED = ("yolov5-levels", "yolov7-levels", "yolov3-levels", "yolov4-levels", "yolo-fastest-levels")
EXPONENTIAL = ANCHORED[2:]
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
    """What is built: the head, the order of sides behind the batch, maps apart, the sigmoid left out, and strides."""

    head: str
    layout: str = "hwc"
    apart: bool = False
    sums: bool = False
    logits: bool = False
    int8: bool = False
    nchw: bool = False
    strides: tuple[int, ...] = P5

    @property
    def name(self) -> str:
        words = [self.head, self.layout]
        words += [word for word in ("apart", "sums", "logits", "int8", "nchw") if getattr(self, word)]
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
        made = [
            self._laid(tensor, stride, channels)
            for stride in self.levels.strides
            for tensor, channels in self._maps(stride)
        ]
        return [made[place] for place in self.random.permutation(len(made))]

    def _int8(self, tensor: int) -> int:
        return self._quantized(tensor, scale=0.1, zero_point=0)  # logits and distances, -12.8 to 12.7

    def _maps(self, stride: int) -> list[tuple[int, int]]:
        """Returns the maps of one level, `[1, rows, columns, channels]`, with their channels."""
        head = self.levels.head
        if head in ANCHORED:
            return [self._anchored(stride)]
        if head == "yolov8-levels":
            falling = [-0.4 * step for step in range(16)] * 4
            parts = [(self._convolution(stride, 64, gain=2.0, bias=falling), 64), self._scores_of(stride, CLASSES)]
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

    def _anchored(self, stride: int) -> tuple[int, int]:
        gain = 0.4 if self.levels.head in EXPONENTIAL else 1.0
        parts = []
        for _ in range(3):
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

    def _laid(self, tensor: int, stride: int, channels: int) -> int:
        """Returns a map in the order of sides that the form has."""
        layout = self.levels.layout
        _, rows, columns, _ = self._shape(stride, channels)
        sizes = {"h": rows, "w": columns, "n": rows * columns, "a": 3}
        if "a" in layout:
            sizes["c"] = channels // 3
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
