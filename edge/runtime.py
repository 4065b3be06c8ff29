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
import platform
import struct
import sys
import threading
import zipfile
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

HEIF_SUFFIXES = (".heic", ".heif")

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
        if threads < 1:
            raise ValueError(f"expected at least one thread. Received: threads={threads}. Use 1 or more.")
        self.path = Path(path)
        self.description = read_description(self.path)
        self.class_names = self.description.class_names
        self.interpreter = _open_interpreter(self.path, threads, delegate=delegate)
        self._input = self.interpreter.get_input_details()
        self._outputs = self.interpreter.get_output_details()
        self._anchors = anchor_boxes(self.description)
        self._workers, self._threads = ThreadPoolExecutor(threads), threads
        self._lock = threading.Lock()
        self._check_tensors()

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
        self.interpreter.invoke()

    def postprocess(
        self,
        score_threshold: float = SHOW_SCORE_THRESHOLD,
        iou_threshold: float | None = None,
        *,
        max_detections: int | None = None,
    ) -> Detections:
        """Returns what the last `invoke` found, as `detect` but in pixels of the input and not clipped to it."""
        iou_threshold, max_detections = self._limits(iou_threshold, max_detections)
        if self.description.head != "raw":
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
        boxes, classes, scores = (values[0, : int(count[0])] for values in (boxes, classes, scores))
        # The operator orders equal scores differently with every number of threads.
        order = np.lexsort((boxes[:, 1], boxes[:, 0], classes, -scores))[:limit]
        kept = order[scores[order] >= score_threshold]
        height, width = self.description.height, self.description.width
        pixels = boxes[kept] * np.array([height, width, height, width], np.float32)
        return Detections(pixels, scores[kept], classes[kept].astype(np.int32))

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
        own, rows, number = self.description, len(self._anchors), len(self.class_names)
        expected = [[1, rows, 4], [1, rows, number]]
        if own.head != "raw":
            expected = [[1, own.max_detections, 4], [1, own.max_detections], [1, own.max_detections], [1]]
        received = [detail["shape"].tolist() for detail in self._outputs]
        inputs = [(detail["shape"].tolist(), np.dtype(detail["dtype"]).name) for detail in self._input]
        if inputs != [([1, own.height, own.width, 3], "uint8")] or received != expected:
            raise _not_ours(self.path, f"tensors {inputs} -> {received}, not the described {expected}")


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
            spec, export = (_read_member(archive, name, path=path) for name in (SPEC_MEMBER, EXPORT_MEMBER))
        names = tuple(field for field in Description.__annotations__ if field in spec or field in export)
        fields = {name: _freeze(spec[name] if name in spec else export[name]) for name in names}
        description = Description(**fields)
        _check_description(description)
        digest = _sha256(path, int(export["flatbuffer_bytes"]))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        if isinstance(error, ModelFileError):
            raise
        reason = "nothing is appended to the network" if isinstance(error, zipfile.BadZipFile) else error
        raise _not_ours(path, f"no usable description inside ({reason})") from error
    if digest != export.get("flatbuffer_sha256"):
        raise _not_ours(path, "the network inside does not have the checksum it was written with")
    return description


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
    with np.errstate(over="ignore"):
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
    try:
        with pillow.open(path) as opened:
            return _rgb(opened, path)
    except (FileNotFoundError, PermissionError, ImageFileError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, pillow.DecompressionBombError) as error:
        reason = _line(error).replace(str(path), "it") or type(error).__name__
        raise ImageFileError(
            f"{_line(path)}: expected a complete image file. Received: {reason}. Copy it again, or convert it to JPEG."
        ) from error


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
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        raise ImageFileError(f"{_line(name)}: expected 8-bit pixels. Received: mode={image.mode}. Convert the image.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image.convert("RGB"), np.uint8)


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


def _read_member(archive: zipfile.ZipFile, name: str, *, path: Path) -> dict:
    if archive.getinfo(name).file_size > MEMBER_LIMIT:
        raise _not_ours(path, f"{name} inside is larger than {MEMBER_LIMIT} bytes")
    return dict(json.loads(archive.read(name).decode("utf-8")))


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_description(own: Description) -> None:
    """Raises ValueError for values that could not have been written by us and would cost memory or make no sense."""
    numbers = (own.anchor_size, *own.anchor_scales, *own.anchor_ratios, *own.coder_weights)
    first, last = own.levels
    valid = {
        "class_names": 0 < len(own.class_names) <= 10_000 and all(isinstance(name, str) for name in own.class_names),
        "levels": 0 <= first <= last <= 10,
        "height, width": all(side % 2**last == 0 and 0 < side <= 8192 for side in (own.height, own.width)),
        "resize": own.resize in ("stretch", "letterbox"),
        "head": own.head in ("postprocess", "raw", "builtin"),
        "nms": own.nms in ("per_class", "fast"),
        "anchors, coder_weights": all(0 < number < math.inf for number in numbers) and len(own.coder_weights) == 4,
        "anchor_offset": 0 <= own.anchor_offset <= 1
        and all(isinstance(flag, bool) for flag in (own.anchor_whole_pixels, own.anchor_clip, own.clip_boxes)),
        "anchor_scales, anchor_ratios": 0 < len(own.anchor_scales) * len(own.anchor_ratios) <= 100,
        "thresholds": 0 <= own.score_threshold <= 1 and 0 < own.iou_threshold <= 1 and own.max_detections > 0,
    }
    wrong = [name for name, good in valid.items() if not good]
    if wrong:
        raise ValueError("impossible " + ", ".join(wrong))


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
    try:
        detector = Detector(arguments.model, arguments.threads, delegate=arguments.delegate)
        found = detector.detect(read_image(arguments.image), arguments.score)
    except (ValueError, OSError, ImportError) as error:
        print(f"{Path(sys.argv[0]).name}: {_line(error)}", file=sys.stderr)
        sys.exit(2)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    print(json.dumps([{"label": detector.class_names[c], "score": round(s, 4), "box": b} for b, s, c in rows]))


if __name__ == "__main__":
    main()
