"""Runs an exported detector on an image with NumPy and the LiteRT interpreter alone: no TensorFlow, no other file.

Copy this one file to the device and `pip install numpy ai-edge-litert` (and Pillow, unless images arrive as arrays of
the network's own size; for HEIC pillow-heif). As a program: `python runtime.py MODEL.tflite IMAGE` prints the
detections as JSON. On a Coral: `--delegate edgetpu`, with the file that `edgetpu_compiler` wrote.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import math
import mmap
import platform
import struct
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

EVALUATION_SCORE_THRESHOLD = 0.01
"""Low, because average precision needs the whole precision-recall curve."""

SHOW_SCORE_THRESHOLD = 0.3
"""For pictures and people."""

SPEC_MEMBER, EXPORT_MEMBER, LABELS_MEMBER = "detector.json", "export.json", "labels.txt"
MEMBER_LIMIT = 4_000_000  # bytes of a description; more is not ours
ANCHOR_LIMIT = 10_000_000  # 4096 x 4096 pixels with 9 anchors a cell have 3.1 million
THREAD_LIMIT = 1024

TENSOR_LIMIT = 1 << 30  # bytes of one feature map
MEMORY_LIMIT = 1 << 31  # bytes of all feature maps that are needed at one moment
TABLE_LIMIT = 1_000_000  # in a network; a large one has some ten thousand

PIXEL_LIMIT = 100_000_000  # of an image; a header that claims more is refused before anything is decoded
STRIP_PIXELS = 1 << 22  # of a larger image that are converted at once: each step of the conversion is a copy
SIDE_LIMIT = 65_500  # the longest side of a JPEG
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "HEIF")
"""All that Pillow may take a file for, whatever its name: for EPS it would start Ghostscript."""

HEIF_SUFFIXES = (".heic", ".heif")

EXIF_ORIENTATION = 0x0112
EXIF_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What makes an image upright, as Pillow names it, by its EXIF orientation."""

