"""A data set as TFRecord shards with an index: few large files instead of many small ones, read at random.

PACK/pack.json            classes, splits, shards with their sizes, the input the training images were reduced for
PACK/<split>.json         one entry for each image: labels, and where its bytes are
PACK/<split>-00000.tfrecord   tf.train.Example with the feature names of the TensorFlow object detection API
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from keras_retina.data.formats.packs.tfrecords import is_tfrecord_pattern, read_tfrecords, tfrecord_splits
from keras_retina.data.records import Dataset, Layout, PackedImage, Reader, Reading, Record
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import address, file_size, read_bytes

PACK_FILE = "pack.json"
FORMAT: Literal[1] = 1


class Shard(BaseModel):
    file: str
    bytes: int


class PackedSplit(BaseModel):
    images: int
    shards: list[Shard]


class ReducedFor(BaseModel):
    split: str
    height: int
    width: int


class About(BaseModel):
    """What `pack.json` holds."""

    format: Literal[1]
    name: str
    class_names: list[str]
    category_ids: list[int]
    reduced_for: ReducedFor
    splits: dict[str, PackedSplit]


def pack_splits(folder: Path) -> list[str]:
    """Returns the splits of a pack, none for a folder that is no pack."""
    return list(_read_about(folder).splits) if file_size(folder / PACK_FILE) else []


def read_pack(folder: Path, split: str) -> Dataset:
    """Reads the labels of a split; images stay where they are until one is asked for.

    Raises:
        InputError: index or shard is missing, cut short or of another version.
    """
    about = _read_about(folder)
    # Only the last part of a name: a pack from a stranger must not reach outside its folder.
    shards = [folder / Path(shard.file).name for shard in about.splits[split].shards]
    for path, shard in zip(shards, about.splits[split].shards, strict=True):
        size = file_size(path)
        if size != shard.bytes:
            raise InputError(
                f"{address(path)}: a shard of {shard.bytes} bytes was expected. Received: {size} bytes. Pack again."
            )
    try:
        numbers = dict(zip(about.class_names, about.category_ids, strict=True))
        records = tuple(_record(entry, shards) for entry in _read_json(folder / f"{split}.json"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{address(folder / f'{split}.json')}: the index that `keras-retina pack` wrote was expected. "
            f"Received: {error!r}. Pack again."
        ) from error
    return Dataset(about.name, split, tuple(numbers), tuple(numbers.values()), records)


def _find(place: Path) -> list[Layout]:
    splits = pack_splits(place)
    if splits:
        return [Layout("pack", "pack", tuple(splits), lambda split, reading: read_pack(place, split))]
    files = tfrecord_splits(place)
    if not files:
        return []
    name = (place.parent if is_tfrecord_pattern(place) else place).resolve().name

    def read(split: str, reading: Reading) -> Dataset:
        return read_tfrecords(files, split, name=name, classes=reading.classes)

    return [Layout("pack", "TFRecord", tuple(files), read)]


PACK = Reader("pack", "pack.json or <split>*.tfrecord", _find)


def check_pack_input(folder: Path, split: str, *, height: int, width: int) -> None:
    """Refuses to train on images that were reduced for a smaller input; a folder that is no pack passes.

    Raises:
        InputError: the input has more pixels than the pack was made for.
    """
    if not file_size(folder / PACK_FILE):
        return
    made_for = _read_about(folder).reduced_for
    if made_for.split == split and made_for.height * made_for.width < height * width:
        raise InputError(
            f"{address(folder / PACK_FILE)}: images for an input of at least {height} x {width} were expected. "
            f"Received: {made_for.height} x {made_for.width}. Pack again with this recipe."
        )


def _record(entry: dict[str, Any], shards: list[Path]) -> Record:
    name = str(entry["file_name"])
    place = PackedImage(
        shards[entry["shard"]], int(entry["offset"]), int(entry["length"]), int(entry["checksum"]), Path(name).name
    )
    return Record(
        int(entry["image_id"]),
        place,
        name,
        int(entry["height"]),
        int(entry["width"]),
        np.array(entry["boxes"], np.float32).reshape(-1, 4),
        np.array(entry["classes"], np.int32),
        np.array(entry["crowd"], bool),
    )


def _read_about(folder: Path) -> About:
    try:
        return About.model_validate(_read_json(folder / PACK_FILE))
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(
            f"{address(folder / PACK_FILE)}: the file that `keras-retina pack` wrote was expected. "
            f"Received: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}. Pack again."
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path).decode())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{address(path)}: the JSON that `keras-retina pack` wrote was expected. Received: {error}. Pack again."
        ) from error
