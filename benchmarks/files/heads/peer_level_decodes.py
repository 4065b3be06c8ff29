"""Heads that end in maps for each level, read a second time: cell by cell, from the descriptions of their authors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from peer_decodes import (
    SHEETS,
    Detection,
    Sheet,
    corners,
    nanodet_sheet,
    suppress,
    ultralytics_sheet,
    yolox_sheet,
)

Levels = list[tuple[int, list[np.ndarray]]]
COCO_V3 = [[(10, 13), (16, 30), (33, 23)], [(30, 61), (62, 45), (59, 119)], [(116, 90), (156, 198), (373, 326)]]
COCO_V4 = [[(12, 16), (19, 36), (40, 28)], [(36, 75), (76, 55), (72, 146)], [(142, 110), (192, 243), (459, 401)]]
TINY = [[(10, 14), (23, 27), (37, 58)], [(81, 82), (135, 169), (344, 319)]]
P6 = [
    [(19, 27), (44, 40), (38, 94)],
    [(96, 68), (86, 152), (180, 137)],
    [(140, 301), (303, 264), (238, 542)],
    [(436, 615), (739, 380), (925, 792)],
]
ANCHORS = {
    ("yolov5-levels", 3): COCO_V3,
    ("yolov5-levels", 4): P6,
    ("yolov7-levels", 3): COCO_V4,
    ("yolov4-csp-levels", 3): COCO_V4,
    ("yolov3-levels", 3): COCO_V3,
    ("yolov3-levels", 2): TINY,
    ("yolov4-levels", 3): COCO_V4,
    ("yolov4-levels", 2): [[(23, 27), (37, 58), (81, 82)], TINY[1]],
    ("yolo-fastest-levels", 2): [[(12, 18), (37, 49), (52, 132)], [(115, 73), (119, 199), (242, 238)]],
}
YOLOV4_REACH = {("yolov4-levels", 3): [1.2, 1.1, 1.05], ("yolov4-levels", 2): [1.05, 1.05]}
IOUS = {"yolov5-levels": 0.6, "yolov7-levels": 0.65}


def darknet_letterbox_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """letterbox_image of Darknet: in the middle of grey, RGB divided by 255."""
    sheet = ultralytics_sheet(photo, height, width)
    left, top = (round(side) for side in sheet.corner)
    inner_height, inner_width = (round(side * sheet.scales[0]) for side in photo.shape[:2])
    grey = np.full_like(sheet.pixels, 128 / 255)
    inner = (slice(top, top + inner_height), slice(left, left + inner_width))
    grey[inner] = sheet.pixels[inner]
    return Sheet(grey, sheet.scales, sheet.corner)


def darknet_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """AlexeyAB's Darknet: stretched, RGB divided by 255."""
    resized = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return Sheet(resized / 255, (width / photo.shape[1], height / photo.shape[0]))


LEVEL_SHEETS: dict[str, Callable[[np.ndarray, int, int], Sheet]] = {
    "yolov5-levels": ultralytics_sheet,
    "yolov7-levels": ultralytics_sheet,
    "yolov8-levels": ultralytics_sheet,
    "yolov6-levels": ultralytics_sheet,
    "yolov4-csp-levels": darknet_sheet,
    "yolov3-levels": darknet_letterbox_sheet,
    "yolov4-levels": darknet_sheet,
    "yolo-fastest-levels": darknet_sheet,
    "yolox-levels": yolox_sheet,
    "nanodet-levels": nanodet_sheet,
    "nanodet-plus-levels": nanodet_sheet,
}
ALL_SHEETS = SHEETS | LEVEL_SHEETS


def detect(
    outputs: Sequence[np.ndarray],
    head: str,
    height: int,
    width: int,
    *,
    classes: int,
    least: float,
    anchors: Sequence[Sequence[float]] | None = None,
) -> list[Detection]:
    """Returns what a head of `LEVEL_SHEETS` finds, boxes in pixels of the input."""
    own = None if anchors is None else [list(zip(level[::2], level[1::2], strict=True)) for level in anchors]
    levels = by_level(outputs, height, width, per_cell=3 if own is None else len(own[0]))
    if head == "yolov8-levels":
        return _yolov8(levels, classes, least, box=64, iou=0.7)
    if head == "yolov6-levels":
        channels = {grid.shape[2] for grid in levels[0][1]}
        return _yolov8(levels, classes, least, box=68 if 68 in channels else 4, iou=0.65)
    if head == "yolox-levels":
        return _yolox(levels, classes, least)
    if head.startswith("nanodet"):
        return _nanodet(levels, classes, least, plus=head == "nanodet-plus-levels", limits=(height, width))
    return _anchored(levels, head, classes, least, own=own)


