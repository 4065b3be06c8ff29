"""Maps of YOLO with three anchors for each cell. The file does not have them: the published ones are assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.detectors.heads import yolo
from edge.detectors.heads.head import Found, Head, Read, Seen, are_shares, sigmoid
from edge.detectors.heads.levels.maps import ANCHORS, Pyramid
from edge.detectors.pictures import Steps

DARKNET_IOU = 0.45
DARKNET_STEPS = Steps((0.0,), (255.0,), antialias=False, source="as Darknet does")
LETTERBOX_STEPS = Steps(
    (0.0,), (255.0,), resize="letterbox-centre", antialias=False, fill=128, source="as Darknet does"
)


@dataclass(frozen=True)
class Anchors:
    """Width and height in pixels, three for each stride, and how far centres reach: `scales`, 1 is the cell itself."""

    pixels: tuple[tuple[int, ...], ...]
    scales: tuple[float, ...]

    def of_cells(self, pyramid: Pyramid) -> tuple[np.ndarray, np.ndarray]:
        """Returns `[n, 3, 2]` anchors and `[n, 1, 1]` scales, a row for each cell."""
        number = [level[0].cells for level in pyramid.levels]
        anchors = np.array(self.pixels, np.float32).reshape(-1, ANCHORS, 2)
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
# cfg/yolov4.cfg and yolov4-tiny.cfg of AlexeyAB's Darknet; ModelZoo/yolo-fastest-1.1_coco of Yolo-Fastest.
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


def recognise(seen: Seen, pyramid: Pyramid, *, values: Sequence[np.ndarray]) -> list[tuple[Head, int]]:
    """Returns the readings of `[..., 3 * (5 + classes)]`, each with how sure it is (`levels.recognise`).

    Values from 0 to 1 are those behind the sigmoid, which leave YOLOv5 and 7: the others take exp of what is before.
    """
    if len(pyramid.levels[0]) > 1 or pyramid.channels[0] % ANCHORS:
        return []
    classes = pyramid.channels[0] // ANCHORS - 5
    if not seen.fits_classes(classes):
        return []
    logits = not are_shares(pyramid.table(values))
    sure = 2 if not logits else int(pyramid.has_anchors)
    found = []
    for family in FAMILIES:
        anchors = family.anchors.get(pyramid.strides)
        if anchors is None or not seen.allows(family.name) or (family.exponential and not logits):
            continue
        why = (
            f"{pyramid.told()} of 3 anchors; columns are 4 of a box, an objectness and {classes} classes, "
            f"{'before' if logits else 'behind'} the sigmoid; the file has no anchors: those published for {family.of} "
            f"are assumed; suppression within a class at IoU {family.iou_threshold:g}"
        )
        read = partial(_read, pyramid=pyramid, family=family, logits=logits, rest=_rest(family, pyramid))
        found.append((Head(family.name, why, read, family.steps, "pixels"), sure))
    return found


def decode(
    values: np.ndarray, places: np.ndarray, *, anchors: np.ndarray, scales: np.ndarray, exponential: bool, logits: bool
) -> np.ndarray:
    """Returns `[n * 3, 5 + classes]`, as YOLOv5 joins them in the file, of `[n, 3, 5 + classes]`.

    `places` is `cells(...)` with offset 0. A centre is ((sigmoid(value) - 0.5) * scale + 0.5 + cell) * stride.

    Source: yolov5/models/yolo.py, Detect; AlexeyAB's Darknet, src/yolo_layer.c, get_yolo_box.
    """
    shares = sigmoid(values) if logits else values
    stride = places[:, None, 2:]
    centres = ((shares[..., :2] - 0.5) * scales + 0.5) * stride + places[:, None, :2]
    with np.errstate(over="ignore"):
        factors = np.exp(values[..., 2:4]) if exponential else (2 * shares[..., 2:4]) ** 2
    table = np.concatenate([centres, factors * anchors, shares[..., 4:]], axis=2)
    return table.reshape(-1, values.shape[2])


def _rest(family: Family, pyramid: Pyramid) -> Read:
    return partial(
        yolo.read_rows,
        decode=yolo.decode_yolov5,
        iou_threshold=family.iou_threshold,
        channels_first=False,
        units="pixels",
        height=pyramid.height,
        width=pyramid.width,
    )


def _read(
    outputs: Sequence[np.ndarray], score_threshold: float, *, pyramid: Pyramid, family: Family, logits: bool, rest: Read
) -> Found:
    table = pyramid.table(outputs)
    anchors, scales = family.anchors[pyramid.strides].of_cells(pyramid)
    decoded = decode(
        table.reshape(len(table), ANCHORS, -1),
        pyramid.places(0.0),
        anchors=anchors,
        scales=scales,
        exponential=family.exponential,
        logits=logits,
    )
    return rest([decoded[None]], score_threshold)
