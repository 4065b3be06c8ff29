"""Keeps the number of an object from frame to frame: a constant-velocity Kalman filter and overlap (as SORT does).

Source: Bewley et al., Simple Online and Realtime Tracking, arXiv 1602.00763; here pairs are taken greedily, the
largest overlap first, and each box side has its own two-state filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_retina.geometry.boxes import iou

LEAST_OVERLAP = 0.2
"""IoU of a detection with where its track is expected; less begins a new track."""

# Standard deviations as shares of the box's mean side. Only their ratios matter: how much a detection moves a track.
MEASUREMENT_NOISE = 0.05
ACCELERATION_NOISE = 0.01
FIRST_SPEED = 0.2


@dataclass
class Track:
    """An object that was seen. `box` and `speed` are `[y1, x1, y2, x2]`, in pixels and pixels a frame.

    `covariance` is that of (position, speed), the same for all four sides.
    """

    number: int
    class_index: int
    box: np.ndarray
    speed: np.ndarray
    covariance: np.ndarray
    unseen: int = 0

    def predict(self, frames: int) -> None:
        """Moves the track on by some frames."""
        step = np.array([[1.0, frames], [0.0, 1.0]])
        drift = np.array([[frames**4 / 4, frames**3 / 2], [frames**3 / 2, frames**2]], np.float64)
        self.box = self.box + frames * self.speed
        noise = (ACCELERATION_NOISE * _mean_side(self.box)) ** 2
        self.covariance = step @ self.covariance @ step.T + noise * drift
        self.unseen += frames

    def correct(self, box: np.ndarray) -> None:
        """Takes the detection that belongs to the track."""
        noise = (MEASUREMENT_NOISE * _mean_side(box)) ** 2
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + noise)
        surprise = box - self.box
        self.box = self.box + gain[0] * surprise
        self.speed = self.speed + gain[1] * surprise
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        self.unseen = 0


class Tracker:
    """Numbers the detections of successive frames, from 1; a number is never given again.

    Args:
        forget_after: frames without a detection after which an object is gone.
    """

    def __init__(self, forget_after: int = 15) -> None:
        self.forget_after = forget_after
        self.tracks: list[Track] = []
        self._given = 0

    def update(self, boxes: np.ndarray, classes: np.ndarray, *, frames: int = 1) -> np.ndarray:
        """Returns the track number of each detection of a frame, int64 `[n]`.

        Args:
            boxes: `[n, 4]`, `[y1, x1, y2, x2]` in pixels of the frame.
            classes: `[n]`; an object keeps its class.
            frames: since the last call, more than 1 when a camera's frames were left out.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        for track in self.tracks:
            track.predict(frames)
        self.tracks = [track for track in self.tracks if track.unseen <= self.forget_after]
        numbers = np.zeros(len(boxes), np.int64)
        for index, detection in match(self.tracks, boxes, classes=classes):
            self.tracks[index].correct(boxes[detection])
            numbers[detection] = self.tracks[index].number
        for detection in np.flatnonzero(numbers == 0).tolist():
            self._given += 1
            numbers[detection] = self._given
            self.tracks.append(_new_track(self._given, int(classes[detection]), box=boxes[detection]))
        return numbers


def match(tracks: list[Track], boxes: np.ndarray, *, classes: np.ndarray) -> list[tuple[int, int]]:
    """Returns pairs (index in `tracks`, row of `boxes`) of one class, each at most once, the largest overlaps first.

    `boxes` is float `[N, 4]`, y1, x1, y2, x2 in pixels, as those of the tracks; `classes` int `[N]`.
    """
    if not tracks or not len(boxes):
        return []
    overlaps = iou(np.stack([track.box for track in tracks]), boxes)
    overlaps[np.array([track.class_index for track in tracks])[:, None] != np.asarray(classes)] = 0
    pairs = []
    for _ in range(min(overlaps.shape)):
        index, detection = divmod(int(np.argmax(overlaps)), len(boxes))
        if overlaps[index, detection] < LEAST_OVERLAP:
            break
        pairs.append((index, detection))
        overlaps[index], overlaps[:, detection] = 0, 0
    return pairs


def _new_track(number: int, class_index: int, *, box: np.ndarray) -> Track:
    side = _mean_side(box)
    covariance = np.diag([(MEASUREMENT_NOISE * side) ** 2, (FIRST_SPEED * side) ** 2])
    return Track(number, class_index, box, np.zeros(4), covariance)


def _mean_side(box: np.ndarray) -> float:
    return max(1.0, float(box[2] - box[0] + box[3] - box[1]) / 2)