EDGETPU_LIBRARIES = {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"}

BANDED_PIXELS = 100_000  # of an image; a smaller one is resized before a second thread has begun

PICAMERA2_RGB = {"BGR888": (0, 1, 2), "XBGR8888": (0, 1, 2), "RGB888": (2, 1, 0), "XRGB8888": (2, 1, 0)}
"""Where red, green and blue lie in a frame of picamera2, by the name of its format, which counts from the last byte."""

NMS_BLOCK = 128  # candidates whose overlaps are computed at once; most images have fewer


class ModelFileError(ValueError):
    """The file is not a detector that `keras-retina export` wrote, or it was damaged. The message is one line."""


class ImageFileError(ValueError):
    """The image file is cut off, damaged or unknown to Pillow. The message is one line and names it."""


class DelegateError(OSError):
    """A delegate cannot be loaded, or the file needs one that was not asked for. The message is one line."""


@dataclass(frozen=True)
class Description:
    """What the zip at the end of the file says: the detector (`DetectorSpec`) and how it was exported.

    `head` is `postprocess` (TFLite_Detection_PostProcess inside), `builtin` (the same from builtin operators) or `raw`
    (ends at logits and deltas). The thresholds and `nms` are those inside a file, and the defaults of a raw one.
    `nms`: boxes suppress those of their class (`per_class`), or all (`fast`; an anchor has one class then, its best).
    """

    class_names: tuple[str, ...]
    height: int
    width: int
    resize: str
    levels: tuple[int, int]
    anchor_size: float
    anchor_scales: tuple[float, ...]
    anchor_ratios: tuple[float, ...]
    coder_weights: tuple[float, ...]
    kind: str
    head: str
    score_threshold: float
    iou_threshold: float
    max_detections: int
    nms: Literal["per_class", "fast"] = "per_class"
    anchor_offset: float = 0.5
    anchor_whole_pixels: bool = False
    anchor_clip: bool = False
    clip_boxes: bool = False


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best score first.

    Attributes:
        boxes: float32 `[n, 4]` as `[y1, x1, y2, x2]` in pixels of the image and inside it.
        scores: float32 `[n]`, 0 to 1.
        classes: int32 `[n]`, index into `Detector.class_names`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Detector:
    """One opened `.tflite` file; `detect` is the whole way from camera pixels to boxes.

    `detect` and `detect_all` may be called from several threads: the network runs for one of them at a time, the others
    prepare their images meanwhile. `invoke`, `postprocess` and `heads` belong to one thread.

    Args:
        path: a `.tflite` file that `keras-retina export` or `edge.export_detector` wrote.
        threads: of the interpreter, at least 1.
        delegate: `"edgetpu"` for a Coral and a file compiled for it, or the path of another LiteRT delegate library.

    Raises:
        ModelFileError: the file is missing, damaged, or no detector of ours.
        DelegateError: the delegate cannot be loaded, or a file compiled for the Edge TPU is opened without it.
        ImportError: there is no LiteRT interpreter.
    """

    def __init__(self, path: str | Path, threads: int = 2, *, delegate: str | Path | None = None) -> None:
        if not 1 <= threads <= THREAD_LIMIT:
            raise ValueError(
                f"expected 1 to {THREAD_LIMIT} threads. Received: threads={threads}. Use as many as there are cores."
            )
        self.path = Path(path)
        self.description = read_description(self.path)
        self.class_names = self.description.class_names
        _check_file(self.path)
        self.interpreter = _open_interpreter(self.path, threads, delegate=delegate)
        try:
            self._input = self.interpreter.get_input_details()
            self._outputs = self.interpreter.get_output_details()
        except ValueError as error:
            raise _not_ours(self.path, f"LiteRT said: {error}") from error
        self._check_tensors()
        self._anchors = anchor_boxes(self.description) if self.description.head == "raw" else None
        self._workers, self._threads = ThreadPoolExecutor(threads), threads
        self._lock = threading.Lock()

    def detect(
        self,
        image: Any,
        score_threshold: float = SHOW_SCORE_THRESHOLD,
        *,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Finds the objects of an image.

        Args:
            image: uint8 RGB `[height, width, 3]` of any size, a Pillow image, or the path of an image file. Of a frame
                of a Pi's camera `picamera2_frame` makes RGB.
            score_threshold: least score, 0 to 1; a postprocess file itself has dropped what is under its own threshold.
            iou_threshold: of two boxes of a class that overlap more, the lower-scored goes. Default: that of the file.
            max_detections: most boxes returned. Default, and most possible for a postprocess file: that of the file.

        Raises:
            ImageFileError: the image file cannot be read.
            ModelFileError: LiteRT could not run the network, or what it returned are no detections.
            ImportError: the image has to be read or resized, and there is no Pillow.
            ValueError: the image has another shape or type, the score is out of range, or a postprocess file cannot do
                what is asked.
        """
        if not 0 <= score_threshold <= 1:
            raise ValueError(
                f"expected a score from 0 to 1. Received: score_threshold={score_threshold}. For 30 percent: 0.3."
            )
        image = as_array(image)
        pixels, scales = self.prepare(image)
        with self._lock:
            self.invoke(pixels)
            found = self.postprocess(score_threshold, iou_threshold, max_detections=max_detections)
        height, width = image.shape[:2]
        boxes = found.boxes / np.array([*scales, *scales], np.float32)
        boxes = np.clip(boxes, 0, np.array([height, width, height, width], np.float32))
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Detections(boxes[visible].astype(np.float32), found.scores[visible], found.classes[visible])

    def detect_all(self, images: Iterable[Any], score_threshold: float = SHOW_SCORE_THRESHOLD) -> Iterator[Detections]:
        """Finds the objects of each image in turn, as they are asked for: the files have a static batch of 1."""
        for image in images:
            yield self.detect(image, score_threshold)

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Resizes an image; returns uint8 `[1, H, W, 3]` for `invoke` and (y, x) input pixels per image pixel."""
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            advice = "Pass one image, without the batch axis." if image.ndim == 4 else "Convert it to 8-bit RGB first."
            if image.ndim == 3 and image.shape[2] == 4:
                advice = "A frame of picamera2: picamera2_frame(frame, 'XRGB8888'). Of others, leave the fourth out."
            raise ValueError(
                f"expected a uint8 RGB image [height, width, 3]. Received: {image.dtype} {list(image.shape)}. {advice}"
            )
        height, width = self.description.height, self.description.width
        bands = self._threads if image.shape[0] * image.shape[1] >= BANDED_PIXELS else 1
        pixels, scales = resize_image(
            image, height, width=width, mode=self.description.resize, workers=self._workers, bands=bands
        )
        return pixels[None], scales

    def invoke(self, pixels: np.ndarray) -> None:
        """Runs the network alone on uint8 `[1, H, W, 3]`: the part that a latency means."""
        self.interpreter.set_tensor(self._input[0]["index"], pixels)
        try:
            self.interpreter.invoke()
        except RuntimeError as error:
            raise _not_ours(self.path, f"LiteRT could not run it: {error}") from error

    def postprocess(
        self,
        score_threshold: float = SHOW_SCORE_THRESHOLD,
        iou_threshold: float | None = None,
        *,
        max_detections: int | None = None,
    ) -> Detections:
        """Returns what the last `invoke` found, as `detect` but in pixels of the input and not clipped to it."""
        iou_threshold, max_detections = self._limits(iou_threshold, max_detections)
        if self._anchors is None:
            return self._read_postprocessed(score_threshold, max_detections)
        rows, deltas, scores, classes = self._candidates(score_threshold)
        boxes = decode(deltas, self._anchors[rows], weights=self.description.coder_weights)
        if self.description.clip_boxes:
            height, width = self.description.height, self.description.width
            boxes = np.clip(boxes, 0, np.array([height, width, height, width], np.float32))
        if self.description.nms == "fast":
            kept = fast_suppression(boxes, scores, rows=rows, iou_threshold=iou_threshold, limit=max_detections)
        else:
            kept = non_maximum_suppression(
                boxes, scores, classes=classes, iou_threshold=iou_threshold, limit=max_detections
            )
        return Detections(boxes[kept], scores[kept], classes[kept].astype(np.int32))

    def heads(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits `[anchors, classes]` and deltas `[anchors, 4]`, float32, of the last `invoke` of a raw file.

        `anchors` is in the order of `anchor_boxes`.
        """
        boxes, classes = (self._output(position) for position in range(2))
        return classes[0], boxes[0]

    def _output(self, position: int) -> np.ndarray:
        detail = self._outputs[position]
        return dequantized(self.interpreter.get_tensor(detail["index"]), detail)

    def _candidates(self, score_threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Returns anchor row, deltas, score and class of every score at or over the threshold.

        The logits are compared in the type they are stored in; only candidates get dequantized, and a sigmoid.
        """
        # Views of the interpreter's memory, not copies: they must be gone before the next invoke.
        deltas, logits = (self.interpreter.tensor(detail["index"])()[0] for detail in self._outputs)
        box_detail, class_detail = self._outputs
        positions = np.flatnonzero(logits.ravel() >= least_stored_logit(score_threshold, class_detail["quantization"]))
        scores = _sigmoid(dequantized(logits.ravel()[positions], class_detail))
        near = scores >= score_threshold
        rows, classes = np.divmod(positions[near], logits.shape[1])
        return rows, dequantized(deltas[rows], box_detail), scores[near], classes

    def _read_postprocessed(self, score_threshold: float, limit: int) -> Detections:
        boxes, classes, scores, count = (self._output(position) for position in range(4))
        if not 0 <= count[0] <= self.description.max_detections:
            raise _not_ours(self.path, f"a count of detections of {count[0]}")
        boxes, classes, scores = (values[0, : int(count[0])] for values in (boxes, classes, scores))
        # The operator orders equal scores differently with every number of threads.
        order = np.lexsort((boxes[:, 1], boxes[:, 0], classes, -scores))[:limit]
        kept = order[scores[order] >= score_threshold]
        found = classes[kept]
        if not (np.isfinite(scores[kept]) & (found >= 0) & (found < len(self.class_names))).all():
            raise _not_ours(self.path, f"a class outside of 0 to {len(self.class_names) - 1}, or no finite score")
        height, width = self.description.height, self.description.width
        pixels = boxes[kept] * np.array([height, width, height, width], np.float32)
        return Detections(pixels, scores[kept], found.astype(np.int32))

    def _limits(self, iou_threshold: float | None, max_detections: int | None) -> tuple[float, int]:
        own = self.description
        iou_threshold = own.iou_threshold if iou_threshold is None else iou_threshold
        max_detections = own.max_detections if max_detections is None else max_detections
        if own.head != "raw" and (iou_threshold != own.iou_threshold or max_detections > own.max_detections):
            raise ValueError(
                f"{self.path.name} has its post-processing inside: expected iou_threshold={own.iou_threshold} and at "
                f"most max_detections={own.max_detections}. Received: {iou_threshold} and {max_detections}. "
                "Use the raw file."
            )
        return iou_threshold, max_detections

    def _check_tensors(self) -> None:
        own, rows, number = self.description, anchor_count(self.description), len(self.class_names)
        expected = [[1, rows, 4], [1, rows, number]]
        if own.head != "raw":
            expected = [[1, own.max_detections, 4], [1, own.max_detections], [1, own.max_detections], [1]]
        received = [detail["shape"].tolist() for detail in self._outputs]
        inputs = [(detail["shape"].tolist(), np.dtype(detail["dtype"]).name) for detail in self._input]
        if inputs != [([1, own.height, own.width, 3], "uint8")] or received != expected:
            raise _not_ours(self.path, f"tensors {inputs} -> {received}, not the described {expected}")
        if not all(math.isfinite(detail["quantization"][0]) for detail in self._outputs):
            raise _not_ours(self.path, "an output whose scale is no number")


def _files_beside(path: Path) -> str:
    """Returns which `.tflite` files are where one was looked for; nothing where there is none."""
    folder = path if path.is_dir() else path.parent
    names = sorted(file.name for file in folder.glob("*.tflite"))
    return _line(f"In {folder}: {', '.join(names)}") if names else ""


def read_description(path: str | Path) -> Description:
    """Reads and checks the description at the end of a `.tflite` file; nothing of the network is loaded.

    Raises:
        ModelFileError: the file is missing, is no `.tflite`, has no description, or its bytes were changed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"{_line(path)}: expected a .tflite file. Received: {'a folder' if path.is_dir() else 'no such file'}. "
            f"{_files_beside(path) or 'Correct the path'}."
        )
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise _not_ours(path, "no TFL3 mark at byte 4, so this is no .tflite")
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {name: read_member(archive, name) for name in (SPEC_MEMBER, EXPORT_MEMBER)}
            labels = read_member(archive, LABELS_MEMBER) if LABELS_MEMBER in archive.namelist() else b""
        spec, export = (dict(json.loads(text)) for text in texts.values())
        names = tuple(field for field in Description.__annotations__ if field in spec or field in export)
        fields = {name: _freeze(spec[name] if name in spec else export[name]) for name in names}
        description = Description(**fields)
        _check_description(description)
        digest = _sha256(path, int(export["flatbuffer_bytes"]))
    except UNREADABLE_MEMBER as error:
        nothing = isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error)
        reason = "nothing is appended to the network" if nothing else _line(error)[:200]
        raise _not_ours(path, f"no usable description inside ({reason})") from error
    if digest != export.get("flatbuffer_sha256"):
        raise _not_ours(path, "the network inside does not have the checksum it was written with")
    written = export.get("description_sha256")  # files of older versions have none
    if written is not None and written != description_sha256(texts[SPEC_MEMBER], labels, export=export):
        raise _not_ours(path, "the description inside does not have the checksum it was written with")
    return description


UNREADABLE_MEMBER = (
    *(zipfile.BadZipFile, zlib.error, struct.error, KeyError, TypeError, ValueError, OverflowError),
    *(NotImplementedError, EOFError, RuntimeError, OSError),
)
"""What reading a zip, and JSON in it, may raise when bytes were changed."""


def read_member(archive: zipfile.ZipFile, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
    """Returns a member that is stored or deflated, and no longer than `limit` bytes whatever size it declares.

    The other methods of a zip unpack all of a block at once, which may be gigabytes.

    Raises:
        KeyError: there is none.
        ValueError: another method, or more bytes. Others of `UNREADABLE_MEMBER`: it is damaged.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is neither stored nor deflated, but packed by method {info.compress_type}")
    if info.file_size > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    with archive.open(info) as member:
        content = member.read(limit + 1)
        if len(content) > limit or member.read(1):
            raise ValueError(f"{name} is larger than {limit} bytes")
    return content


def description_sha256(spec: bytes, labels: bytes, *, export: dict[str, Any]) -> str:
    """Returns the checksum over all that is said of a network: `detector.json`, `labels.txt` and the export facts."""
    facts = {name: value for name, value in export.items() if name != "description_sha256"}
    parts = (spec, labels, json.dumps(facts, sort_keys=True).encode())
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()


def anchor_count(description: Description) -> int:
    """Returns how many anchors there are, without making them."""
    cells = sum(
        (description.height // 2**level) * (description.width // 2**level)
        for level in range(description.levels[0], description.levels[1] + 1)
    )
    return cells * len(description.anchor_scales) * len(description.anchor_ratios)


def anchor_boxes(description: Description) -> np.ndarray:
    """Returns the anchors, float32 `[anchors, 4]` as `[y1, x1, y2, x2]` in pixels of the input.

    Order: level, row, column, ratio, scale; the same numbers as `keras_retina.geometry.anchors.AnchorGrid`.
    """
    boxes, offset = [], description.anchor_offset
    roots = np.sqrt(np.array(description.anchor_ratios))[:, None]
    for level in range(description.levels[0], description.levels[1] + 1):
        stride = 2**level
        sides = description.anchor_size * np.array(description.anchor_scales) * stride
        if description.anchor_whole_pixels:
            sides = np.floor(sides)
        halves = 0.5 * np.stack([sides * roots, sides / roots], axis=-1).reshape(-1, 2)
        if description.anchor_whole_pixels:
            halves = np.rint(halves)
        rows = (np.arange(description.height // stride) + offset) * stride
        columns = (np.arange(description.width // stride) + offset) * stride
        centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None, :]
        boxes.append(np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4))
    found = np.concatenate(boxes).astype(np.float32)
    limits = np.array([description.height, description.width] * 2, np.float32)
    return np.clip(found, 0, limits) if description.anchor_clip else found


def decode(deltas: np.ndarray, anchors: np.ndarray, *, weights: tuple[float, ...]) -> np.ndarray:
    """Returns the boxes of deltas `(ty, tx, th, tw)`, `[n, 4]`, as TFLite_Detection_PostProcess computes them."""
    scaled = deltas / np.asarray(weights, np.float32)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = scaled[:, :2] * sizes + (anchors[:, :2] + anchors[:, 2:]) * np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        halves = np.float32(0.5) * np.exp(scaled[:, 2:]) * sizes
        return np.concatenate([centres - halves, centres + halves], axis=-1)


def least_stored_logit(score_threshold: float, quantization: tuple[float, int]) -> float:
    """Returns a stored logit under which no score reaches the threshold; just above it scores have to decide.

    `quantization` is LiteRT's (scale, zero point) of the logits, (0, 0) of float ones.
    """
    if score_threshold <= 0:
        return -math.inf
    inside = min(score_threshold, 1 - 2**-24)  # float32 scores are 1 from about this one on
    logit = math.log(inside / (1 - inside)) - 0.01  # a margin far above the rounding of a float32 sigmoid
    scale, zero_point = quantization
    return math.floor(logit / scale + zero_point) if scale else logit


def non_maximum_suppression(
    boxes: np.ndarray, scores: np.ndarray, *, classes: np.ndarray, iou_threshold: float, limit: int
) -> np.ndarray:
    """Returns the indices that survive suppression within each class, best score first, at most `limit`.

    `boxes` is float32 `[N, 4]`, y1, x1, y2, x2 in any unit; `scores` float32 `[N]`; `classes` int `[N]`. A box goes
    when its IoU with a better one of its class is above `iou_threshold`.
    """
    # A block of candidates at a time, best first: it ends with the block that has the last of `limit` boxes.
    order = np.lexsort((classes, -scores))
    corners, labels = np.ascontiguousarray(boxes[order].T), classes[order]
    chosen: list[int] = []
    for start in range(0, len(order), NMS_BLOCK):
        if len(chosen) >= limit:
            break
        block = np.arange(start, min(start + NMS_BLOCK, len(order)))
        block = block[
            ~_rivals(corners, labels, first=np.array(chosen, np.int64), second=block, iou_threshold=iou_threshold).any(
                axis=0
            )
        ]
        rivals = _rivals(corners, labels, first=block, second=block, iou_threshold=iou_threshold)
        left = np.ones(len(block), bool)
        for position, index in enumerate(block.tolist()):
            if left[position]:
                chosen.append(index)
                left &= ~rivals[position]
    return order[chosen[:limit]]


def fast_suppression(
    boxes: np.ndarray, scores: np.ndarray, *, rows: np.ndarray, iou_threshold: float, limit: int
) -> np.ndarray:
    """Returns the indices that survive suppression by any class, after only the best score of each anchor is left.

    `boxes` `[N, 4]` and `scores` `[N]` as above; `rows`, int `[N]`, has the anchor of each box. It is what
    TFLite_Detection_PostProcess does without `use_regular_nms`.
    """
    best_first = np.lexsort((-scores, rows))
    best = best_first[np.flatnonzero(np.diff(rows[best_first], prepend=-1))]
    kept = non_maximum_suppression(
        boxes[best], scores[best], classes=np.zeros(len(best), np.int64), iou_threshold=iou_threshold, limit=limit
    )
    return best[kept]


def resize_image(
    image: np.ndarray, height: int, *, width: int, mode: str, workers: Executor | None = None, bands: int = 1
) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns uint8 `[height, width, 3]` and (y, x) input pixels per image pixel, as `keras_retina.data.resize` does.

    `stretch` fills the input; `letterbox` keeps the aspect ratio, top left, the rest black. `workers` resize `bands` of
    rows side by side, to the same pixels.
    """
    inner_height, inner_width = height, width
    if mode == "letterbox":
        scale = min(height / image.shape[0], width / image.shape[1])
        inner_height = min(height, max(1, int(image.shape[0] * scale + 0.5)))
        inner_width = min(width, max(1, int(image.shape[1] * scale + 0.5)))
    scales = (inner_height / image.shape[0], inner_width / image.shape[1])
    if image.shape[:2] != (inner_height, inner_width):
        image = _resized(image, inner_height, width=inner_width, workers=workers, bands=min(bands, inner_height))
    if (inner_height, inner_width) == (height, width):
        return image, scales
    padded = np.zeros((height, width, 3), np.uint8)
    padded[:inner_height, :inner_width] = image
    return padded, scales


def _resized(image: np.ndarray, height: int, *, width: int, workers: Executor | None, bands: int) -> np.ndarray:
    pillow = _pillow("to resize an image")
    whole, (rows, columns) = pillow.fromarray(image), image.shape[:2]
    step = height // math.gcd(rows, height)  # after so many rows an edge of a pixel falls on one of the image
    edges = sorted({height // step * band // bands * step for band in range(bands + 1)})
    if workers is None or rows < height or len(edges) == 2:
        return np.asarray(whole.resize((width, height), pillow.Resampling.BILINEAR))

    def resize_band(top: int, bottom: int) -> np.ndarray:
        box = (0, top * rows // height, columns, bottom * rows // height)  # Pillow also reads the rows around it
        return np.asarray(whole.resize((width, bottom - top), pillow.Resampling.BILINEAR, box))

    return np.concatenate(list(workers.map(resize_band, edges[:-1], edges[1:])))


def _pillow(purpose: str) -> Any:
    """Returns the module `PIL.Image`, which is loaded only where an image has to be read or resized."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"expected Pillow {purpose}. Received: {_line(error)}. Run: pip install pillow, or pass uint8 arrays "
            "[height, width, 3] of the network's own size, which need none."
        ) from error
    return Image


def read_image(path: str | Path) -> np.ndarray:
    """Opens an 8-bit image file, upright, as uint8 RGB `[height, width, 3]`; transparent pixels become black.

    Raises:
        ImageFileError: the file is cut off, damaged, or no image that Pillow can read.
        FileNotFoundError: there is no such file.
        ImportError: there is no Pillow.
    """
    pillow = _pillow("to read an image file")
    if str(path).lower().endswith(HEIF_SUFFIXES):
        _learn_heif(path)
    if Path(path).exists() and not Path(path).is_file():
        raise ImageFileError(f"{_line(path)}: expected an image file. Received: no ordinary file. Correct the path.")
    pillow.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # the limits here take its place
            opened = pillow.open(path, formats=[name for name in IMAGE_FORMATS if name in pillow.OPEN])
        with opened:
            _check_size(opened.size, path)
            return _rgb(opened, path)
    except (FileNotFoundError, PermissionError, ImageFileError):
        raise
    except Exception as error:  # whatever damaged bytes lead Pillow's decoders into
        reason = _line(error).replace(str(path), "it") or type(error).__name__
        raise ImageFileError(
            f"{_line(path)}: expected a complete image file. Received: {reason}. Copy it again, or convert it to JPEG."
        ) from error


def _check_size(size: tuple[int, int], path: str | Path) -> None:
    width, height = size
    if width * height > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        raise ImageFileError(
            f"{_line(path)}: expected an image of at most {PIXEL_LIMIT} pixels, and {SIDE_LIMIT} a side. Received: "
            f"width={width}, height={height}. Reduce the image."
        )


def _learn_heif(path: str | Path) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImportError(
            f"{_line(path)}: expected pillow-heif, which reads HEIC. Received: {_line(error)}. Run: pip install "
            "pillow-heif, or save the image as JPEG."
        ) from error
    pillow_heif.register_heif_opener()


def as_array(image: Any) -> np.ndarray:
    """Returns a Pillow image or the image file of a path as uint8 RGB `[height, width, 3]`; an array stays as it is."""
    if isinstance(image, str | Path):
        return read_image(image)
    return _rgb(image, "image") if hasattr(image, "getexif") else np.asarray(image)  # Pillow is not loaded for this


def _rgb(image: Any, name: str | Path) -> np.ndarray:
    """Returns a Pillow image upright as uint8 RGB, converted and turned strip by strip."""
    image.load()  # what makes a TIFF upright
    if image.mode.startswith("I") or image.mode == "F":
        raise ImageFileError(f"{_line(name)}: expected 8-bit pixels. Received: mode={image.mode}. Convert the image.")
    orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    (width, height), sideways = image.size, orientation in (5, 6, 7, 8)
    pixels = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = _upright_strip(image if rows >= height else image.crop((0, top, width, bottom)), orientation)
        first_is_last = orientation in (3, 4, 6, 7)
        place = slice(height - bottom, height - top) if first_is_last else slice(top, bottom)
        pixels[(slice(None), place) if sideways else place] = strip
    return pixels


def _upright_strip(image: Any, orientation: Any) -> np.ndarray:
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    return np.asarray(image.transpose(Image.Transpose[EXIF_TURNS[orientation]]) if orientation in EXIF_TURNS else image)


def picamera2_frame(frame: np.ndarray, pixel_format: str) -> np.ndarray:
    """Returns a frame of picamera2's `capture_array` as uint8 RGB `[height, width, 3]`.

    Its formats are named from the last byte to the first: `RGB888` and `XRGB8888`, its own defaults, lie in memory as
    blue, green, red.

    Args:
        frame: uint8 `[height, width, 3]`, or 4 channels in the formats with an X.
        pixel_format: what the camera was configured with: RGB888, BGR888, XRGB8888 or XBGR8888.

    Raises:
        ValueError: another format, or a frame that is not of this format.

    Source: the Picamera2 manual, appendix A, "Pixel and image formats".
    """
    channels = 4 if "X" in pixel_format else 3
    if pixel_format not in PICAMERA2_RGB or frame.ndim != 3 or frame.shape[2] != channels or frame.dtype != np.uint8:
        raise ValueError(
            f"expected a uint8 frame [height, width, channels] of {', '.join(PICAMERA2_RGB)}. Received: {frame.dtype} "
            f"{list(frame.shape)}, pixel_format={pixel_format!r}. Configure the camera with one of these formats."
        )
    return np.ascontiguousarray(frame[..., PICAMERA2_RGB[pixel_format]])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def dequantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Returns values of a tensor as float32; `detail` is LiteRT's of that tensor, quantized as a whole or float32."""
    if values.dtype == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _rivals(
    corners: np.ndarray, labels: np.ndarray, *, first: np.ndarray, second: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Returns bool `[first, second]`: of one class and of more overlap than allowed. `corners` is `[4, n]`: faster."""
    y1, x1, y2, x2 = corners[:, first, None]
    top, left, bottom, right = corners[:, second]
    with np.errstate(invalid="ignore", over="ignore"):  # a box of a broken network may be infinite
        heights = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
        intersection = heights * np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
        union = (y2 - y1) * (x2 - x1) + (bottom - top) * (right - left) - intersection
        overlaps = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ~(overlaps <= iou_threshold) & (labels[first, None] == labels[second])


def load_delegate(delegate: str | Path) -> Any:
    """Loads the Edge TPU's library (`"edgetpu"`, under the name it has on this system) or that of a path.

    Raises:
        DelegateError: there is no such library, it is no delegate, or it found no device.
    """
    library = str(delegate)
    if library == "edgetpu":
        library = EDGETPU_LIBRARIES.get(platform.system(), EDGETPU_LIBRARIES["Linux"])
    expected = f"delegate: expected the library {_line(library)}"
    try:
        # Tried here first: LiteRT leaves half an object behind, the end of which prints a traceback.
        complete = hasattr(ctypes.CDLL(library), "tflite_plugin_create_delegate")
    except OSError as error:
        raise DelegateError(
            f"{expected}. Received: {_line(error)}. Install it (Coral: libedgetpu1-std), or leave the delegate out."
        ) from error
    if not complete:
        raise DelegateError(f"{expected} of a LiteRT delegate. Received: another library. Correct the path.")
    try:
        return _interpreter_module().load_delegate(library)
    except (ValueError, RuntimeError) as error:
        raise DelegateError(
            f"{expected} to find its device. Received: {_line(error)}. Plug the device in, check that this user may "
            "use it, and that no other process does."
        ) from error


def _check_file(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            graphs = check_network(data)
        except ValueError as error:
            raise _not_ours(path, f"a network with {error}") from error
        if graphs != 1:
            raise _not_ours(path, f"{graphs} graphs, where a detector has one")


def check_network(data: Any) -> int:
    """Checks whatever LiteRT would follow without looking, and returns the number of graphs; `data` are the bytes.

    Checked are all offsets of the flatbuffer, the indices of tensors, operators and buffers, and the size of constants;
    also that an operator reads only what is there by then, and that feature maps fit into memory.

    Raises:
        ValueError: something of this is wrong.

    Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, whose order of fields the numbers are.
    """
    view = memoryview(data)
    try:
        return _checked_graphs(_Tables(view))
    except struct.error as error:
        raise ValueError(f"an offset that leads out of the file ({error})") from error
    finally:
        view.release()


_OFFSET = struct.Struct("<I").unpack_from


class _Tables:
    """The tables of a flatbuffer. Fields are told by number; one that is left out is at 0."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.end, self.left = data, len(data), TABLE_LIMIT
        self._layouts: dict[int, tuple[int, tuple[int, ...]]] = {}

    def number(self, form: str, at: int, default: int = 0) -> int:
        if at < 0:
            raise ValueError("an offset that leads out of the file")
        return int(struct.unpack_from(form, self.data, at)[0]) if at else default

    def fields(self, table: int) -> list[int]:
        """Returns where the fields of a table lie."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {TABLE_LIMIT} tables")
        start = table - self.number("<i", table)
        if start not in self._layouts:
            size, inline = self.number("<H", start), self.number("<H", start + 2)
            if size < 4 or size % 2:
                raise ValueError(f"a table whose layout has {size} bytes")
            offsets = struct.unpack_from(f"<{size // 2 - 2}H", self.data, start + 4)
            if max(offsets, default=0) >= max(inline, 1):
                raise ValueError("a field outside of its table")
            self._layouts[start] = inline, (*offsets, *[0] * 16)
        inline, offsets = self._layouts[start]
        if table + inline > self.end:
            raise ValueError("a table that ends behind the file")
        return [table + offset if offset else 0 for offset in offsets]

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Returns where the elements of a vector begin, and how many there are."""
        if not at:
            return 0, 0
        start = at + _OFFSET(self.data, at)[0]
        count = _OFFSET(self.data, start)[0]
        if start + 4 + count * size > self.end:
            raise ValueError("a list that ends behind the file")
        return start + 4, count

    def integers(self, at: int) -> list[int]:
        start, count = self.vector(at, 4)
        return list(struct.unpack_from(f"<{count}i", self.data, start)) if count else []

    def text(self, at: int) -> None:
        start, count = self.vector(at, 1)
        if start + count >= self.end:
            raise ValueError("a text that ends behind the file")

    def child(self, at: int) -> int:
        return at + _OFFSET(self.data, at)[0] if at else 0

    def children(self, at: int) -> list[list[int]]:
        """Returns the fields of each table of a list."""
        start, count = self.vector(at, 4)
        self.left -= count
        if self.left < 0:
            raise ValueError(f"more than {TABLE_LIMIT} tables")
        offsets = struct.unpack_from(f"<{count}I", self.data, start) if count else ()
        return [self.fields(start + 4 * number + offset) for number, offset in enumerate(offsets)]


# Bits of a value by the number of its type; a text, a resource and a variant have no size of their own.
TYPE_BITS = (32, 16, 32, 8, 64, 0, 8, 16, 64, 8, 64, 128, 64, 0, 0, 32, 16, 4, 16, 2, 4, 8, 8)
INT64 = 4
OPTION_LISTS = {17: ((0, 4),), 30: ((0, 4),), 3: ((1, 4), (2, 4)), 8: ((5, 1),), 115: ((0, 4),)}
"""Field and bytes of an element of each list in the options of operators, by the number of their type."""

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV, CUSTOM = 3, 4, 9, 67, 32
CONV_3D, CONV_3D_TRANSPOSE, SVDF, LSTM, LSTM_SEQUENCE, LSTM_BOTH_WAYS, RNN_BOTH_WAYS = 132, 141, 27, 16, 44, 52, 46
RESIZE_BILINEAR, RESIZE_NEAREST, PAD, PAD_V2, MIRROR_PAD, TILE, FILL, BROADCAST_TO = 23, 97, 34, 60, 100, 69, 94, 130
OPTIONAL_FROM = {
    **{CONV_2D: 2, FULLY_CONNECTED: 2, TRANSPOSE_CONV: 3, CONV_3D: 2, CONV_3D_TRANSPOSE: 3},
    **{SVDF: 3, LSTM: 1, LSTM_SEQUENCE: 1, LSTM_BOTH_WAYS: 1, RNN_BOTH_WAYS: 1, CUSTOM: 0},
}
"""The first input that may be left out; all other operators need every input that they list."""

SHAPED_BY = {
    **{RESIZE_BILINEAR: 1, RESIZE_NEAREST: 1, PAD: 1, PAD_V2: 1, MIRROR_PAD: 1, TILE: 1},
    **{FILL: 0, BROADCAST_TO: 1, TRANSPOSE_CONV: 0},
}
"""The input whose numbers decide the shape of the output."""


def _checked_graphs(tables: _Tables) -> int:
    root = tables.fields(struct.unpack_from("<I", tables.data)[0])
    buffers = [_buffer_bytes(tables, fields) for fields in tables.children(root[4])]
    codes = []
    for fields in tables.children(root[1]):
        tables.text(fields[1])
        codes.append(max(tables.number("<b", fields[0]), tables.number("<i", fields[3])))
    tables.text(root[3])
    tables.vector(root[5], 4)
    for fields in tables.children(root[6]):
        tables.text(fields[0])
        _index(tables.number("<I", fields[1]), buffers, "buffer of metadata")
    graphs = tables.children(root[2])
    counts = [_check_graph(tables, graph, codes=codes, buffers=buffers) for graph in graphs]
    if not counts:
        raise ValueError("no graph")
    for fields in tables.children(root[7]):
        count = counts[_index(tables.number("<I", fields[4]), counts, "graph of a signature")]
        tables.text(fields[2])
        for entry in (*tables.children(fields[0]), *tables.children(fields[1])):
            tables.text(entry[0])
            _index(tables.number("<I", entry[1]), range(count), "tensor of a signature")
    return len(counts)


def _index(number: int, items: Any, what: str) -> int:
    if not 0 <= number < len(items):
        raise ValueError(f"number {number} of a {what}, of which there are {len(items)}")
    return number


def _buffer_bytes(tables: _Tables, fields: list[int]) -> tuple[int, int]:
    """Returns where the data of a buffer begin, and how many bytes there are."""
    start, count = tables.vector(fields[0], 1)
    offset, size = tables.number("<Q", fields[1]), tables.number("<Q", fields[2])
    if offset > 1:  # of a large file: behind the flatbuffer
        if offset + size > tables.end:
            raise ValueError(f"a buffer that ends at byte {offset + size} of {tables.end}")
        return offset, size
    return start, count


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    bytes: int
    data: tuple[int, int]
    type: int
    variable: bool

    @property
    def there(self) -> bool:
        """Whether it needs no operator that computes it."""
        return self.data[1] > 0 or self.variable or self.bytes == 0


def _check_tensor(tables: _Tables, fields: list[int], *, buffers: list[tuple[int, int]]) -> _Tensor:
    shape = tables.integers(fields[0])
    data = buffers[_index(tables.number("<I", fields[2]), buffers, "buffer")]
    type_ = tables.number("<b", fields[1])
    bits = TYPE_BITS[type_] if 0 <= type_ < len(TYPE_BITS) else 0
    tables.text(fields[3])
    tables.vector(fields[7], 4)
    if fields[4]:
        quantization = tables.fields(tables.child(fields[4]))
        for field, size in ((0, 4), (1, 4), (2, 4), (3, 8)):
            tables.vector(quantization[field], size)
        if quantization[5]:
            tables.fields(tables.child(quantization[5]))
    sparse = bool(fields[6])
    if sparse:
        sparsity = tables.fields(tables.child(fields[6]))
        tables.vector(sparsity[0], 4)
        tables.vector(sparsity[1], 4)
        tables.children(sparsity[2])
    if any(side < -1 for side in shape) or len(shape) > 64:
        raise ValueError(f"a tensor of shape {shape[:8]}")
    size = (math.prod(abs(side) for side in shape) * bits + 7) // 8  # -1 is any size
    if size > TENSOR_LIMIT and not data[1]:
        raise ValueError(f"a tensor of shape {shape}, {size} bytes, where {TENSOR_LIMIT} is the most")
    if data[1] and bits >= 8 and not sparse and data[1] != size:
        raise ValueError(f"{data[1]} bytes of data for a constant of shape {shape}, which has {size}")
    return _Tensor(tuple(shape), size, data, type_, tables.number("<b", fields[5]) != 0)


def _check_graph(tables: _Tables, graph: list[int], *, codes: list[int], buffers: list[tuple[int, int]]) -> int:
    """Checks the tensors and operators of a graph and returns the number of tensors."""
    tensors = [_check_tensor(tables, fields, buffers=buffers) for fields in tables.children(graph[0])]
    tables.text(graph[4])
    inputs, outputs = tables.integers(graph[1]), tables.integers(graph[2])
    for number in (*inputs, *outputs):
        _index(number, tensors, "tensor")
    known = {*inputs, *(number for number, tensor in enumerate(tensors) if tensor.there)}
    computed: list[tuple[list[int], list[int]]] = []
    for fields in tables.children(graph[3]):
        code = codes[_index(tables.number("<I", fields[0]), codes, "kind of operator")]
        read, made = tables.integers(fields[1]), tables.integers(fields[2])
        for vector, size in ((5, 1), (7, 1), (8, 4)):
            tables.vector(fields[vector], size)
        for options in (4, 12):
            if fields[options]:
                inner = tables.fields(tables.child(fields[options]))
                for vector, size in OPTION_LISTS.get(tables.number("<B", fields[3]), ()) if options == 4 else ():
                    tables.vector(inner[vector], size)
        for place, number in enumerate(read):
            if number == -1 and place >= OPTIONAL_FROM.get(code, len(read)):
                continue
            if _index(number, tensors, "tensor") not in known:
                raise ValueError(f"tensor {number}, which an operator reads and nothing before it computes")
        for number in made:
            tensor = tensors[_index(number, tensors, "tensor")]
            if number in known and not tensor.variable and tensor.bytes:
                raise ValueError(f"tensor {number}, which an operator would write over")
        known.update(made)
        computed.append((read, made))
        if code == DEPTHWISE_CONV_2D and len(read) < 3:
            raise ValueError("a DEPTHWISE_CONV_2D without a bias, which LiteRT would read all the same")
        _check_growth(tables, code, given=[tensors[number] for number in read if number >= 0])
    lost = next((number for number in outputs if number not in known), None)
    if lost is not None:
        raise ValueError(f"output {lost}, which nothing computes")
    _check_memory(tensors, computed, kept={*inputs, *outputs})
    return len(tensors)


def _check_growth(tables: _Tables, code: int, *, given: list[_Tensor]) -> None:
    """Refuses numbers in the file that would make a huge feature map: LiteRT computes shapes anew from them."""
    place = SHAPED_BY.get(code, len(given))
    if place >= len(given) or not given[place].data[1]:
        return
    (start, size), is_long = given[place].data, given[place].type == INT64
    values = struct.unpack_from(f"<{size // (8 if is_long else 4)}{'q' if is_long else 'i'}", tables.data, start)
    shape = [abs(side) for side in given[0].shape]
    if code in (RESIZE_BILINEAR, RESIZE_NEAREST) and len(shape) == 4:
        sides: list[int] = [shape[0], *values, shape[3]]
    elif code in (PAD, PAD_V2, MIRROR_PAD):
        sides = [side + sum(values[2 * axis : 2 * axis + 2]) for axis, side in enumerate(shape)]
    elif code == TILE:
        sides = [side * times for side, times in zip(shape, values, strict=False)]
    else:
        sides = list(values)
    if math.prod(max(side, 1) for side in sides) > TENSOR_LIMIT // 4:
        raise ValueError(f"an operator that makes a tensor of shape {sides[:8]}")


def _check_memory(tensors: list[_Tensor], computed: list[tuple[list[int], list[int]]], *, kept: set[int]) -> None:
    """Refuses a graph that needs too many bytes at one moment, a tensor living from its operator to its last reader."""
    last = {number: place for place, (read, _) in enumerate(computed) for number in read}
    held = sum(tensors[number].bytes for number in kept)
    for place, (read, made) in enumerate(computed):
        held += sum(tensors[number].bytes for number in made if number not in kept)
        if held > MEMORY_LIMIT:
            raise ValueError(f"feature maps of {held} bytes at one moment, where {MEMORY_LIMIT} is the most")
        over = {number for number in (*read, *made) if number >= 0 and last.get(number, place) <= place}
        held -= sum(tensors[number].bytes for number in over - kept if not tensors[number].there)


def _open_interpreter(path: Path, threads: int, *, delegate: str | Path | None) -> Any:
    delegates = None if delegate is None else [load_delegate(delegate)]
    interpreter_class = _interpreter_module().Interpreter
    try:
        interpreter = interpreter_class(model_path=str(path), num_threads=threads, experimental_delegates=delegates)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if "edgetpu-custom-op" in str(error):
            raise DelegateError(
                f"{_line(path)}: expected the Edge TPU delegate, for which the file is compiled. Received: "
                f"delegate={delegate}. Open it with delegate='edgetpu' (detect --delegate edgetpu) where a Coral and a "
                "libedgetpu as new as LiteRT are, or open the file it was compiled from."
            ) from error
        raise _not_ours(path, f"LiteRT said: {error}") from error
    return interpreter


def _interpreter_module() -> Any:
    broken = []
    for package in ("ai_edge_litert", "tflite_runtime"):
        try:
            return importlib.import_module(f"{package}.interpreter")
        except ImportError as error:
            if not (isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == package):
                broken.append((package, error))
    if not broken:
        raise ImportError(
            "expected a LiteRT interpreter. Received: neither ai_edge_litert nor tflite_runtime is installed for "
            f"{sys.executable}. Run: pip install ai-edge-litert"
        )
    package, cause = broken[0]
    raise ImportError(
        f"expected a LiteRT interpreter. Received: {package} is installed and does not load: {_line(cause)}. "
        f"{_remedy(str(cause))}"
    ) from cause


def _remedy(cause: str) -> str:
    """Returns what to do about an interpreter that is installed and does not load."""
    if "GLIBC" in cause:  # GLIBCXX too
        return "The wheel wants a newer system: upgrade the system, or install an older ai-edge-litert."
    if "numpy" in cause:
        return "It was built for another NumPy: install another version of either."
    return "Mend what the cause names, or install another version of it."


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_description(own: Description) -> None:
    """Raises ValueError for values that could not have been written by us and would cost memory or make no sense."""
    numbers = (own.anchor_size, *own.anchor_scales, *own.anchor_ratios, *own.coder_weights)
    first, last = own.levels
    whole = (own.height, own.width, first, last, own.max_detections)
    if any(type(number) is not int for number in whole):
        raise ValueError("height, width, levels or max_detections that is no whole number")
    valid = {
        "class_names": 0 < len(own.class_names) <= 10_000 and all(isinstance(name, str) for name in own.class_names),
        "levels": 0 <= first <= last <= 10,
        "height, width": all(side % 2**last == 0 and 0 < side <= 8192 for side in (own.height, own.width)),
        "resize": own.resize in ("stretch", "letterbox"),
        "head": own.head in ("postprocess", "raw", "builtin"),
        "nms": own.nms in ("per_class", "fast"),
        "anchors, coder_weights": all(1e-6 < number < 1e6 for number in numbers) and len(own.coder_weights) == 4,
        "anchor_offset": 0 <= own.anchor_offset <= 1
        and all(isinstance(flag, bool) for flag in (own.anchor_whole_pixels, own.anchor_clip, own.clip_boxes)),
        "anchor_scales, anchor_ratios": 0 < len(own.anchor_scales) * len(own.anchor_ratios) <= 100,
        "thresholds": 0 <= own.score_threshold <= 1 and 0 < own.iou_threshold <= 1,
        "max_detections": 0 < own.max_detections <= 100_000,
    }
    wrong = [name for name, good in valid.items() if not good]
    if wrong:
        raise ValueError("impossible " + ", ".join(wrong))
    if anchor_count(own) > ANCHOR_LIMIT:
        raise ValueError(f"{anchor_count(own)} anchors, which are more than {ANCHOR_LIMIT}")


def _sha256(path: Path, length: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(length, 1 << 20))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


def _not_ours(path: Path, received: str) -> ModelFileError:
    return ModelFileError(
        f"{_line(path)}: expected a complete detector file of `keras-retina export`. Received: {_line(received)}. "
        "Export it again."
    )


def _line(text: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(text)).strip()


def main() -> None:
    """Prints `[{"label", "score", "box": [y1, x1, y2, x2]}, ...]` for one image; bad input is one line and status 2."""
    parser = argparse.ArgumentParser(description="Detect objects in an image with a .tflite of keras-retina.")
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("--score", type=float, default=SHOW_SCORE_THRESHOLD, help="least score")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--delegate", help="edgetpu, or the path of a LiteRT delegate library")
    arguments = parser.parse_args()
    file = arguments.model
    try:
        detector = Detector(file, arguments.threads, delegate=arguments.delegate)
        file = arguments.image
        found = detector.detect(read_image(file), arguments.score)
    except (ValueError, OSError, ImportError) as error:
        told = "" if _line(file) in _line(error) else f"{_line(file)}: "
        print(f"{Path(sys.argv[0]).name}: {told}{_line(error)}", file=sys.stderr)
        sys.exit(2)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    print(json.dumps([{"label": detector.class_names[c], "score": round(s, 4), "box": b} for b, s, c in rows]))


if __name__ == "__main__":
    main()
