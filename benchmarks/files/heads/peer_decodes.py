"""Every head read a second time, one prediction after the other, from the descriptions its authors publish.

Nothing here is shared with the package: preparing a photo is OpenCV's, suppression and decoding are loops over plain
numbers. Boxes are (x1, y1, x2, y2) in pixels of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

Detection = tuple[list[float], float, int]
LEAST_SCORE = 0.01


@dataclass(frozen=True)
class Sheet:
    """The input `[H, W, 3]` that a photo became, and how x and y of it go back: (value - corner) / scale."""

    pixels: np.ndarray
    scales: tuple[float, float]
    corner: tuple[float, float] = (0.0, 0.0)


def ultralytics_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """LetterBox of Ultralytics: in the middle of grey 114, RGB divided by 255."""
    rows, columns = photo.shape[:2]
    ratio = min(height / rows, width / columns)
    new_width, new_height = round(columns * ratio), round(rows * ratio)
    across, down = (width - new_width) / 2, (height - new_height) / 2
    resized = cv2.resize(photo, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    top, bottom = round(down - 0.1), round(down + 0.1)
    left, right = round(across - 0.1), round(across + 0.1)
    framed = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return Sheet(framed.astype(np.float32) / 255, (ratio, ratio), (left, top))


def yolox_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """preproc of YOLOX: top left on grey 114, BGR, 0 to 255."""
    framed = np.full((height, width, 3), 114, np.uint8)
    ratio = min(height / photo.shape[0], width / photo.shape[1])
    size = (int(photo.shape[1] * ratio), int(photo.shape[0] * ratio))
    framed[: size[1], : size[0]] = cv2.resize(photo[:, :, ::-1], size, interpolation=cv2.INTER_LINEAR)
    return Sheet(framed.astype(np.float32), (ratio, ratio))


def nanodet_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """NanoDet without keep_ratio: stretched, BGR, its mean and deviation."""
    resized = cv2.resize(photo[:, :, ::-1], (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    normal = (resized - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    return Sheet(normal.astype(np.float32), (width / photo.shape[1], height / photo.shape[0]))


def centernet_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """CenterNet's mean and deviation, BGR, in the middle of black."""
    grey = ultralytics_sheet(photo, height, width)
    left, top = (round(side) for side in grey.corner)
    ratio = grey.scales[0]
    inner_height, inner_width = round(photo.shape[0] * ratio), round(photo.shape[1] * ratio)
    black = np.zeros_like(grey.pixels)
    inner = (slice(top, top + inner_height), slice(left, left + inner_width))
    black[inner] = grey.pixels[inner]
    normal = (black[:, :, ::-1] - [0.408, 0.447, 0.470]) / [0.289, 0.274, 0.278]
    return Sheet(normal.astype(np.float32), grey.scales, grey.corner)


def black_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """resize_pad of Qualcomm AI Hub: in the middle of black, RGB divided by 255."""
    grey = ultralytics_sheet(photo, height, width)
    left, top = (round(side) for side in grey.corner)
    inner_height, inner_width = (round(side * grey.scales[0]) for side in photo.shape[:2])
    black = np.zeros_like(grey.pixels)
    inner = (slice(top, top + inner_height), slice(left, left + inner_width))
    black[inner] = grey.pixels[inner]
    return Sheet(black, grey.scales, grey.corner)


def stretched_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """What the SSD detectors of TensorFlow get: stretched by Pillow, -1 to 1."""
    resized = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return Sheet(resized / 127.5 - 1, (width / photo.shape[1], height / photo.shape[0]))


