"""Two heads, location and score, with their anchors in MediaPipe's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.head import Found, Head, Seen, in_pixels, sigmoid, suppressed
from edge.detectors.pictures import Steps
from edge.tflite.read_metadata import DetectorOptions

NAME = "anchors"
IOU_THRESHOLD, LIMIT = 0.5, 100  # nothing in the file says them


def recognise(seen: Seen) -> list[Head]:
    """Returns the reading of location `[1, n, 4]` and score `[1, n, classes]`, float32 or quantized."""
    options = seen.metadata.options
    if len(seen.outputs) != 2 or options is None or not seen.allows(NAME):
        return []
    rows, classes = len(options.anchors), options.classes
    by_name = dict(zip(seen.metadata.output_names, range(2), strict=False))
    by_shape = {"location": [1, rows, 4], "score": [1, rows, classes]}
    shapes = [output.shape for output in seen.outputs]
    # With four classes both have one shape, and the names decide.
    found = [by_name.get(name, _place(shapes, shape)) for name, shape in by_shape.items()]
    places = [place for place in found if place is not None]
    if [shapes[place] for place in places] != list(by_shape.values()):
        return []
    why = f"two heads and their anchors; suppression within a class at IoU {IOU_THRESHOLD:g}"
    read = partial(_read, places=places, options=options, height=seen.height, width=seen.width)
    return [Head(NAME, why, read, Steps())]


def decode(
    location: np.ndarray, scores: np.ndarray, *, options: DetectorOptions, score_threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns candidates, boxes in shares of the input, of `[n, 4]` and `[n, classes]`."""
    if options.sigmoid:
        scores = sigmoid(scores)
    rows, classes = np.nonzero(scores >= score_threshold)
    return options.boxes(location)[rows], scores[rows, classes], classes


def _read(
    outputs: Sequence[np.ndarray], score_threshold: float, *, places: Sequence[int], options: DetectorOptions,
    height: int, width: int,
) -> Found:  # fmt: skip
    location, scores = (outputs[place][0] for place in places)
    boxes, scores, classes = decode(location, scores, options=options, score_threshold=score_threshold)
    found = suppressed(boxes, scores, classes=classes, iou_threshold=IOU_THRESHOLD, limit=LIMIT)
    return Found(in_pixels(found.boxes, "shares", height=height, width=width), found.scores, found.classes)


def _place(shapes: Sequence[Sequence[int]], shape: Sequence[int]) -> int | None:
    return next((place for place, one in enumerate(shapes) if one == shape), None)
