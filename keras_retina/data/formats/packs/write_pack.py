"""Writes a data set as the shards and the index that `keras_retina.data.formats.packs.pack` reads."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_retina.data.formats.packs.pack import (
    FORMAT,
    PACK_FILE,
    About,
    PackedSplit,
    ReducedFor,
    Shard,
)
from keras_retina.data.formats.packs.tfrecords import RECORD_HEAD, RECORD_TAIL
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import reduced
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files import address, matching_files, remote_address, remote_errors, write_text

logger = logging.getLogger(__name__)

SHARD_BYTES = 2**28
QUALITY = 95  # of training images that are stored smaller than they were


def write_pack(
    folder: Path,
    datasets: list[Dataset],
    *,
    training_split: str,
    height: int,
    width: int,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the splits of a data set into a new folder, which appears when all of it is there.

    In a remote folder (`gs://bucket/pack`) the shards appear one by one, `pack.json` last.

    Images of `training_split` are stored at the size that training with an input of `height` x `width` keeps them at,
    those of the other splits byte for byte, so that an AP measured on them is the same. One image is in memory.

    Raises:
        InputError: the folder holds something, an image cannot be read, or the disk is full.
    """
    try:
        if remote_address(folder):
            if matching_files(folder, "*"):
                raise _not_empty(folder)
            with remote_errors():
                _write(
                    folder, datasets, training_split=training_split, height=height, width=width, shard_bytes=shard_bytes
                )
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _not_empty(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "pack"
            unfinished.mkdir()
            _write(
                unfinished, datasets, training_split=training_split, height=height, width=width, shard_bytes=shard_bytes
            )
            if folder.exists():
                folder.rmdir()
            os.rename(unfinished, folder)
    except OSError as error:
        raise InputError(
            f"{printable(address(folder))}: the pack could not be written. Received: {error.strerror}. "
            "Free disk space, or choose another folder."
        ) from error


def _not_empty(folder: Path) -> InputError:
    return InputError(
        f"--out: a new or empty folder was expected. Received: {printable(address(folder))}. Choose another."
    )


def _write(
    folder: Path,
    datasets: list[Dataset],
    *,
    training_split: str,
    height: int,
    width: int,
    shard_bytes: int,
) -> None:
    splits: dict[str, PackedSplit] = {}
    for dataset in datasets:
        size = (height, width) if dataset.split == training_split else None
        shards, entries = _write_split(folder, dataset, size=size, shard_bytes=shard_bytes)
        write_text(folder / f"{dataset.split}.json", json.dumps(entries))
        splits[dataset.split] = PackedSplit(images=len(entries), shards=shards)
        logger.info(f"{dataset.split}: {len(entries)} images in {len(shards)} shards")
    about = About(
        format=FORMAT,
        name=datasets[0].name,
        class_names=list(datasets[0].class_names),
        category_ids=list(datasets[0].category_ids),
        reduced_for=ReducedFor(split=training_split, height=height, width=width),
        splits=splits,
    )
    write_text(folder / PACK_FILE, about.model_dump_json(indent=1))  # last: without it there is no pack


def _write_split(
    folder: Path, dataset: Dataset, *, size: tuple[int, int] | None, shard_bytes: int
) -> tuple[list[Shard], list[dict[str, Any]]]:
    """Returns the shards and the index."""
    from keras_retina.foundation.legacy_keras import tf

    shards: list[Shard] = []
    entries: list[dict[str, Any]] = []
    writer = None
    for record, data in _stored(dataset, size):
        if writer is None or shards[-1].bytes >= shard_bytes:
            if writer is not None:
                writer.close()
            shards.append(Shard(file=f"{dataset.split}-{len(shards):05d}.tfrecord", bytes=0))
            writer = tf.io.TFRecordWriter(address(folder / shards[-1].file))
        example = _example(record, data, class_names=dataset.class_names)
        writer.write(example)
        entries.append(
            {
                "image_id": record.image_id,
                "file_name": record.file_name,
                "height": record.height,
                "width": record.width,
                "boxes": record.boxes.tolist(),
                "classes": record.classes.tolist(),
                "crowd": record.crowd.tolist(),
                "shard": len(shards) - 1,
                "offset": shards[-1].bytes + RECORD_HEAD + example.index(data),
                "length": len(data),
                "checksum": zlib.crc32(data),
            }
        )
        shards[-1].bytes += RECORD_HEAD + len(example) + RECORD_TAIL
    if writer is not None:
        writer.close()
    return shards, entries


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
