"""Anybody's detection file, with the `detect` of our own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.detectors.heads.look import InputForm, input_form, look, output_values
from edge.detectors.heads.recognise import chosen
from edge.detectors.open_file import load, refused
from edge.detectors.pictures import Placement, Steps, as_input, place, takes_bytes
from edge.runtime import SHOW_SCORE_THRESHOLD, Detections, ModelFileError
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.graph import read_graphs
from edge.tflite.read_metadata import FileMetadata, read_metadata
from keras_retina.foundation.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """What a file of others may not say, and the command line says; None leaves it to the file, or to its kind.

    `mean` and `std` turn a pixel into (pixel - mean) / std. `resize` and `channels` (`rgb`, `bgr`) are those of
    `edge.detectors.pictures.Steps`. `head` is how the outputs are read, `box_units` (`pixels`, `shares`) what their
    boxes are in, `classes` the number of class names. `anchors` are widths and heights in pixels, level by level.
    """

    mean: float | None = None
    std: float | None = None
    resize: str | None = None
    channels: str | None = None
    head: str | None = None
    box_units: str | None = None
    classes: int | None = None
    anchors: Sequence[Sequence[float]] | None = None


class ForeignDetector:
    """One opened detection file that `keras-retina export` did not write; `read_as` says how it is understood.

    `class_names` are those of its metadata, None when it has none. `preprocessing` has the head that was recognised,
    so that another opening reads the file in the same way.

    Raises:
        ModelFileError: no detector, a kind of input or output that is not known, or LiteRT refuses the file. A file
            that may crash LiteRT is to be opened by `edge.detectors.open_file.opened` first.
        InputError: the outputs can be read in several ways, or `preprocessing` does not fit the file.
    """

    def __init__(self, path: str | Path, threads: int = 2, *, preprocessing: Preprocessing | None = None) -> None:
        self.path = Path(path)
        asked = preprocessing or Preprocessing()
        metadata = _checked_metadata(self.path)
        try:
            self.interpreter = load(self.path, threads)
        except (ValueError, RuntimeError) as error:
            raise refused(self.path, str(error)) from error
        self._form = input_form(self.path, self.interpreter.get_input_details())
        model = read_flatbuffer(self.path.read_bytes())
        seen = look(
            self.interpreter,
            self._form,
            model=model,
            metadata=metadata,
            classes=asked.classes,
            asked=asked.head,
            units=asked.box_units,
            anchors=asked.anchors,
        )
        self._head = chosen(self.path, seen)
        self.preprocessing = dataclasses.replace(asked, head=self._head.name, box_units=self._head.units)
        self._steps, told = _steps(self.path, self._head.steps, form=self._form, asked=asked, metadata=metadata)
        self.class_names = metadata.labels
        order = ", blue first" if self._steps.bgr else ""
        self.read_as = {
            "head": self._head.name,
            "outputs": self._head.why,
            "input": f"{told}{order}",
            "resize": self._steps.resize,
        }
        if not seen.steady:
            self.read_as["repeat"] = "two runs on one picture gave different numbers; LiteRT does not run it reliably"

    def detect(self, image: np.ndarray, score_threshold: float = SHOW_SCORE_THRESHOLD) -> Detections:
        """Finds the objects of a uint8 RGB image `[height, width, 3]` of any size; classes are the file's own indices.

        Raises:
            ModelFileError: the outputs are not what they were taken for.
        """
        pixels, placement = self.prepare(image)
        self.invoke(pixels)
        outputs = output_values(self.interpreter, self.interpreter.get_output_details())
        try:
            found = self._head.read(outputs, score_threshold)
        except ValueError as error:
            raise ModelFileError(f"{self.path}: {error}") from error
        limits = np.array([*image.shape[:2], *image.shape[:2]], np.float32)
        boxes, scores = np.clip(placement.to_image(found.boxes), 0, limits), found.scores
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        order = np.flatnonzero(visible)[np.argsort(-scores[visible], kind="stable")]
        return Detections(boxes[order].astype(np.float32), scores[order], found.classes[order])

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        """Returns the tensor for `invoke`, resized and normalised, and where the image is in it."""
        pixels, placement = place(image, self._form.height, width=self._form.width, steps=self._steps)
        form = self._form
        return as_input(pixels, form.detail, steps=self._steps, nchw=form.nchw, grey=form.grey), placement

    def invoke(self, pixels: np.ndarray) -> None:
        """Runs the file on what `prepare` returned: the part that a latency means."""
        self.interpreter.set_tensor(self._form.detail["index"], pixels)
        try:
            self.interpreter.invoke()
        except RuntimeError as error:
            raise refused(self.path, str(error)) from error


def _steps(
    path: Path, usual: Steps, *, form: InputForm, asked: Preprocessing, metadata: FileMetadata
) -> tuple[Steps, str]:
    """Returns what is done to a photo, and a sentence that says who decided how pixels are normalised."""
    steps = dataclasses.replace(
        usual,
        resize=asked.resize or usual.resize,
        bgr=usual.bgr if asked.channels is None else asked.channels == "bgr",
    )
    if np.dtype(form.detail["dtype"]) == np.uint8 and takes_bytes(form.detail, steps):
        if asked.mean is not None or asked.std is not None:
            raise InputError(
                "--input-mean, --input-std: expected a file with a float32 or int8 input. "
                f"Received: {path} with uint8, which gets the pixels as they are. Leave them out."
            )
        return steps, f"{form.told()} pixels as they are"
    if asked.mean is not None and asked.std is not None:
        steps = dataclasses.replace(steps, mean=(asked.mean,), std=(asked.std,), source="as given")
    elif metadata.mean and metadata.std:
        steps = dataclasses.replace(steps, mean=metadata.mean, std=metadata.std, source="from the metadata")
    if not all(one > 0 for one in steps.std):
        raise InputError(f"{path}: expected a std above 0. Received: std={_numbers(steps.std)}. Pass --input-std.")
    if (set(steps.mean), set(steps.std)) == ({0.0}, {1.0}):
        return steps, f"{form.told()} pixels as they are, {steps.source}"
    return steps, f"{form.told()}, (pixel - {_numbers(steps.mean)}) / {_numbers(steps.std)}, {steps.source}"


def _numbers(values: tuple[float, ...]) -> str:
    """Returns `127.5`, or `[103.53, 116.28, 123.675]` where the channels differ."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"[{', '.join(f'{value:g}' for value in values)}]"


def _checked_metadata(path: Path) -> FileMetadata:
    """Parses the whole file in Python first, so that a damaged one gets an error that says so."""
    try:
        read_graphs(path)
    except InputError as error:
        raise ModelFileError(str(error)) from error
    return read_metadata(path)
