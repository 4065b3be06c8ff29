"""How a photo becomes the input of somebody's network: where it lies, how it is resized, normalised and ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.runtime import resize_image

GREY = 114  # what Ultralytics and YOLOX fill the rest of a letterbox with
RESIZE_MODES = ("stretch", "letterbox", "letterbox-centre", "letterbox-grey", "crop")


@dataclass(frozen=True)
class Steps:
    """What is done to a photo; `source` says who decided it.

    A pixel becomes (pixel - mean) / std, with a mean and std for each channel in the network's order, which is blue,
    green, red where `bgr`. `resize` is `stretch`, which fills the input; `letterbox`, top left with black behind, as
    pycoral; `letterbox-centre`, in the middle with `fill` around, as Ultralytics; `letterbox-grey`, top left with it
    behind, as YOLOX; or `crop`, which fills the input with the middle of the photo, as Edge Impulse. `antialias` is
    false where the original resizes with OpenCV's bilinear filter.
    """

    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    bgr: bool = False
    resize: str = "stretch"
    antialias: bool = True
    fill: int = GREY
    source: str = "assumed, the file does not say"


@dataclass(frozen=True)
class Placement:
    """Where a photo lies in the input: (y, x) input pixels per image pixel, and the place of its upper left corner."""

    scales: tuple[float, float]
    corner: tuple[int, int] = (0, 0)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Returns boxes `[n, 4]` (y1, x1, y2, x2) in pixels of the image from pixels of the input."""
        moved = boxes - np.array([*self.corner, *self.corner], np.float32)
        return moved / np.array([*self.scales, *self.scales], np.float32)


def place(image: np.ndarray, height: int, *, width: int, steps: Steps) -> tuple[np.ndarray, Placement]:
    """Returns uint8 RGB `[height, width, 3]` of an image of any size, and where the image is in it."""
    if steps.resize in ("stretch", "letterbox") and steps.antialias:
        pixels, scales = resize_image(image, height, width=width, mode=steps.resize)
        return pixels, Placement(scales)
    rows, columns = image.shape[:2]
    if steps.resize == "stretch":
        return bilinear(image, height, width=width), Placement((height / rows, width / columns))
    choose = max if steps.resize == "crop" else min
    scale = choose(height / rows, width / columns)
    whole = (lambda side: int(side)) if steps.resize == "letterbox-grey" else round
    inner = [max(1, whole(rows * scale)), max(1, whole(columns * scale))]
    if steps.antialias:
        resized, _ = resize_image(image, inner[0], width=inner[1], mode="stretch")
    else:
        resized = bilinear(image, inner[0], width=inner[1])
    corner = (0, 0)
    if steps.resize in ("letterbox-centre", "crop"):
        corner = (_half(height - inner[0]), _half(width - inner[1]))
    pixels = np.full((height, width, 3), 0 if steps.resize == "letterbox" else steps.fill, np.uint8)
    top, left = corner
    seen = resized[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
    pixels[max(top, 0) : max(top, 0) + seen.shape[0], max(left, 0) : max(left, 0) + seen.shape[1]] = seen
    return pixels, Placement((scale, scale), corner)


def _half(room: int) -> int:
    """Returns the smaller half, as Ultralytics' LetterBox does: round(room / 2 - 0.1)."""
    return round(room / 2 - 0.1)


def bilinear(image: np.ndarray, height: int, *, width: int) -> np.ndarray:
    """Resizes uint8 `[rows, columns, 3]` from the nearest four pixels, as OpenCV's INTER_LINEAR does to the last bit.

    Unlike Pillow's filter of that name it does not widen when the image gets smaller, so small things may be lost.

    Source: opencv, modules/imgproc/src/resize.cpp: weights are whole 2048ths, rows are mixed with 16 bits.
    """
    if image.shape[:2] == (height, width):
        return image
    left, right, near, far = _neighbours(image.shape[1], width, cut=True)
    values = image.astype(np.int32)
    across = values[:, left] * near[:, None] + values[:, right] * far[:, None]
    upper, lower, near, far = _neighbours(image.shape[0], height, cut=False)
    mixed = near[:, None, None] * (across[upper] >> 4) >> 16
    mixed += far[:, None, None] * (across[lower] >> 4) >> 16
    return np.asarray((mixed + 2) >> 2, np.uint8)


def _neighbours(sides: int, size: int, *, cut: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns for each new pixel its two old ones and their weights of 2048; `cut` gives one all of it at the ends."""
    places = ((np.arange(size) + 0.5) * (sides / size) - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.int64)
    share = places - first.astype(np.float32)
    if cut:
        share[(first < 0) | (first >= sides - 1)] = 0
        first = np.clip(first, 0, sides - 1)
    weights = [np.rint(part * np.float32(2048)).astype(np.int32) for part in (1 - share, share)]
    return np.clip(first, 0, sides - 1), np.clip(first + 1, 0, sides - 1), weights[0], weights[1]


LUMA = np.array([19595, 38470, 7471])  # 65536ths of red, green, blue: ITU-R BT.601 as Pillow rounds it


def as_input(pixels: np.ndarray, detail: dict[str, Any], *, steps: Steps, nchw: bool, grey: bool = False) -> np.ndarray:
    """Returns the tensor of uint8 RGB `[height, width, 3]`; `detail` is LiteRT's of the input."""
    if grey:
        pixels = ((pixels @ LUMA + 32768) >> 16).astype(np.uint8)[..., None]
    elif steps.bgr:
        pixels = pixels[..., ::-1]
    kind = np.dtype(detail["dtype"])
    if kind == np.uint8 and takes_bytes(detail, steps):
        values = pixels
    else:
        values = (pixels.astype(np.float32) - np.array(steps.mean, np.float32)) / np.array(steps.std, np.float32)
        if kind != np.float32:
            scale, zero_point = detail["quantization"]
            limits = np.iinfo(kind)
            values = np.clip(np.round(values / np.float32(scale)) + zero_point, limits.min, limits.max)
    if nchw:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], kind)


def takes_bytes(detail: dict[str, Any], steps: Steps) -> bool:
    """Whether a uint8 input means the pixels themselves: its quantization undoes what `steps` do, within 2 levels."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return True
    levels = np.array([[0.0], [255.0]])
    stored = (levels - np.array(steps.mean)) / np.array(steps.std) / scale + zero_point
    return bool((np.abs(stored - levels) <= 2).all())
