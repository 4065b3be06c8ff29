"""A pack that is being written: what is finished outlives an error or a kill, and the next process continues.

FOLDER/unfinished.json                    from what the pack is made: labels, sizes, settings
FOLDER/unfinished-<split>-00000.json      written when a shard and its index are whole, with their checksums
FOLDER/unfinished.lock                    of a local folder: locked by the process that writes there
FOLDER/unfinished-writer.json             at an address, where nothing can be locked: who began last
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from keras_retina.data.formats.packs.about import Shard
from keras_retina.data.records import Dataset, PackedImage, Record
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.locks import is_free
from keras_retina.foundation.files.places import address, remote_address
from keras_retina.foundation.files.reading import file_size, matching_files, read_bytes, sha256_of_file
from keras_retina.foundation.files.writing import remove_file, write_text

logger = logging.getLogger(__name__)

PLAN_FILE, LOCK, WRITER = "unfinished.json", "unfinished.lock", "unfinished-writer.json"
_OWN = re.compile(r"unfinished(-.*)?\.json|.*-\d{5}\.(tfrecord|jsonl)")


class _Finished(BaseModel):
    """A shard that is whole; `sources` is `_sources` of the images in it, which may have been changed since."""

    shard: Shard
    sources: str


def is_unfinished_pack(folder: Path) -> bool:
    """Tells whether a pack was begun in a folder and did not get to its end."""
    return bool(matching_files(folder, PLAN_FILE))


def plan_of(datasets: Sequence[Dataset], **settings: Any) -> str:
    """Returns a digest of the labels and of the settings of a pack."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for dataset in datasets:
        about = [dataset.name, dataset.split, dataset.class_names, dataset.category_ids, len(dataset.records)]
        digest.update(json.dumps(about).encode())
        for record in dataset.records:
            size = [record.image_id, record.file_name, record.height, record.width, len(record.boxes)]
            digest.update(json.dumps(size).encode())
            for values in (record.boxes, record.classes, record.crowd):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def begin(folder: Path, plan: str) -> None:
    """Prepares a folder for the pack of a plan: what was begun with another one is removed.

    Raises:
        InputError: the folder holds something else.
        OSError: its place cannot be reached.
    """
    there = [file for file in matching_files(folder, "*") if file.name != LOCK]
    if not there:
        write_text(folder / PLAN_FILE, json.dumps({"plan": plan}))
        return
    if not is_unfinished_pack(folder) or any(not _OWN.fullmatch(file.name) for file in there):
        raise not_empty(folder)
    if _json(folder / PLAN_FILE) == {"plan": plan}:
        return
    logger.info(f"{printable(address(folder))}: what was begun there has other labels or settings; beginning anew")
    for file in sorted(there, key=lambda file: file.name == PLAN_FILE):  # it goes last
        remove_file(file)
    write_text(folder / PLAN_FILE, json.dumps({"plan": plan}))


def finished_shard(folder: Path, split: str, number: int, *, records: Sequence[Record]) -> Shard | None:
    """Returns a shard of `records[:shard.images]` that is whole, or None.

    The bytes of a local shard are read again. A remote one has its size checked: such files appear whole.
    """
    try:
        found = _Finished.model_validate(_json(_marker(folder, split, number)))
    except ValidationError:
        return None
    shard = found.shard
    if len(records) < shard.images or not found.sources or found.sources != _sources(records[: shard.images]):
        return None
    shard_file, index = shard.path(folder), shard.index_path(folder)
    if file_size(shard_file) != shard.bytes or file_size(index) != shard.index_bytes:
        return None
    if remote_address(folder) is None and sha256_of_file(shard_file) != shard.sha256:
        return None
    return shard if sha256_of_file(index) == shard.index_sha256 else None


def mark_finished(folder: Path, split: str, number: int, *, shard: Shard, records: Sequence[Record]) -> None:
    """Writes that a shard of `records` and its index are whole."""
    found = _Finished(shard=shard, sources=_sources(records))
    write_text(_marker(folder, split, number), found.model_dump_json())


def keep_finished(folder: Path) -> None:
    """Leaves the finished shards of a local pack that an error ended, and says so; without any, nothing is left.

    What is half written goes: where the disk is full, nobody else could write.
    """
    kept, shards = {PLAN_FILE, LOCK}, 0
    for marker in folder.glob("unfinished-*.json"):
        with contextlib.suppress(ValidationError):
            shard = _Finished.model_validate(_json(marker)).shard
            kept |= {marker.name, shard.file, shard.index_path(folder).name}
            shards += 1
    if not shards:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for file in folder.iterdir():
        if file.name not in kept:
            with contextlib.suppress(OSError):
                file.unlink()
    logger.info(
        f"finished shards kept in {printable(folder)}: {shards}. The same command continues with them; delete the "
        "folder to give up"
    )


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keeps a local folder for this process while the block runs. One that is killed lets go of it.

    Raises:
        InputError: another process has it.
        OSError: the folder is not there any more.
    """
    with (folder / LOCK).open("ab") as file:
        if not is_free(file):
            raise InputError(
                f"--out: expected a folder that no other process writes. Received: {printable(address(folder))}, where "
                "another `keras-retina pack` is at work. Wait until it is done, or choose another folder."
            )
        yield


def claim(folder: Path) -> str:
    """Writes at an address that this process writes the pack from now on, and returns what tells it from others."""
    writer = secrets.token_hex(8)
    write_text(folder / WRITER, json.dumps(writer))
    return writer


def require_claim(folder: Path, writer: str) -> None:
    """Refuses to go on where another process has begun to write.

    Raises:
        InputError: it has, or it is done already.
    """
    if _json(folder / WRITER) != writer:
        raise InputError(
            f"--out: expected a folder that no other process writes. Received: {printable(address(folder))}, where "
            "another `keras-retina pack` began later. Wait until that is done, or choose another folder."
        )


def end(folder: Path) -> None:
    """Removes what only an unfinished pack has; `pack.json` is there."""
    for file in [*matching_files(folder, "unfinished-*.json"), *matching_files(folder, LOCK)]:
        remove_file(file)
    remove_file(folder / PLAN_FILE)


def not_empty(folder: Path) -> InputError:
    """Returns the error for a folder that holds something else."""
    return InputError(
        f"--out: a new or empty folder was expected. Received: {printable(address(folder))}. Choose another."
    )


def _marker(folder: Path, split: str, number: int) -> Path:
    return folder / f"unfinished-{split}-{number:05d}.json"


def _sources(records: Sequence[Record]) -> str:
    """Returns a digest of sizes and times of the image files, empty where one is missing."""
    places = []
    for record in records:
        if isinstance(record.path, PackedImage):
            places.append([record.path.checksum, record.path.length])
        elif record.path.is_file():
            state = record.path.stat()
            places.append([state.st_mtime_ns, state.st_size])
        else:
            return ""
    return hashlib.sha256(json.dumps(places).encode()).hexdigest()


def _json(file: Path) -> Any:
    """Returns the value of a file that may not be there, or may be cut: then None."""
    try:
        return json.loads(read_bytes(file)) if file_size(file) else None
    except ValueError:
        return None
