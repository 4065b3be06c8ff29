"""TFLite metadata of anybody's file, as far as a detector needs it: names of outputs, normalisation, labels.

Read with the flatbuffers library, because MediaPipe's schema modules come with the whole of MediaPipe.

Source: mediapipe/tasks/metadata/metadata_schema.fbs, version 1.5.0; slot numbers are the order of its fields.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

from edge.metadata import NAME, TENSOR_VALUE_LABELS
from edge.runtime import MEMBER_LIMIT, ModelFileError
from edge.tflite_file import read_flatbuffer

NORMALIZATION = 1  # in the union ProcessUnitOptions
TENSOR_AXIS_LABELS = 2
NO_CLASS = ("???", "background")  # a first line that stands for no object


@dataclass(frozen=True)
class FileMetadata:
    """`output_names` in the order of the outputs, `mean` and `std` of the input, `labels` by class index."""

    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None


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
    root = Table(data, encode.Get(packer.uoffset, data, 0))
    subgraph = next(_tables(root, 3))
    inputs, outputs = list(_tables(subgraph, 2)), list(_tables(subgraph, 3))
    mean, std = _normalization(inputs[0]) if inputs else (None, None)
    files = [(_integer(file, 2), _text(file, 0)) for tensor in outputs for file in _tables(tensor, 6)]
    files += [(_integer(file, 2), _text(file, 0)) for file in _tables(subgraph, 4)]
    named = next((name for kind, name in files if kind in (TENSOR_VALUE_LABELS, TENSOR_AXIS_LABELS)), None)
    text = None if named is None else _member(path, named)
    labels = None if text is None else parse_labels(text)
    return FileMetadata(tuple(_text(tensor, 0) for tensor in outputs), mean, std, labels)


def _normalization(tensor: Table) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    for unit in _tables(tensor, 4):
        place = _place(unit, 1)
        if _integer(unit, 0) == NORMALIZATION and place:
            options = Table(unit.Bytes, unit.Indirect(place))
            return _floats(options, 0), _floats(options, 1)
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


def _place(table: Table, slot: int) -> int:
    """Returns where a field is, 0 for one that is absent."""
    offset = table.Offset(4 + 2 * slot)
    return table.Pos + offset if offset else 0


def _tables(table: Table, slot: int) -> Iterator[Table]:
    offset = table.Offset(4 + 2 * slot)
    if offset:
        start = table.Vector(offset)
        for number in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * number))


def _floats(table: Table, slot: int) -> tuple[float, ...]:
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return ()
    start, count = table.Vector(offset), table.VectorLen(offset)
    return tuple(float(table.Get(number_types.Float32Flags, start + 4 * number)) for number in range(count))


def _text(table: Table, slot: int) -> str:
    place = _place(table, slot)
    return table.String(place).decode("utf-8") if place else ""


def _integer(table: Table, slot: int) -> int:
    place = _place(table, slot)
    return int(table.Get(number_types.Uint8Flags, place)) if place else 0
