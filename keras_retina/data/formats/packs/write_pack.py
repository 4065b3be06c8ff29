"""Writes a data set as the shards and the indices that `keras_retina.data.formats.packs.pack` reads."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.formats.packs.about import FORMAT, PACK_FILE, About, PackedSplit, ReducedFor, Shard
from keras_retina.data.formats.packs.index import entry_of, record_of
from keras_retina.data.formats.packs.tfrecords import RECORD_HEAD, RECORD_TAIL
from keras_retina.data.formats.packs.unfinished import (
    begin,
    claim,
    end,
    finished_shard,
    keep_finished,
    mark_finished,
    not_empty,
    only_writer,
    plan_of,
    require_claim,
)
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import reduced
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address, local_path, remote_address, remote_errors
from keras_retina.foundation.files.reading import file_size, sha256_of, sha256_of_file
from keras_retina.foundation.files.writing import UNFINISHED, copy_to_remote, write_text

logger = logging.getLogger(__name__)

SHARD_BYTES = 2**28
QUALITY = 95  # of training images that are stored smaller than they were


def write_pack(
    folder: Path,
    datasets: Sequence[Dataset],
    *,
    training_split: str,
    height: int,
    width: int,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the splits of a data set into a new folder, which appears when all of it is there.

    In a remote folder (`gs://bucket/pack`) the shards appear one by one, `pack.json` last; each is made on the local
    disk first. An error, or a kill, leaves the shards that were finished, and the same call continues with them: in a
    hidden folder beside a local one.

    Of two processes that write one local folder at the same time, the second is refused. At an address nothing can be
    locked: there the first one ends when it sees that another began.

    Images of `training_split` are stored at the size that training with an input of `height` x `width` keeps them at,
    those of the other splits byte for byte, so that an AP measured on them is the same. One image is in memory.

    Raises:
        InputError: the folder holds something, another process writes there, there is nothing to write, an image cannot
            be read, or the disk is full.
    """
    if not datasets:
        raise InputError(
            f"{printable(address(folder))}: splits to pack were expected. Received: none. Check the data folder with "
            "keras-retina check-data."
        )
    folder = local_path(folder)
    size = ReducedFor(split=training_split, height=height, width=width)
    plan = plan_of(datasets, format=FORMAT, **size.model_dump(), quality=QUALITY, shard_bytes=shard_bytes)
    try:
        with remote_errors():
            if remote_address(folder):
                begin(folder, plan)
                writer = claim(folder)
                check = partial(require_claim, folder, writer)
                _write(folder, datasets, reduced_for=size, shard_bytes=shard_bytes, check=check)
                end(folder)
                return
            _require_empty(folder)
            unfinished = folder.with_name(f".{folder.name}{UNFINISHED}")
            unfinished.mkdir(parents=True, exist_ok=True)
            with only_writer(unfinished):
                (unfinished / PACK_FILE).unlink(missing_ok=True)  # of a process that was killed before the renaming
                begin(unfinished, plan)
                try:
                    _require_empty(folder)  # another process may have ended just now
                    _write(unfinished, datasets, reduced_for=size, shard_bytes=shard_bytes, check=lambda: None)
                    if folder.exists():
                        folder.rmdir()
                    os.rename(unfinished, folder)
                except Exception:  # an interrupt, which may be the second one, does not wait for this
                    keep_finished(unfinished)
                    raise
                end(folder)  # last: without `unfinished.json` nobody could continue
    except OSError as error:
        raise InputError(
            f"{printable(address(folder))}: the pack could not be written. Received: {printable(error.strerror)}. "
            "Free disk space and repeat the command, which continues with the finished shards; or choose another "
            "folder."
        ) from error


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise not_empty(folder)


def _write(
    folder: Path,
    datasets: Sequence[Dataset],
    *,
    reduced_for: ReducedFor,
    shard_bytes: int,
    check: Callable[[], None],
) -> None:
    """Writes shards and `pack.json`; `check` is called before anything appears, and may raise."""
    splits: dict[str, PackedSplit] = {}
    for dataset in datasets:
        size = (reduced_for.height, reduced_for.width) if dataset.split == reduced_for.split else None
        shards = _write_split(folder, dataset, size=size, shard_bytes=shard_bytes, check=check)
        splits[dataset.split] = PackedSplit(images=len(dataset.records), shards=shards)
        logger.info(f"{dataset.split}: {len(dataset.records)} images in {len(shards)} shards")
    about = About(
        format=FORMAT,
        name=datasets[0].name,
        class_names=list(datasets[0].class_names),
        category_ids=list(datasets[0].category_ids),
        reduced_for=reduced_for,
        splits=splits,
    )
    check()
    write_text(folder / PACK_FILE, about.model_dump_json(indent=1))  # last: without it there is no pack