def fomo_sheet(photo: np.ndarray, height: int, width: int) -> Sheet:
    """Edge Impulse's "fit shortest axis": the middle of the photo, divided by 255."""
    ratio = max(height / photo.shape[0], width / photo.shape[1])
    size = (round(photo.shape[1] * ratio), round(photo.shape[0] * ratio))
    left, top = (round((inner - side) / 2 + 0.1) for inner, side in zip(size, (width, height), strict=True))
    resized = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR)
    middle = np.asarray(resized.crop((left, top, left + width, top + height)), np.float32)
    return Sheet(middle / 255, (ratio, ratio), (-left, -top))


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def suppress(found: list[Detection], iou_threshold: float, limit: int) -> list[Detection]:
    """Keeps the best, then whatever overlaps no kept one of its class by more."""
    kept: list[Detection] = []
    for box, score, label in sorted(found, key=lambda one: (-one[1], one[2])):
        if len(kept) == limit:
            break
        if all(label != other or overlap(box, rival) <= iou_threshold for rival, _, other in kept):
            kept.append((box, score, label))
    return kept


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def yolov8(rows: np.ndarray, least: float) -> list[Detection]:
    found = []
    for row in rows:
        for label, score in enumerate(row[4:]):
            if score >= least:
                found.append((corners(*row[:4]), float(score), label))
    return suppress(found, 0.7, 300)


def yolov5(rows: np.ndarray, least: float) -> list[Detection]:
    found = []
    for row in rows:
        if row[4] < least:
            continue
        for label, score in enumerate(row[5:] * row[4]):
            if score >= least:
                found.append((corners(*row[:4]), float(score), label))
    return suppress(found, 0.6, 300)


def yolov6(rows: np.ndarray, least: float) -> list[Detection]:
    """evaler of YOLOv6: as YOLOv5 with an objectness of 1."""
    found = []
    for row in rows:
        for label, score in enumerate(row[5:]):
            if score >= least:
                found.append((corners(*row[:4]), float(score), label))
    return suppress(found, 0.65, 300)


def parts(boxes: np.ndarray, scores: np.ndarray, least: float, *, are_corners: bool) -> list[Detection]:
    found = []
    for box, row in zip(boxes.tolist(), scores, strict=True):
        for label, score in enumerate(row):
            if score >= least:
                found.append((box if are_corners else corners(*box), float(score), label))
    return suppress(found, 0.7, 300)


def best(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, least: float) -> list[Detection]:
    """postprocessing of Qualcomm AI Hub's YOLO: one class for each row."""
    rows = zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
    return suppress([(box, score, int(label)) for box, score, label in rows if score >= least], 0.7, 300)


def yolox(rows: np.ndarray, least: float) -> list[Detection]:
    found = []
    for row in rows:
        label = int(np.argmax(row[5:]))
        score = float(row[4] * row[5 + label])
        if score >= least:
            found.append((corners(*row[:4]), score, label))
    return suppress(found, 0.65, 300)


