"""Anybody's detection file, with the `detect` of our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.open_file import load, refusal
from edge.detectors.outputs import understood_outputs
from edge.runtime import SHOW_SCORE_THRESHOLD, Detections, ModelFileError, resize_image
from edge.tflite.graph import read_graphs
from edge.tflite.read_metadata import FileMetadata, read_metadata
from keras_retina.foundation.errors import InputError

ASSUMED_MEAN, ASSUMED_STD = 127.5, 127.5  # -1 to 1, as the SSD files of TensorFlow want it
PIXEL_TYPES = ("uint8", "int8", "float32")


@dataclass(frozen=True)
class Preprocessing:
    """What a file of others may not say. `mean` and `std` turn a pixel into (pixel - mean) / std; None asks the file.

    A uint8 file gets the pixels as they are. `stretch` fills the input, as MediaPipe does; `letterbox` keeps the aspect
    ratio, top left, as pycoral does.
    """

    mean: float | None = None
    std: float | None = None
    resize: str = "stretch"


class ForeignDetector:
    """One opened detection file that `keras-retina export` did not write; `read_as` says how it is understood.

    `class_names` are those of its metadata, None when it has none.

    Raises:
        ModelFileError: no detector, a kind of input or output that is not known, or LiteRT refuses the file. A file
            that may crash LiteRT is to be opened by `edge.detectors.open_file.opened` first.
    """

    def __init__(self, path: str | Path, threads: int = 2, *, preprocessing: Preprocessing | None = None) -> None:
        self.path = Path(path)
        metadata = _checked_metadata(self.path)
        try:
            self.interpreter = load(self.path, threads)
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"{self.path}: expected a file LiteRT runs. Received: {refusal(str(error))}"
            ) from error
        self._input = self._checked_input()
        self._outputs = understood_outputs(self.path, self.interpreter, metadata=metadata)
        self.preprocessing = preprocessing or Preprocessing()
        self._mean, self._std, normalisation = self._normalisation(self.preprocessing, metadata)
        self.class_names = metadata.labels
        self.read_as = {"outputs": self._outputs.source, "input": normalisation, "resize": self.preprocessing.resize}

    def detect(self, image: np.ndarray, score_threshold: float = SHOW_SCORE_THRESHOLD) -> Detections:
        """Finds the objects of a uint8 RGB image `[height, width, 3]` of any size; classes are the file's own indices.

        Raises:
            ModelFileError: the outputs are not what they were taken for.
        """
        pixels, scales = self.prepare(image)
        self.invoke(pixels)
        boxes, classes, scores = self._outputs.read(self.interpreter, score_threshold)
        height, width = self._input["shape"][1:3]
        boxes = boxes * np.array([height, width, height, width], np.float32) / np.array([*scales, *scales], np.float32)
        limits = np.array([*image.shape[:2], *image.shape[:2]], np.float32)
        boxes = np.clip(boxes, 0, limits)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        order = np.flatnonzero(visible)[np.argsort(-scores[visible], kind="stable")]
        return Detections(boxes[order].astype(np.float32), scores[order], classes[order])

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Returns `[1, H, W, 3]` for `invoke`, resized and normalised, and (y, x) input pixels per image pixel."""
        height, width = self._input["shape"][1:3]
        pixels, scales = resize_image(image, int(height), width=int(width), mode=self.preprocessing.resize)
        if self._input["dtype"] == np.uint8:
            return pixels[None], scales
        values = (pixels[None].astype(np.float32) - np.float32(self._mean)) / np.float32(self._std)
        if self._input["dtype"] == np.int8:
            scale, zero_point = self._input["quantization"]
            values = np.clip(np.round(values / scale) + zero_point, -128, 127)
        return values.astype(self._input["dtype"]), scales

    def invoke(self, pixels: np.ndarray) -> None:
        """Runs the file on what `prepare` returned: the part that a latency means."""
        self.interpreter.set_tensor(self._input["index"], pixels)
        self.interpreter.invoke()

    def _checked_input(self) -> dict[str, Any]:
        details = self.interpreter.get_input_details()
        received = [(detail["shape"].tolist(), np.dtype(detail["dtype"]).name) for detail in details]
        shape, kind = received[0] if len(received) == 1 else ([], "")
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or kind not in PIXEL_TYPES:
            raise ModelFileError(
                f"{self.path}: expected one input [1, height, width, 3] of {', '.join(PIXEL_TYPES)}. "
                f"Received: {received}. It is no detector of RGB images."
            )
        return dict(details[0])

    def _normalisation(self, asked: Preprocessing, metadata: FileMetadata) -> tuple[float, float, str]:
        """Returns mean and std of the pixels, and a sentence that says who decided them."""
        kind = np.dtype(self._input["dtype"]).name
        if kind == "uint8":
            if asked.mean is not None or asked.std is not None:
                raise InputError(
                    "--input-mean, --input-std: expected a file with a float32 or int8 input. "
                    f"Received: {self.path} with uint8, which gets the pixels as they are. Leave them out."
                )
            return 0.0, 1.0, "uint8 pixels as they are"
        mean, std, source = ASSUMED_MEAN, ASSUMED_STD, "assumed, the file does not say"
        if asked.mean is not None and asked.std is not None:
            mean, std, source = asked.mean, asked.std, "as given"
        elif metadata.mean and metadata.std:
            mean, std, source = _same_for_all(metadata, self.path)
        if not std > 0:
            raise InputError(f"{self.path}: expected a std above 0. Received: std={std}. Pass --input-std.")
        return mean, std, f"{kind}, (pixel - {mean:g}) / {std:g}, {source}"


def _checked_metadata(path: Path) -> FileMetadata:
    """Parses the whole file in Python first, so that a damaged one gets an error that says so."""
    try:
        read_graphs(path)
    except InputError as error:
        raise ModelFileError(str(error)) from error
    return read_metadata(path)


def _same_for_all(metadata: FileMetadata, path: Path) -> tuple[float, float, str]:
    means, stds = metadata.mean or (), metadata.std or ()
    if len(set(means)) > 1 or len(set(stds)) > 1:
        raise ModelFileError(
            f"{path}: expected one mean and std for all channels in the metadata. "
            f"Received: mean={list(means)}, std={list(stds)}. Fold them into the network."
        )
    return means[0], stds[0], "from the metadata"
