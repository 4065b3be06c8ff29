"""DETECTOR_METADATA of a file that ends at its heads: the anchors and how MediaPipe Tasks decodes them.

Source: mediapipe/tasks/metadata/object_detector_metadata_schema.fbs, 1.0.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.tflite.tables import Reader

NAME = "DETECTOR_METADATA"


@dataclass(frozen=True)
class DetectorOptions:
    """`anchors` float32 `[n, 4]` (y centre, x centre, height, width) in shares of the input; a box of the file is
    (ty, tx, th, tw), and `scales` in that order divide it."""

    anchors: np.ndarray
    scales: np.ndarray
    exponential: bool
    sigmoid: bool
    classes: int

    def boxes(self, encoded: np.ndarray) -> np.ndarray:
        """Returns boxes `[n, 4]` (y1, x1, y2, x2) in shares of the input from `[n, 4]` of the location head."""
        scaled = encoded / self.scales
        centres = scaled[:, :2] * self.anchors[:, 2:] + self.anchors[:, :2]
        with np.errstate(over="ignore"):
            sizes = (np.exp(scaled[:, 2:]) if self.exponential else scaled[:, 2:]) * self.anchors[:, 2:]
        return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)


def parse_options(data: bytes) -> DetectorOptions:
    """Reads an ObjectDetectorOptions flatbuffer.

    Raises:
        ValueError: keypoints, no anchors or scales, or boxes of other than four numbers. Others are those of a damaged
            flatbuffer.
    """
    options = Reader(data)
    ssd, decoding = options.child(1), options.child(2)
    anchors = ssd and ssd.child(0)
    if anchors is None or decoding is None:
        raise ValueError("no fixed anchors or no decoding options")
    rows = [[anchor.number(slot) for slot in (1, 0, 3, 2)] for anchor in anchors.children(0)]  # x, y, w, h in the file
    scales = np.array([decoding.number(slot) for slot in (7, 6, 9, 8)], np.float32)  # x, y, w, h from slot 6
    coordinates, keypoints, boxes = (decoding.integer(slot) for slot in (2, 4, 1))
    if coordinates != 4 or keypoints or boxes != len(rows) or not rows or not (scales > 0).all():
        raise ValueError(
            f"{len(rows)} anchors for {boxes} boxes of {coordinates} numbers, {keypoints} keypoints, scales "
            f"{scales.tolist()}"
        )
    exponential, sigmoid = (bool(decoding.byte(slot)) for slot in (10, 11))
    return DetectorOptions(np.array(rows, np.float32), scales, exponential, sigmoid, decoding.integer(0))
