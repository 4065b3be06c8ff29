"""A data set as TFRecord shards with an index: few large files instead of many small ones, read at random.

    PACK/pack.json            classes, splits, shards with their sizes, the input the training images were reduced for
    PACK/<split>.json         one entry for each image: labels, and where its bytes are
    PACK/<split>-00000.tfrecord   tf.train.Example with the feature names of the TensorFlow object detection API
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ValidationError

from keras_retina.data.images import printable, read_image, reduced
from keras_retina.data.packed_image import PackedImage
from keras_retina.data.records import Dataset, Record
from keras_retina.errors import InputError

PACK_FILE = "pack.json"
FORMAT: Literal[1] = 1
SHARD_BYTES = 2**28
QUALITY = 95  # of training images that are stored smaller than they were
_RECORD_HEAD, _RECORD_TAIL = 12, 4  # bytes that TFRecord puts around each record


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


def write_pack(
    folder: Path,
    datasets: list[Dataset],
    training_split: str,
    height: int,
    width: int,
    progress: Callable[[str], None],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the splits of a data set into a new folder, which appears when all of it is there.

    Images of `training_split` are stored at the size that training with an input of `height` x `width` keeps them at,
    those of the other splits byte for byte, so that an AP measured on them is the same. One image is in memory.

    Raises:
        InputError: the folder holds something, an image cannot be read, or the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out: a new or empty folder was expected. Received: {printable(folder)}. Choose another.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "pack"
            unfinished.mkdir()
            splits: dict[str, PackedSplit] = {}
            for dataset in datasets:
                size = (height, width) if dataset.split == training_split else None
                shards, entries = _write_split(unfinished, dataset, size, shard_bytes)
                (unfinished / f"{dataset.split}.json").write_text(json.dumps(entries), encoding="utf-8")
                splits[dataset.split] = PackedSplit(images=len(entries), shards=shards)
                progress(f"{dataset.split}: {len(entries)} images in {len(shards)} shards")
            about = About(
                format=FORMAT,
                name=datasets[0].name,
                class_names=list(datasets[0].class_names),
                category_ids=list(datasets[0].category_ids),
                reduced_for=ReducedFor(split=training_split, height=height, width=width),
                splits=splits,
            )
            (unfinished / PACK_FILE).write_text(about.model_dump_json(indent=1), encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            os.rename(unfinished, folder)
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: the pack could not be written. Received: {error.strerror}. "
            "Free disk space, or choose another folder."
        ) from error


def pack_splits(folder: Path) -> list[str]:
    """Returns the splits of a pack, none for a folder that is no pack."""
    return list(_read_about(folder).splits) if (folder / PACK_FILE).is_file() else []


def read_pack(folder: Path, split: str, classes: Sequence[str] | None = None) -> Dataset:
    """Reads the labels of a split; images stay where they are until one is asked for.

    Raises:
        InputError: index or shard is missing, cut short or of another version, or `classes` are not those of the pack
            in any order.
    """
    about = _read_about(folder)
    # Only the last part of a name: a pack from a stranger must not reach outside its folder.
    shards = [folder / Path(shard.file).name for shard in about.splits[split].shards]
    for path, shard in zip(shards, about.splits[split].shards, strict=True):
        size = path.stat().st_size if path.is_file() else 0
        if size != shard.bytes:
            raise InputError(
                f"{path}: a shard of {shard.bytes} bytes was expected. Received: {size} bytes. Pack again."
            )
    names = list(classes or about.class_names)
    if sorted(names) != sorted(about.class_names):
        raise InputError(
            f"data.classes: the classes of the pack were expected, {about.class_names}. Received: {names}. "
            "Remove the field, or pack the data with these classes."
        )
    order = [names.index(name) for name in about.class_names]  # the pack's class index -> ours
    try:
        numbers = dict(zip(about.class_names, about.category_ids, strict=True))
        records = tuple(_record(entry, shards, order) for entry in _read_json(folder / f"{split}.json"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{folder / f'{split}.json'}: the index that `keras-retina pack` wrote was expected. "
            f"Received: {error!r}. Pack again."
        ) from error
    return Dataset(about.name, split, tuple(names), tuple(numbers[name] for name in names), records)


def check_pack_input(folder: Path, split: str, height: int, width: int) -> None:
    """Refuses to train on images that were reduced for a smaller input; a folder that is no pack passes.

    Raises:
        InputError: the input has more pixels than the pack was made for.
    """
    if not (folder / PACK_FILE).is_file():
        return
    made_for = _read_about(folder).reduced_for
    if made_for.split == split and made_for.height * made_for.width < height * width:
        raise InputError(
            f"{folder / PACK_FILE}: images for an input of at least {height} x {width} were expected. "
            f"Received: {made_for.height} x {made_for.width}. Pack again with this recipe."
        )


def _write_split(
    folder: Path, dataset: Dataset, size: tuple[int, int] | None, shard_bytes: int
) -> tuple[list[Shard], list[dict[str, Any]]]:
    """Returns the shards and the index."""
    from keras_retina.legacy_keras import tf

    shards: list[Shard] = []
    entries: list[dict[str, Any]] = []
    writer = None
    for record, data in _stored(dataset, size):
        if writer is None or shards[-1].bytes >= shard_bytes:
            if writer is not None:
                writer.close()
            shards.append(Shard(file=f"{dataset.split}-{len(shards):05d}.tfrecord", bytes=0))
            writer = tf.io.TFRecordWriter(str(folder / shards[-1].file))
        example = _example(record, data, dataset.class_names)
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
                "offset": shards[-1].bytes + _RECORD_HEAD + example.index(data),
                "length": len(data),
                "checksum": zlib.crc32(data),
            }
        )
        shards[-1].bytes += _RECORD_HEAD + len(example) + _RECORD_TAIL
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


def _example(record: Record, data: bytes, class_names: tuple[str, ...]) -> bytes:
    from keras_retina.legacy_keras import tf

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


def _record(entry: dict[str, Any], shards: list[Path], order: list[int]) -> Record:
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
        np.array([order[index] for index in entry["classes"]], np.int32),
        np.array(entry["crowd"], bool),
    )


def _read_about(folder: Path) -> About:
    try:
        return About.model_validate(_read_json(folder / PACK_FILE))
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(
            f"{folder / PACK_FILE}: the file that `keras-retina pack` wrote was expected. "
            f"Received: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}. Pack again."
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the JSON that `keras-retina pack` wrote was expected. Received: {error}. Pack again."
        ) from error