def _write_split(
    folder: Path, dataset: Dataset, *, size: tuple[int, int] | None, shard_bytes: int, check: Callable[[], None]
) -> list[Shard]:
    shards: list[Shard] = []
    done = 0
    while done < len(dataset.records):
        shard = finished_shard(folder, dataset.split, len(shards), records=dataset.records[done:])
        if shard is None:
            rest = dataclasses.replace(dataset, records=dataset.records[done:])
            file = folder / f"{dataset.split}-{len(shards):05d}.tfrecord"
            shard = _write_shard(file, rest, size=size, shard_bytes=shard_bytes, check=check)
            own = rest.records[: shard.images]
            mark_finished(folder, dataset.split, len(shards), shard=shard, records=own)
        else:
            logger.info(f"{shard.file}: {shard.images} images are there already")
        shards.append(shard)
        done += shard.images
    return shards


def _write_shard(
    file: Path, dataset: Dataset, *, size: tuple[int, int] | None, shard_bytes: int, check: Callable[[], None]
) -> Shard:
    """Writes the first images of a data set, until they are `shard_bytes`, and their index."""
    from keras_retina.foundation.legacy_keras import tf

    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / file.name if remote_address(file) else file
        written = 0
        with tf.io.TFRecordWriter(str(local)) as writer:
            for record, data in _stored(dataset, size):
                example = _example(record, data, class_names=dataset.class_names)
                writer.write(example)
                place = {"offset": written + RECORD_HEAD + example.index(data), "length": len(data)}
                written += RECORD_HEAD + len(example) + RECORD_TAIL
                entry = entry_of(record, **place, checksum=zlib.crc32(data))
                # Nothing is packed that reading would refuse.
                record_of(entry, file, shard_bytes=written, class_names=dataset.class_names, where=record.file_name)
                lines.append(json.dumps(entry) + "\n")
                if written >= shard_bytes:
                    break
        if file_size(local) != written:
            raise OSError(0, f"{file_size(local)} bytes of {written} got into {file.name}")
        digest = sha256_of_file(local)
        check()
        if local != file:
            copy_to_remote(file, local)
    index = "".join(lines)
    shard = Shard(
        file=file.name,
        bytes=written,
        images=len(lines),
        sha256=digest,
        index_bytes=len(index),
        index_sha256=sha256_of(index.encode()),
    )
    write_text(shard.index_path(file.parent), index)
    return shard


def _stored(dataset: Dataset, size: tuple[int, int] | None) -> Iterator[tuple[Record, bytes]]:
    """Yields each record, its labels in pixels of the stored image, and the bytes of that image."""
    for record in dataset.records:
        image = read_image(record.path)  # also where it is stored as it is: a damaged file must not get in
        data = record.path.read_bytes()
        if size is not None:
            small = reduced(image, *size)
            if small is not image:
                buffer = io.BytesIO()
                Image.fromarray(small).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
                data = buffer.getvalue()
                factor = np.array(small.shape[:2]) / (record.height, record.width)
                boxes = (record.boxes * np.tile(factor, 2)).astype(np.float32)
                record = dataclasses.replace(record, height=small.shape[0], width=small.shape[1], boxes=boxes)
        yield record, data


def _example(record: Record, data: bytes, *, class_names: tuple[str, ...]) -> bytes:
    from keras_retina.foundation.legacy_keras import tf

    def of_bytes(*values: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def of_ints(*values: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def of_floats(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    y1, x1, y2, x2 = (record.boxes / [record.height, record.width, record.height, record.width]).T
    features = {
        "image/encoded": of_bytes(data),
        "image/filename": of_bytes(record.file_name.encode()),
        "image/source_id": of_bytes(str(record.image_id).encode()),
        "image/height": of_ints(record.height),
        "image/width": of_ints(record.width),
        "image/object/bbox/ymin": of_floats(y1),
        "image/object/bbox/xmin": of_floats(x1),
        "image/object/bbox/ymax": of_floats(y2),
        "image/object/bbox/xmax": of_floats(x2),
        "image/object/class/label": of_ints(*(int(index) + 1 for index in record.classes)),  # 0 is background there
        "image/object/class/text": of_bytes(*(class_names[index].encode() for index in record.classes)),
        "image/object/is_crowd": of_ints(*(int(flag) for flag in record.crowd)),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
