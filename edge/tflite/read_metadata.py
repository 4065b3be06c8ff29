"""TFLite metadata of anybody's file, as far as a detector needs it: names of outputs, normalisation, labels.

Read with the flatbuffers library, because MediaPipe's schema modules come with the whole of MediaPipe.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edge.runtime import MEMBER_LIMIT, ModelFileError
from edge.tflite import detector_options
from edge.tflite.detector_options import DetectorOptions, parse_options
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.metadata import NAME, TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS
from edge.tflite.tables import Reader

NORMALIZATION = 1  # in the union ProcessUnitOptions
NO_CLASS = ("???", "background")  # a first line that stands for no object


@dataclass(frozen=True)
class FileMetadata:
    """`output_names` in the order of the outputs, `mean` and `std` of the input, `labels` by class index,
    `options` of a file that ends at its heads."""

    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None
    options: DetectorOptions | None = None


def read_metadata(path: Path) -> FileMetadata:
    """Reads the metadata of a `.tflite` that can be parsed; an empty one for a file that has none.

    Raises:
        ModelFileError: there is metadata, and it is damaged.
    """
    model = read_flatbuffer(path.read_bytes())
    entry = next((one for one in model.metadata or [] if one.name == NAME), None)
    if entry is None:
        return FileMetadata()
    try:
        return _metadata(bytes(model.buffers[entry.buffer].data), path)
    except Exception as error:  # whatever wrong offsets lead a reader without a verifier into
        raise ModelFileError(
            f"{path}: expected whole TFLite metadata. Received: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Write the metadata again."
        ) from error


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
    options = custom.get(detector_options.NAME)
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
        if archive.getinfo(name).file_size > MEMBER_LIMIT:
            raise ValueError(f"{name} is larger than {MEMBER_LIMIT} bytes")
        return archive.read(name).decode("utf-8")
