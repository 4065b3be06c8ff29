"""`pack.json`: what a pack holds, with the size and the checksum of each of its files.

PACK/pack.json                classes, splits, files, and the input that the training images were reduced for
PACK/<split>-00000.tfrecord   a shard: tf.train.Example with the feature names of the TensorFlow object detection API
PACK/<split>-00000.jsonl      its index, a line for each image: labels, and where the bytes of the image are

Packs of format 1 have one index for all shards of a split, `<split>.json`, and no checksum of a whole file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address
from keras_retina.foundation.files.reading import matching_files, read_bytes

PACK_FILE = "pack.json"
FORMAT: Literal[2] = 2
_SHOWN = 120  # characters of a value

_Positive = Annotated[int, Field(ge=1, lt=2**63)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Shard(BaseModel):
    """A shard; in format 1 it has a name and a size alone.

    Attributes:
        file: its name in the folder.
        images: how many are in it.
        sha256: of the file.
        index_bytes, index_sha256: of its index, the file of the same name that ends in `.jsonl`.
    """

    file: str
    bytes: _Positive
    images: Annotated[int, Field(ge=0)] = 0
    sha256: _Digest | None = None
    index_bytes: _Positive | None = None
    index_sha256: _Digest | None = None

    def path(self, folder: Path) -> Path:
        """Returns where it is. Only the last part of a name counts: no pack may reach outside its folder."""
        return folder / Path(self.file).name

    def index_path(self, folder: Path) -> Path:
        """Returns where its index is."""
        return self.path(folder).with_suffix(".jsonl")


class PackedSplit(BaseModel):
    images: Annotated[int, Field(ge=0)]
    shards: list[Shard]


class ReducedFor(BaseModel):
    split: str
    height: _Positive
    width: _Positive


class About(BaseModel):
    """What `pack.json` holds."""

    format: Literal[1, 2]
    name: str
    class_names: list[str]
    category_ids: list[Annotated[int, Field(ge=-(2**63), lt=2**63)]]
    reduced_for: ReducedFor
    splits: dict[str, PackedSplit]


def is_pack(folder: Path) -> bool:
    """Tells whether a folder holds a pack that was written to its end.

    Raises:
        OSError: its place cannot be reached.
    """
    return bool(matching_files(folder, PACK_FILE))


def read_about(folder: Path) -> About:
    """Reads `pack.json`.

    Raises:
        InputError: it is not what `keras-retina pack` writes, or its parts contradict each other.
    """
    file = folder / PACK_FILE
    try:
        about = About.model_validate(json_value(pack_bytes(file), file))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise unfit(file, field, problem["msg"], received=problem["input"]) from error
    if not about.splits:
        raise unfit(file, "splits", "at least one", received={})
    names, numbers = about.class_names, about.category_ids
    if len(names) != len(numbers):
        raise unfit(file, "category_ids", f"one for each of {len(names)} class_names", received=numbers)
    for field, values in (("class_names", names), ("category_ids", numbers)):
        if len(set(values)) < len(values):
            raise unfit(file, field, "each value once", received=_twice(values))
    for split, packed in about.splits.items():
        if Path(split).name != split:
            raise unfit(file, "splits", "names without a folder", received=split)
        files = [Path(shard.file).name for shard in packed.shards]
        if len(set(files)) < len(files):
            raise unfit(file, f"splits.{split}.shards", "each file once", received=_twice(files))
        for number, shard in enumerate(packed.shards if about.format == FORMAT else ()):
            for field in ("sha256", "index_bytes", "index_sha256"):
                if getattr(shard, field) is None:
                    raise unfit(file, f"splits.{split}.shards.{number}.{field}", "a value", received=None)
        counted = sum(shard.images for shard in packed.shards)
        if about.format == FORMAT and counted != packed.images:
            raise unfit(file, f"splits.{split}.images", f"{counted}, as in its shards", received=packed.images)
    return about


def pack_bytes(file: Path) -> bytes:
    """Returns the bytes of a small file of a pack.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_bytes(file)
    except OSError as error:
        raise InputError(
            f"{printable(address(file))}: a file that `keras-retina pack` wrote was expected. "
            f"Received: {printable(error.strerror)}. Pack again."
        ) from error


def json_value(text: bytes, where: Path | str) -> Any:
    """Returns the value in a text of JSON.

    Raises:
        InputError: it is not JSON, or is nested without an end.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = address(where) if isinstance(where, Path) else where
        raise InputError(
            f"{printable(place)}: the JSON that `keras-retina pack` wrote was expected. "
            f"Received: {printable(error)[:_SHOWN]}. Pack again."
        ) from error


def unfit(where: Path | str, field: str, expected: str, *, received: Any) -> InputError:
    """Returns the error for a value that a pack cannot have; `where` is the file, or file and line."""
    place = address(where) if isinstance(where, Path) else where
    shown = repr(received) if not isinstance(received, int) or abs(received) < 10**_SHOWN else "a huge number"
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return InputError(
        f"{printable(place)}: {printable(field)}: expected {printable(expected)}. "
        f"Received: {printable(field)}={printable(shown)}. Pack again."
    )


def _twice(values: Sequence[Any]) -> Any:
    return next(value for index, value in enumerate(values) if value in values[:index])