def yolox_grid(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """Decodes every row: cells of 8, 16 and 32 pixels, row by row."""
    decoded, number = rows.astype(np.float64), 0
    for stride in (8, 16, 32):
        for y in range(height // stride):
            for x in range(width // stride):
                row = decoded[number]
                decoded[number, :4] = [
                    (row[0] + x) * stride,
                    (row[1] + y) * stride,
                    math.exp(row[2]) * stride,
                    math.exp(row[3]) * stride,
                ]
                number += 1
    return decoded


def nanodet(rows: np.ndarray, height: int, width: int, *, classes: int, plus: bool, least: float) -> list[Detection]:
    found, number = [], 0
    for stride in (8, 16, 32, 64) if plus else (8, 16, 32):
        for cell_y in range(math.ceil(height / stride)):
            for cell_x in range(math.ceil(width / stride)):
                row = rows[number]
                number += 1
                x, y = ((cell + (0 if plus else 0.5)) * stride for cell in (cell_x, cell_y))
                if row[:classes].max() < least:
                    continue
                away = []
                for side in np.split(row[classes:].astype(np.float64), 4):
                    parts = [math.exp(value - side.max()) for value in side]
                    away.append(sum(part * step for step, part in enumerate(parts)) / sum(parts) * stride)
                box = [max(x - away[0], 0), max(y - away[1], 0), min(x + away[2], width), min(y + away[3], height)]
                found += [(box, float(score), label) for label, score in enumerate(row[:classes]) if score >= least]
    return suppress(found, 0.6, 100)


def fomo(grid: np.ndarray, stride: int, least: float) -> list[Detection]:
    """Edge Impulse's two passes over cells; an object keeps its width when it grows to the left."""

    def grows(one: dict, x: int, y: int, width: int, height: int, score: float) -> bool:
        apart = one["x"] + one["w"] < x or one["y"] + one["h"] < y or one["x"] > x + width or one["y"] > y + height
        if apart:
            return False
        one["x"] = x if x < one["x"] else one["x"]
        one["y"] = y if y < one["y"] else one["y"]
        if x + width > one["x"] + one["w"]:
            one["w"] += (x + width) - (one["x"] + one["w"])
        if y + height > one["y"] + one["h"]:
            one["h"] += (y + height) - (one["y"] + one["h"])
        one["score"] = max(one["score"], score)
        return True

    first: list[dict] = []
    for y in range(grid.shape[0]):
        for x in range(grid.shape[1]):
            for label in range(grid.shape[2] - 1):
                score = float(grid[y, x, label + 1])
                if score < least:
                    continue
                same = [one for one in first if one["label"] == label]
                if not any(grows(one, x, y, 1, 1, score) for one in same):
                    first.append({"x": x, "y": y, "w": 1, "h": 1, "score": score, "label": label})
    second: list[dict] = []
    found = []
    for one in first:
        x, y, width, height, score = one["x"], one["y"], one["w"], one["h"], one["score"]
        same = [other for other in second if other["label"] == one["label"]]
        if any(grows(other, x, y, width, height, score) for other in same):
            continue
        second.append(one)
        box = [float(side * stride) for side in (x, y, x + width, y + height)]
        found.append((box, score, one["label"]))
    return sorted(found, key=lambda one: -one[1])


def centernet(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, stride: int, least: float) -> list[Detection]:
    rows, columns, classes = heat.shape
    peaks = []
    for y in range(rows):
        for x in range(columns):
            for label in range(classes):
                around = heat[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, label]
                if heat[y, x, label] == around.max():
                    peaks.append((float(heat[y, x, label]), y, x, label))
    found = []
    for score, y, x, label in sorted(peaks, key=lambda one: -one[0])[:100]:
        if score >= least:
            box = corners(x + offset[y, x, 0], y + offset[y, x, 1], *size[y, x])
            found.append(([float(side * stride) for side in box], score, label))
    return found


def in_photo(found: list[Detection], sheet: Sheet, photo: np.ndarray) -> list[Detection]:
    """Brings boxes back to the photo and cuts them at its border; what is outside goes."""
    back = []
    for box, score, label in found:
        sides = [(side - sheet.corner[place % 2]) / sheet.scales[place % 2] for place, side in enumerate(box)]
        limits = [photo.shape[1], photo.shape[0]] * 2
        cut = [min(max(side, 0.0), limit) for side, limit in zip(sides, limits, strict=True)]
        if cut[2] > cut[0] and cut[3] > cut[1]:
            back.append((cut, score, label))
    return sorted(back, key=lambda one: -one[1])


SHEETS: dict[str, Callable[[np.ndarray, int, int], Sheet]] = {
    "yolov8": ultralytics_sheet,
    "yolov5": ultralytics_sheet,
    "yolov6": ultralytics_sheet,
    "yolo-parts": ultralytics_sheet,
    "yolo-best": black_sheet,
    "yolo-nms": ultralytics_sheet,
    "yolov5-nms": ultralytics_sheet,
    "yolox": yolox_sheet,
    "yolox-grid": yolox_sheet,
    "nanodet": nanodet_sheet,
    "nanodet-plus": nanodet_sheet,
    "centernet": centernet_sheet,
    "centernet-tf": stretched_sheet,
    "postprocess": stretched_sheet,
    "fomo": fomo_sheet,
}
