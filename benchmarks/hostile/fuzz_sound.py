"""Sound binary files, and the ways in which any file is changed to do harm."""

from __future__ import annotations

import functools
import json
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Generator = np.random.Generator
WILD = (-1, -2, 0, 1, 2, 7, 127, 255, 65_536, 2**31 - 1, -(2**31), 2**32 - 1)
FLOATS = (0.0, -1.0, float("inf"), float("nan"), 1e38, 1e-45)
JSON_VALUES = (
    [],
    {},
    "",
    "x",
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    [[]],
    ["a"] * 3,
    [10**9],
)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@functools.cache
def sound_files() -> dict[str, Path]:
    """Returns a small detector as `.keras` and `.tflite` files; made the first time, which takes half a minute.

    A process of its own makes them: after TensorFlow has computed something, a fork of its process cannot.
    """
    folder = Path(tempfile.mkdtemp(prefix="sound-"))
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True)
    return {"keras": folder / "model.keras", **{name: folder / f"{name}.tflite" for name in ("int8", "raw")}}


def make_sound_files(folder: Path) -> None:
    """Writes what `sound_files` names."""
    from edge.export.one_file import export_detector
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.saving import save_detector
    from keras_retina.model.spec import detector_spec
    from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid

    settings = Model(
        backbone=Backbone(name="plain", weights="none", frozen_stages=0, batch_norm="trained"),
        input=Input(height=64, width=64),
        pyramid=Pyramid(width=8, levels=(3, 5)),
        head=Head(width=8, convolutions=1),
    )
    model, spec = detector_network(settings, 2), detector_spec(settings, ("disc", "square"))
    save_detector(model, spec, folder / "model.keras")
    photos = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(2)]
    for name, kind, head in (("int8", "int8", "postprocess"), ("raw", "float32", "raw")):
        export_detector(model, spec, folder / f"{name}.tflite", calibration=photos, head=head, format=kind)


def photo(folder: Path, name: str = "photo.png") -> Path:
    """Writes a sound photo."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).save(folder / name)
    return folder / name


def labelled(folder: Path) -> Path:
    """Writes a data folder of two photos with COCO labels."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 56, "height": 40} for number in (1, 2)]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0} for n in (1, 2)
    ]
    labels = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}],
    }
    for split in ("train", "val"):
        for number in (1, 2):
            photo(folder / split, f"{number}.png")
        (folder / split / "_annotations.coco.json").write_text(json.dumps(labels))
    return folder


def changed_bytes(rng: Generator, data: bytes) -> bytes:
    """Flips some bytes, most of them near the ends where the structure of a file is, cuts, doubles or empties it."""
    way = rng.integers(8)
    if way == 0:
        return data[: int(rng.integers(0, max(1, len(data))))]
    if way == 1:
        return data + data[: int(rng.integers(1, 1000))]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        near = int(rng.integers(0, min(len(data), 4000)))
        place = (near, len(data) - 1 - near, int(rng.integers(len(data))))[rng.integers(3)]
        if way == 2 and place + 4 <= len(data):
            changed[place : place + 4] = struct.pack("<I", pick(rng, WILD) % 2**32)
        else:
            changed[place] = int(rng.integers(256))
    return bytes(changed)


def pick(rng: Generator, items: Any) -> Any:
    """Returns one of the items."""
    return items[int(rng.integers(len(items)))]


def write_hostile_zip(rng: Generator, file: Path, members: dict[str, bytes]) -> None:
    """Appends a zip in which one member is a bomb, or packed by another method, or there twice, or not there."""
    chosen, method = pick(rng, list(members)), pick(rng, METHODS)
    bomb = b" " * (32 << 20) if rng.integers(4) == 0 else members[chosen]
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # of the same name twice
        for name, content in members.items():
            if name != chosen:
                archive.writestr(name, content)
        for _ in range(int(rng.integers(0, 3))):
            archive.writestr(chosen, bomb, compress_type=method)
    data = bytearray(file.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    if place >= 0 and rng.integers(2):
        struct.pack_into("<I", data, place + int(pick(rng, (16, 20, 24, 42))), pick(rng, WILD) % 2**32)
        file.write_bytes(bytes(data))


if __name__ == "__main__":
    make_sound_files(Path(sys.argv[1]))
