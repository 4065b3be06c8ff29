"""Reads a pack: few large files instead of many small ones, of which each image is read alone when its turn comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_retina.data.formats.packs.about import (
    FORMAT,
    PACK_FILE,
    About,
    Shard,
    is_pack,
    json_value,
    pack_bytes,
    read_about,
    unfit,
)
from keras_retina.data.formats.packs.index import record_of
from keras_retina.data.formats.packs.tfrecords import is_tfrecord_pattern, read_tfrecords, tfrecord_splits
from keras_retina.data.formats.packs.unfinished import is_unfinished_pack
from keras_retina.data.records import Dataset, Layout, Reader, Reading, Record
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address
from keras_retina.foundation.files.reading import file_size, sha256_of

_CHANGED = "Copy the file again, or pack again"


def pack_splits(folder: Path) -> list[str]:
    """Returns the splits of a pack, none for a folder that is no pack."""
    return list(read_about(folder).splits) if is_pack(folder) else []


def read_pack(folder: Path, split: str) -> Dataset:
    """Reads the labels of a split; images stay where they are until one is asked for.

    Raises:
        InputError: a file is missing, cut short or changed, or an entry of the index is one that no image can have. It
            names file, line and field.
    """
    about = read_about(folder)
    for shard in about.splits[split].shards:
        _require_size(shard.path(folder), shard.bytes)
    read = _read_index if about.format == FORMAT else _read_first_index
    records: list[Record] = []
    seen: dict[int, str] = {}
    for where, record in read(folder, split, about):
        other = seen.setdefault(record.image_id, where)
        if other != where:
            raise unfit(where, "image_id", f"another one than that of {other}", received=record.image_id)
        records.append(record)
    if len(records) != about.splits[split].images:
        expected = f"{len(records)}, as in the index"
        raise unfit(folder / PACK_FILE, f"splits.{split}.images", expected, received=about.splits[split].images)
    return Dataset(about.name, split, tuple(about.class_names), tuple(about.category_ids), tuple(records))


def check_pack_input(folder: Path, split: str, *, height: int, width: int) -> None:
    """Refuses to train on images that were reduced for a smaller input; a folder that is no pack passes.

    Raises:
        InputError: the input has more pixels than the pack was made for.
    """
    if not is_pack(folder):
        return
    made_for = read_about(folder).reduced_for
    if made_for.split == split and made_for.height * made_for.width < height * width:
        raise InputError(
            f"{address(folder / PACK_FILE)}: images for an input of at least {height} x {width} were expected. "
            f"Received: {made_for.height} x {made_for.width}. Pack again with this recipe."
        )


def read_shard_index(folder: Path, shard: Shard, *, class_names: list[str]) -> Iterator[tuple[str, Record]]:
    """Yields (file and line, record) of the index of one shard.

    Raises:
        InputError: as `read_pack`.
    """
    index = shard.index_path(folder)
    text = pack_bytes(index)
    if len(text) != shard.index_bytes or sha256_of(text) != shard.index_sha256:
        raise InputError(
            f"{printable(address(index))}: the index of {shard.index_bytes} bytes that was packed was expected. "
            f"Received: {len(text)} bytes with another SHA-256. {_CHANGED}."
        )
    lines = text.splitlines()
    if len(lines) != shard.images:
        raise unfit(index, "lines", f"{shard.images}, one for each image", received=len(lines))
    for number, line in enumerate(lines, start=1):
        where = f"{address(index)}: line {number}"
        entry = json_value(line, where)
        yield (
            where,
            record_of(entry, shard.path(folder), shard_bytes=shard.bytes, class_names=class_names, where=where),
        )


def _read_index(folder: Path, split: str, about: About) -> Iterator[tuple[str, Record]]:
    for shard in about.splits[split].shards:
        yield from read_shard_index(folder, shard, class_names=about.class_names)


def _read_first_index(folder: Path, split: str, about: About) -> Iterator[tuple[str, Record]]:
    """Yields what `_read_index` does, of a pack of format 1."""
    index, shards = folder / f"{split}.json", about.splits[split].shards
    entries: Any = json_value(pack_bytes(index), index)
    if not isinstance(entries, list):
        raise unfit(index, "entries", "a list", received=entries)
    for number, entry in enumerate(entries):
        where = f"{address(index)}: entry {number}"
        place = entry.get("shard") if isinstance(entry, dict) else None
        if type(place) is not int or not 0 <= place < len(shards):
            raise unfit(where, "shard", f"a whole number from 0 to {len(shards) - 1}", received=place)
        shard = shards[place]
        yield (
            where,
            record_of(entry, shard.path(folder), shard_bytes=shard.bytes, class_names=about.class_names, where=where),
        )


def _require_size(path: Path, expected: int) -> None:
    try:
        size = file_size(path)
    except OSError as error:
        raise InputError(
            f"{printable(address(path))}: a shard of {expected} bytes was expected. "
            f"Received: {printable(error.strerror)}. {_CHANGED}."
        ) from error
    if size != expected:
        raise InputError(
            f"{printable(address(path))}: a shard of {expected} bytes was expected. Received: {size} bytes. {_CHANGED}."
        )


def _find(place: Path) -> list[Layout]:
    splits = pack_splits(place)
    if splits:
        return [Layout("pack", "pack", tuple(splits), lambda split, reading: read_pack(place, split))]
    if is_unfinished_pack(place):
        raise InputError(
            f"{printable(address(place))}: a pack that was written to its end was expected. "
            "Received: an unfinished one. Repeat the `keras-retina pack` command, which continues it."
        )
    files = tfrecord_splits(place)
    if not files:
        return []
    name = (place.parent if is_tfrecord_pattern(place) else place).resolve().name

    def read(split: str, reading: Reading) -> Dataset:
        return read_tfrecords(files, split, name=name, classes=reading.classes)

    return [Layout("pack", "TFRecord", tuple(files), read)]


PACK = Reader("pack", "pack.json or <split>*.tfrecord", _find)