def by_level(outputs: Sequence[np.ndarray], height: int, width: int, *, per_cell: int) -> Levels:
    """Returns the stride and the maps `[rows, columns, channels]` of each level, finest first.

    Sides of `[cells, channels]` may be as long as each other, so that only all outputs together tell which is which.
    """
    outputs = [part for output in outputs for part in cut_into_levels(output, height, width)]
    for cells_first in (True, False):
        levels: dict[int, list[np.ndarray]] = {}
        for output in outputs:
            for stride in (8, 16, 32, 64):
                rows, columns = math.ceil(height / stride), math.ceil(width / stride)
                grid = as_grid(output[0], rows, columns, cells_first=cells_first, per_cell=per_cell)
                if grid is not None:
                    levels.setdefault(stride, []).append(grid.astype(np.float64))
                    break
        channels = {tuple(sorted(one.shape[2] for one in grids)) for grids in levels.values()}
        if len(levels) > 1 and sum(map(len, levels.values())) == len(outputs) and len(channels) == 1:
            return sorted(levels.items())
    raise ValueError([output.shape for output in outputs])


def cut_into_levels(output: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """Returns the levels of an output that has the cells of strides 8, 16, 32 below each other; others as they are."""
    numbers = [math.ceil(height / stride) * math.ceil(width / stride) for stride in (8, 16, 32)]
    if output.ndim != 3 or sum(numbers) not in output.shape:
        return [output]
    table = output[0] if output.shape[1] == sum(numbers) else output[0].T
    ends = np.cumsum(numbers)
    return [table[end - number : end][None] for number, end in zip(numbers, ends, strict=True)]


def as_grid(values: np.ndarray, rows: int, columns: int, *, cells_first: bool, per_cell: int) -> np.ndarray | None:
    """Returns `[rows, columns, channels]`, one anchor after the other; None if it does not fit."""
    shape, number = values.shape, rows * columns
    if values.ndim == 2 and cells_first and shape[0] == number:
        return values.reshape(rows, columns, -1)
    if values.ndim == 2 and not cells_first and shape[1] == number:
        return values.T.reshape(rows, columns, -1)
    if values.ndim == 3 and shape[:2] == (rows, columns):
        return values
    if values.ndim == 3 and shape[1:] == (rows, columns):
        return np.moveaxis(values, 0, 2)
    if values.ndim == 3 and shape[:2] == (number, per_cell):
        return values.reshape(rows, columns, -1)
    if values.ndim == 3 and shape[:2] == (per_cell, number):
        return np.concatenate(list(values), axis=1).reshape(rows, columns, -1)
    if values.ndim == 4 and shape[:3] == (rows, columns, per_cell):
        return values.reshape(rows, columns, -1)
    if values.ndim == 4 and shape[:3] == (per_cell, rows, columns):
        return np.concatenate(list(values), axis=2)
    if values.ndim == 4 and shape[0] == per_cell and shape[2:] == (rows, columns):
        return np.concatenate([np.moveaxis(one, 0, 2) for one in values], axis=2)
    return None


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def behind_sigmoid(levels: Sequence[np.ndarray]) -> bool:
    """Whether scores are from 0 to 1 in all levels, but for the rounding of int8."""
    return min(one.min() for one in levels) >= -0.01 and max(one.max() for one in levels) <= 1.01


def _anchored(levels: Levels, head: str, classes: int, least: float, *, own: list | None) -> list[Detection]:
    maps = [grids[0] for _, grids in levels]
    ready = behind_sigmoid(maps)
    five = head in ("yolov5-levels", "yolov7-levels", "yolov4-csp-levels")
    kind = (head, len(levels))
    anchors = ANCHORS[kind] if own is None else own
    found = []
    for number, (stride, _) in enumerate(levels):
        reach = YOLOV4_REACH[kind][number] if kind in YOLOV4_REACH else 1.0
        for (y, x), cell in _cells(maps[number]):
            for row, (wide, high) in zip(np.split(cell, len(anchors[number])), anchors[number], strict=True):
                share = (lambda value: value) if ready else sigmoid
                likely = share(row[4])
                if likely < least:
                    continue
                scores = [share(value) * likely for value in row[5 : 5 + classes]]
                if max(scores) < least:
                    continue
                if five:
                    middle = [(2 * share(row[side]) - 0.5 + (x, y)[side]) * stride for side in (0, 1)]
                    size = [4 * share(row[2]) ** 2 * wide, 4 * share(row[3]) ** 2 * high]
                else:
                    moved = [reach * sigmoid(row[side]) - (reach - 1) / 2 for side in (0, 1)]
                    middle = [(moved[0] + x) * stride, (moved[1] + y) * stride]
                    size = [math.exp(row[2]) * wide, math.exp(row[3]) * high]
                box = corners(*middle, *size)
                found += [(box, score, label) for label, score in enumerate(scores) if score >= least]
    return suppress(found, IOUS.get(head, 0.45), 300)


def _yolov8(levels: Levels, classes: int, least: float, *, box: int, iou: float) -> list[Detection]:
    """Distances from the middle of a cell: of YOLOv8, and of YOLOv6 with four of them (`box`) or distributions."""
    pairs = []
    for stride, grids in levels:
        if len(grids) == 1:
            pairs.append((stride, grids[0][..., :box], grids[0][..., box : box + classes]))
        else:
            boxes = next(one for one in grids if one.shape[2] == box)
            pairs.append((stride, boxes, next(one for one in grids if one is not boxes and one.shape[2] == classes)))
    ready = behind_sigmoid([scores for _, _, scores in pairs])
    found = []
    for stride, boxes, logits in pairs:
        for (y, x), cell in _cells(logits):
            scores = list(cell) if ready else [sigmoid(value) for value in cell]
            if max(scores) < least:
                continue
            left, upper, right, lower = boxes[y, x] if box == 4 else _expected(boxes[y, x])
            sides = [(x + 0.5 - left) * stride, (y + 0.5 - upper) * stride]
            sides += [(x + 0.5 + right) * stride, (y + 0.5 + lower) * stride]
            found += [(sides, float(score), label) for label, score in enumerate(scores) if score >= least]
    return suppress(found, iou, 300)


def _yolox(levels: Levels, classes: int, least: float) -> list[Detection]:
    parts = []
    for stride, grids in levels:
        if len(grids) == 1:
            grid = grids[0]
        else:
            widths = {one.shape[2]: one for one in grids}
            grid = np.concatenate([widths[4], widths[1], widths[classes]], axis=2)
        parts.append((stride, grid))
    ready = behind_sigmoid([grid[..., 4:] for _, grid in parts])
    found = []
    for stride, grid in parts:
        for (y, x), cell in _cells(grid):
            likely, *scores = list(cell[4:]) if ready else [sigmoid(value) for value in cell[4:]]
            label = int(np.argmax(scores))
            score = float(likely * scores[label])
            if score < least:
                continue
            middle = [(cell[0] + x) * stride, (cell[1] + y) * stride]
            found.append((corners(*middle, math.exp(cell[2]) * stride, math.exp(cell[3]) * stride), score, label))
    return suppress(found, 0.65, 300)


def _nanodet(levels: Levels, classes: int, least: float, *, plus: bool, limits: tuple[int, int]) -> list[Detection]:
    pairs = []
    for stride, grids in levels:
        if len(grids) == 1:
            pairs.append((stride, grids[0][..., :classes], grids[0][..., classes:]))
        else:
            scores = next(one for one in grids if one.shape[2] == classes)
            pairs.append((stride, scores, next(one for one in grids if one is not scores)))
    ready = behind_sigmoid([scores for _, scores, _ in pairs])
    height, width = limits
    found = []
    for stride, logits, distances in pairs:
        for (y, x), cell in _cells(logits):
            scores = list(cell) if ready else [sigmoid(value) for value in cell]
            if max(scores) < least:
                continue
            left, upper, right, lower = (step * stride for step in _expected(distances[y, x]))
            middle_x, middle_y = ((place + (0 if plus else 0.5)) * stride for place in (x, y))
            box = [max(middle_x - left, 0), max(middle_y - upper, 0)]
            box += [min(middle_x + right, width), min(middle_y + lower, height)]
            found += [(box, float(score), label) for label, score in enumerate(scores) if score >= least]
    return suppress(found, 0.6, 100)


def _expected(values: np.ndarray) -> list[float]:
    """Returns the expected step of each of four distributions."""
    steps = []
    for side in np.split(values, 4):
        parts = [math.exp(value - side.max()) for value in side]
        steps.append(sum(step * part for step, part in enumerate(parts)) / sum(parts))
    return steps


def _cells(grid: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
    return [((y, x), grid[y, x]) for y in range(grid.shape[0]) for x in range(grid.shape[1])]
