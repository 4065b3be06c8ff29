"""Metadata of anybody's file, as far as a detector needs it: names of outputs, normalisation, labels, task.

TFLite metadata is what MediaPipe writes; Ultralytics appends a `metadata.json`, and did so as `temp_meta.txt`.

Read with the flatbuffers library, because MediaPipe's schema modules come with the whole of MediaPipe.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.runtime import ModelFileError, read_member
from edge.tflite import decoding_metadata
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.metadata import NAME, TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
from edge.tflite.tables import Reader


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


NORMALIZATION = 1  # in the union ProcessUnitOptions
NO_CLASS = ("???", "background")  # a first line that stands for no object


@dataclass(frozen=True)
class FileMetadata:
    """`output_names` in the order of the outputs, `mean` and `std` of the input, `labels` by class index,
    `options` of a file that ends at its heads, `task` (`detect`, `segment`, ...) where Ultralytics says it."""

    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None
    options: DetectorOptions | None = None
    task: str | None = None


def read_metadata(path: Path) -> FileMetadata:
    """Reads the metadata of a `.tflite` that can be parsed; an empty one for a file that has none.

    Raises:
        ModelFileError: there is metadata, and it is damaged.
    """
    model = read_flatbuffer(path.read_bytes())
    entry = next((one for one in model.metadata or [] if one.name == NAME), None)
    try:
        theirs = ultralytics_facts({name: _member(path, name) for name in ULTRALYTICS_MEMBERS})
        found = FileMetadata() if entry is None else _metadata(bytes(model.buffers[entry.buffer].data), path)
        if theirs is None:
            return found
        return dataclasses.replace(found, labels=theirs.names, task=theirs.task)
    except Exception as error:  # whatever wrong offsets lead a reader without a verifier into
        raise ModelFileError(
            f"{path}: expected whole TFLite metadata. Received: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Write the metadata again."
        ) from error


ULTRALYTICS_MEMBERS = ("metadata.json", "temp_meta.txt")


@dataclass(frozen=True)
class UltralyticsFacts:
    """Class names in the order of the classes, and the task of the network, None where it is not said."""

    names: tuple[str, ...]
    task: str | None


def ultralytics_facts(members: Mapping[str, str | None]) -> UltralyticsFacts | None:
    """Returns what the appended files of Ultralytics say; None where there is none, or another tool's.

    `members` are texts by name. `metadata.json` is JSON; `temp_meta.txt`, of older versions, a Python dictionary.

    Raises:
        ValueError: a member is neither, or does not name classes 0, 1, 2, ...
    """
    for name in ULTRALYTICS_MEMBERS:
        text = members.get(name)
        if text is None:
            continue
        try:
            facts = json.loads(text) if name.endswith(".json") else ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"{name} cannot be parsed: {type(error).__name__}") from error
        names = facts.get("names") if isinstance(facts, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names:
            continue
        by_number = {int(number): str(label) for number, label in names.items()}
        if sorted(by_number) != list(range(len(by_number))):
            raise ValueError(f"{name} numbers its classes {sorted(by_number)[:5]}, and not 0, 1, 2, ...")
        task = facts.get("task")
        return UltralyticsFacts(tuple(by_number[number] for number in range(len(by_number))), task and str(task))
    return None


def parse_labels(text: str) -> tuple[str, ...]:
    """Returns the class names of a label file: a name a line, or `number name`; a first `???` or `background` goes.

    Numbered lines may leave numbers out, which then are classes called `???`.
    """
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [re.fullmatch(r"(\d+)[\s:,]+(.+)", line) for line in lines]
    if lines and all(numbered):
        by_number = {int(found.group(1)): found.group(2).strip() for found in numbered if found}
        if max(by_number) < 10_000:
            return tuple(by_number.get(number, NO_CLASS[0]) for number in range(max(by_number) + 1))
    if lines and lines[0].casefold() in NO_CLASS:
        lines = lines[1:]
    return tuple(lines)


def _metadata(data: bytes, path: Path) -> FileMetadata:
    subgraph = next(Reader(data).children(3))
    inputs, outputs = list(subgraph.children(2)), list(subgraph.children(3))
    mean, std = _normalization(inputs[0]) if inputs else (None, None)
    files = [file for output in outputs for file in output.children(6)] + list(subgraph.children(4))
    names = [file.text(0) or "" for file in files if file.byte(2) in (TENSOR_VALUE_LABELS, TENSOR_AXIS_LABELS)]
    labels = _member(path, names[0]) if names else None
    custom = {entry.text(0): entry.bytes(1) for entry in subgraph.children(9)}
    options = custom.get(decoding_metadata.DETECTOR_METADATA)
    return FileMetadata(
        output_names=tuple(output.text(0) or "" for output in outputs),
        mean=mean,
        std=std,
        labels=None if labels is None else parse_labels(labels),
        options=None if options is None else parse_options(options),
    )


def _normalization(tensor: Reader) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    for unit in tensor.children(4):
        options = unit.child(1)
        if unit.byte(0) == NORMALIZATION and options is not None:
            return tuple(options.floats(0) or ()), tuple(options.floats(1) or ())
    return None, None


def _member(path: Path, name: str) -> str | None:
    """Returns an associated file; None where it was lost, because many tools copy the flatbuffer without its zip."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            return None
        return read_member(archive, name).decode("utf-8")


