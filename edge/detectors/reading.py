"""How a `.tflite` is read against a data set: ours by its description, anybody's by metadata, options, defaults."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.detectors.class_map import Counterparts, counterparts, parse_class_map
from edge.detectors.foreign import ForeignDetector, Preprocessing
from edge.detectors.heads.levels.own_anchors import parse_anchors
from edge.detectors.open_file import opened
from edge.runtime import SPEC_MEMBER, UNREADABLE_MEMBER, Detector, read_description
from edge.tflite.read_metadata import parse_labels
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import read_bytes

CHANNELS = ("rgb", "bgr")


@dataclass(frozen=True)
class ReadingOptions:
    """What the command line says about a file; None leaves it to the file.

    Attributes:
        labels: a file with a class name a line.
        class_map: `name=name,...`, or a file with such pairs (`edge.detectors.class_map.parse_class_map`).
        mean, std: of the pixels of a float32 or int8 input.
        resize, channels: one of `RESIZE_MODES`, one of `CHANNELS`.
        head: how the outputs are read, a name in `edge.detectors.heads.recognise.KNOWN`.
        box_units: what the boxes of a YOLO head are in, `pixels` or `shares` of the input.
        anchors: of a YOLO in maps (`edge.detectors.heads.levels.own_anchors.parse_anchors`).
    """

    labels: Path | None = None
    class_map: str | None = None
    mean: float | None = None
    std: float | None = None
    resize: str | None = None
    channels: str | None = None
    head: str | None = None
    box_units: str | None = None
    anchors: str | None = None

    @property
    def given_for_foreign(self) -> list[str]:
        """The options that only make sense for a file without our description."""
        values = {
            "labels": self.labels,
            "input-mean": self.mean,
            "input-std": self.std,
            "resize": self.resize,
            "channels": self.channels,
            "head": self.head,
            "box-units": self.box_units,
            "anchors": self.anchors,
        }
        return [f"--{name}" for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Reading:
    """What was decided. `preprocessing` is None for ours, `columns` where the classes are those of the data."""

    preprocessing: Preprocessing | None = None
    columns: tuple[int, ...] | None = None
    read_as: dict[str, Any] = field(default_factory=dict)


def is_ours(path: Path) -> bool:
    """Whether a file has the description that `keras-retina export` writes, whatever its state."""
    try:
        with zipfile.ZipFile(path) as archive:
            return SPEC_MEMBER in archive.namelist()
    except UNREADABLE_MEMBER:
        return False


def open_detector(path: Path, threads: int, *, reading: Reading) -> Detector | ForeignDetector:
    """Opens a file in the way that was decided for it."""
    if reading.preprocessing is None:
        return Detector(path, threads)
    return ForeignDetector(path, threads, preprocessing=reading.preprocessing)


def choose_reading(path: Path, dataset: Dataset, *, options: ReadingOptions) -> Reading:
    """Decides how to read a file, and says so in `read_as`.

    Raises:
        edge.runtime.ModelFileError: no detector, or LiteRT refuses the file.
        InputError: an option does not go with the file, class names are not known, or none is a class of the data.
    """
    if is_ours(path):
        return _reading_of_ours(path, dataset, options=options)
    detector, names, source = _opened_foreign(path, 1, options=options)
    matched = counterparts(
        names, dataset.class_names, class_map=parse_class_map(options.class_map or ""), source=str(path)
    )
    read_as = {**detector.read_as, "labels": source, **_without_counterpart(matched)}
    return Reading(detector.preprocessing, matched.columns, read_as)


def open_for_detection(
    path: Path, threads: int, *, options: ReadingOptions, delegate: str | None = None
) -> tuple[Detector | ForeignDetector, list[str]]:
    """Opens anybody's file to detect with; returns it with its class names, and how it is read, as lines.

    Raises:
        edge.runtime.ModelFileError: no detector, or LiteRT refuses the file.
        InputError: an option does not go with the file, or class names are not known.
    """
    if is_ours(path) or not path.is_file():
        _refuse_foreign_options(path, options)
        return Detector(path, threads, delegate=delegate), []
    if delegate is not None:
        raise InputError(
            "--delegate: expected a file that `keras-retina export` wrote. "
            f"Received: {path}, somebody else's. Leave it out."
        )
    detector, names, source = _opened_foreign(path, threads, options=options)
    detector.class_names = names
    return detector, reading_lines(path, Reading(detector.preprocessing, None, {**detector.read_as, "labels": source}))


def reading_lines(path: Path, reading: Reading) -> list[str]:
    """Returns what a person should know about how a file was read; nothing for ours with the data's own classes."""
    said = dict(reading.read_as)
    missing, unused = said.pop("missing", []), said.pop("unused", [])
    lines = [f"{path.name}: {name}: {value}" for name, value in said.items()]
    if missing:
        lines.append(f"{path.name}: classes of the data that it does not know, AP 0: {', '.join(missing)}")
    if unused:
        shown = ", ".join(unused[:8]) + (", ..." if len(unused) > 8 else "")
        lines.append(f"{path.name}: {len(unused)} of its classes are not in the data, left out: {shown}")
    return lines


def _reading_of_ours(path: Path, dataset: Dataset, *, options: ReadingOptions) -> Reading:
    _refuse_foreign_options(path, options)
    names = read_description(path).class_names
    if options.class_map is None:
        return Reading()
    matched = counterparts(names, dataset.class_names, class_map=parse_class_map(options.class_map), source=str(path))
    return Reading(None, matched.columns, _without_counterpart(matched))


def _refuse_foreign_options(path: Path, options: ReadingOptions) -> None:
    if options.given_for_foreign:
        raise InputError(
            f"{', '.join(options.given_for_foreign)}: expected a file without the description of keras-retina. "
            f"Received: {path}, which says all of it. Leave the option out."
        )


def _opened_foreign(
    path: Path, threads: int, *, options: ReadingOptions
) -> tuple[ForeignDetector, tuple[str, ...], str]:
    """Returns the file with its class names, and where these are from."""
    if (options.mean is None) != (options.std is None):
        raise InputError("--input-mean, --input-std: expected both or none. Received: one. Add the other.")
    labels = None if options.labels is None else _names_in(options.labels)
    opened(path)  # in a process of its own: a damaged file may end it
    asked = Preprocessing(
        options.mean,
        options.std,
        options.resize,
        channels=options.channels,
        head=options.head,
        box_units=options.box_units,
        classes=None if labels is None else len(labels),
        anchors=None if options.anchors is None else parse_anchors(options.anchors),
    )
    detector = ForeignDetector(path, threads, preprocessing=asked)
    names = labels or detector.class_names
    if not names:
        raise InputError(
            f"{path}: expected class names in its metadata. Received: none. Pass --labels FILE with a name a line."
        )
    return detector, names, f"{options.labels or 'from the metadata'}, {len(names)} names"


def _names_in(labels: Path) -> tuple[str, ...]:
    if not labels.is_file():
        raise InputError(f"--labels: expected a text file. Received: {labels}, nothing there. Correct the path.")
    try:
        return parse_labels(read_bytes(labels).decode())
    except UnicodeDecodeError as error:
        raise InputError(f"--labels: expected UTF-8 text. Received: {labels}: {error}. Convert it.") from error


def _without_counterpart(matched: Counterparts) -> dict[str, Any]:
    return {"missing": list(matched.missing), "unused": list(matched.unused)}
