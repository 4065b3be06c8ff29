"""A small data set, its pack, and a copy of it to damage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.records import Dataset, Record

SIDE = 40  # of the network input


def make_dataset(folder: Path, split: str, sizes: list[tuple[int, int]], first_id: int) -> Dataset:
    """Noise of the given sizes; image n has n objects."""
    generator = np.random.default_rng(first_id)
    records = []
    for index, (height, width) in enumerate(sizes):
        path = folder / f"{split}_{index}.jpg"
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(path, quality=90)
        corners = generator.uniform(0, [height / 2, width / 2], (index, 2))
        boxes = np.concatenate([corners, corners + [height / 3, width / 3]], axis=1).astype(np.float32)
        classes = (np.arange(index) % 2).astype(np.int32)
        name = f"photos/{split}_{index}.jpg"
        records.append(Record(first_id + index, path, name, height, width, boxes, classes, np.arange(index) == 2))
    return Dataset("noise", split, ("a", "b"), (3, 8), tuple(records))


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> list[Dataset]:
    folder = tmp_path_factory.mktemp("files")
    return [
        make_dataset(folder, "train", [(50, 60), (200, 100), (64, 48), (300, 300)], 10),
        make_dataset(folder, "val", [(40, 50), (30, 30), (200, 100)], 90),
    ]


@pytest.fixture(scope="session")
def pack(datasets, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packs") / "noise"
    write_pack(folder, datasets, training_split="train", height=SIDE, width=SIDE, shard_bytes=9000)
    return folder


@pytest.fixture
def copy(pack, tmp_path) -> Path:
    return Path(shutil.copytree(pack, tmp_path / "copy"))


@pytest.fixture
def renew_checksum(copy) -> Callable[[Path], None]:
    """renew_checksum(index) makes `pack.json` name the bytes that the index of the val split has now."""

    def renew(index: Path) -> None:
        data, about = index.read_bytes(), json.loads((copy / "pack.json").read_text(encoding="utf-8"))
        digest = hashlib.sha256(data).hexdigest()
        about["splits"]["val"]["shards"][0] |= {"index_bytes": len(data), "index_sha256": digest}
        (copy / "pack.json").write_text(json.dumps(about), encoding="utf-8")

    return renew


@pytest.fixture
def change_entry(copy, renew_checksum) -> Callable[..., Path]:
    """change_entry(line, field=value, ...) changes an entry of the index of the val split, from line 1 on, and its
    checksum with it, and returns the index. A value of ... takes the field away.
    """

    def change(line: int, **fields: Any) -> Path:
        index = copy / "val-00000.jsonl"
        lines = index.read_text(encoding="utf-8").splitlines()
        entry = json.loads(lines[line - 1]) | fields
        lines[line - 1] = json.dumps({name: value for name, value in entry.items() if value is not ...})
        index.write_text("\n".join(lines) + "\n", encoding="utf-8")
        renew_checksum(index)
        return index

    return change