CONTENTS = ("", "features", "image", "bounding boxes", "audio")
PROCESS_UNITS = (
    *("", "normalization", "score calibration", "score threshold"),
    *("BERT tokenizer", "SentencePiece tokenizer", "regular expression tokenizer"),
)
FILES = ("", "descriptions", "axis labels", "value labels", "score calibration", "vocabulary", "SCANN index")
SCORE_THRESHOLD = 3


def metadata_facts(data: bytes) -> dict[str, Any]:
    """Returns the metadata without what is empty.

    Raises:
        Exception: whatever wrong offsets in damaged metadata lead to.
    """
    root = Reader(data)
    graphs = list(root.children(3))
    facts: dict[str, Any] = {
        "name": root.text(0),
        "description": root.text(1),
        "version": root.text(2),
        "author": root.text(4),
        "license": root.text(5),
        "min_parser_version": root.text(7),
        "files": [_file(file) for file in root.children(6)],
    }
    if graphs:  # TFLite files have one
        facts["inputs"] = [_tensor(tensor) for tensor in graphs[0].children(2)]
        facts["outputs"] = [_tensor(tensor) for tensor in graphs[0].children(3)]
        facts["files"] += [_file(file) for file in graphs[0].children(4)]
        facts["custom"] = [_custom(custom) for custom in graphs[0].children(9)]
    return _filled(facts)


def _tensor(tensor: Reader) -> dict[str, Any]:
    content, stats = tensor.child(3), tensor.child(5)
    facts: dict[str, Any] = {
        "name": tensor.text(0),
        "description": tensor.text(1),
        "content": _choice(CONTENTS, content.byte(0)) if content else None,
        "files": [_file(file) for file in tensor.children(6)],
        "minimum": stats.floats(1) if stats else None,
        "maximum": stats.floats(0) if stats else None,
    }
    for unit in tensor.children(4):
        options, name = unit.child(1), _choice(PROCESS_UNITS, unit.byte(0))
        if options and unit.byte(0) == NORMALIZATION:
            facts[name] = {"mean": options.floats(0), "std": options.floats(1)}
        elif name:
            facts[name] = options.number(0) if options and unit.byte(0) == SCORE_THRESHOLD else True
    return _filled(facts)


def _custom(custom: Reader) -> dict[str, Any]:
    """Returns name and size, and of a raw detector how MediaPipe decodes it."""
    name, data = custom.text(0), custom.bytes(1) or b""
    facts: dict[str, Any] = {"name": name, "bytes": len(data)}
    if name == decoding_metadata.DETECTOR_METADATA:
        options = Reader(data)
        decoding, anchors = options.child(2), options.child(1)
        fixed = anchors.child(0) if anchors else None
        facts["anchors"] = sum(1 for _ in fixed.children(0)) if fixed else 0
        if decoding:
            facts |= {"classes": decoding.integer(0), "boxes": decoding.integer(1)}
            facts |= {scale: decoding.number(6 + place) for place, scale in enumerate(decoding_metadata.SCALES)}
            facts |= {"exponential": bool(decoding.byte(10)), "sigmoid": bool(decoding.byte(11))}
    return facts


def _file(file: Reader) -> dict[str, Any]:
    return _filled({"name": file.text(0), "type": _choice(FILES, file.byte(2)), "locale": file.text(3)})


def _choice(names: tuple[str, ...], value: int) -> str:
    return names[value] if value < len(names) else f"type {value}"


def _filled(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "", [])}
