"""YOLO with anchors, as published: the anchors of each, the way from values to boxes, and how photos are prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.detectors.heads.levels.maps import Pyramid
from edge.detectors.heads.tables import yolo
from edge.detectors.pictures import Steps

DARKNET_IOU = 0.45
DARKNET_STEPS = Steps((0.0,), (255.0,), antialias=False, source="as Darknet does")
LETTERBOX_STEPS = Steps(
    (0.0,), (255.0,), resize="letterbox-centre", antialias=False, fill=128, source="as Darknet does"
)


@dataclass(frozen=True)
class Anchors:
    """Width and height in pixels, level by level, and how far centres reach: `scales`, 1 is the cell itself."""

    pixels: Sequence[Sequence[float]]
    scales: Sequence[float]

    @property
    def per_cell(self) -> int:
        return len(self.pixels[0]) // 2

    def of_cells(self, pyramid: Pyramid) -> tuple[np.ndarray, np.ndarray]:
        """Returns `[n, anchors, 2]` anchors and `[n, 1, 1]` scales, a row for each cell."""
        number = [level[0].cells for level in pyramid.levels]
        anchors = np.array(self.pixels, np.float32).reshape(-1, self.per_cell, 2)
        scales = np.array(self.scales, np.float32).reshape(-1, 1, 1)
        return np.repeat(anchors, number, axis=0), np.repeat(scales, number, axis=0)


@dataclass(frozen=True)
class Family:
    """One published way to read the maps; `anchors` by the strides of the network.

    Sizes are exp(value) * anchor where `exponential`, (2 * sigmoid(value)) ** 2 * anchor otherwise.
    """

    name: str
    of: str
    anchors: Mapping[tuple[int, ...], Anchors]
    exponential: bool
    iou_threshold: float
    steps: Steps

    def with_anchors(self, pixels: Sequence[Sequence[float]], strides: tuple[int, ...]) -> Anchors | None:
        """Returns somebody's own anchors with the reach of this family; None where it is not known on these strides."""
        if strides in self.anchors:
            return Anchors(pixels, self.anchors[strides].scales)
        scales = {scale for anchors in self.anchors.values() for scale in anchors.scales}
        return Anchors(pixels, tuple(scales) * len(strides)) if len(scales) == 1 else None


P5, P6, TINY = (8, 16, 32), (8, 16, 32, 64), (16, 32)
V3_PIXELS = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
V4_PIXELS = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
P6_PIXELS = (
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)
# Sources: models/*.yaml of YOLOv5 and cfg/training/*.yaml of YOLOv7; cfg/yolov3.cfg and yolov3-tiny.cfg of Darknet;
# cfg/yolov4.cfg, yolov4-csp.cfg (new_coords) and yolov4-tiny.cfg of AlexeyAB's Darknet;
# ModelZoo/yolo-fastest-1.1_coco of Yolo-Fastest.
FAMILIES = (
    Family(
        "yolov5-levels",
        "YOLOv5",
        {P5: Anchors(V3_PIXELS, (2, 2, 2)), P6: Anchors(P6_PIXELS, (2, 2, 2, 2))},
        False,
        yolo.IOU_THRESHOLDS[yolo.YOLOV5],
        yolo.STEPS,
    ),
    Family("yolov7-levels", "YOLOv7", {P5: Anchors(V4_PIXELS, (2, 2, 2))}, False, 0.65, yolo.STEPS),
    Family("yolov4-csp-levels", "YOLOv4-CSP", {P5: Anchors(V4_PIXELS, (2, 2, 2))}, False, DARKNET_IOU, DARKNET_STEPS),
    Family(
        "yolov3-levels",
        "YOLOv3",
        {
            P5: Anchors(V3_PIXELS, (1, 1, 1)),
            TINY: Anchors(((10, 14, 23, 27, 37, 58), (81, 82, 135, 169, 344, 319)), (1, 1)),
        },
        True,
        DARKNET_IOU,
        LETTERBOX_STEPS,
    ),
    Family(
        "yolov4-levels",
        "YOLOv4",
        {
            P5: Anchors(V4_PIXELS, (1.2, 1.1, 1.05)),
            TINY: Anchors(((23, 27, 37, 58, 81, 82), (81, 82, 135, 169, 344, 319)), (1.05, 1.05)),
        },
        True,
        DARKNET_IOU,
        DARKNET_STEPS,
    ),
    Family(
        "yolo-fastest-levels",
        "Yolo-Fastest",
        {TINY: Anchors(((12, 18, 37, 49, 52, 132), (115, 73, 119, 199, 242, 238)), (1, 1))},
        True,
        DARKNET_IOU,
        DARKNET_STEPS,
    ),
)
