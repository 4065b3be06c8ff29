"""Sound files that hostile ones are made from, and the ways in which the bytes of any file are changed to do harm."""

from __future__ import annotations

import functools
import io
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
from fuzz_values import Generator, pick
from PIL import Image

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

RECIPE: dict[str, Any] = {
    "name": "r",
    "seed": 1,
    "model": {
        "backbone": {
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "weights": "none",
            "frozen_stages": 0,
            "batch_norm": "trained",
        },
        "input": {"height": 128, "width": 128, "resize": "stretch"},
        "anchors": {"size": 3.0, "scales": [1.0, 1.26], "ratios": [0.5, 1.0], "offset": 0.5},
        "pyramid": {"levels": [3, 7], "width": 16, "convolution": "separable"},
        "head": {"convolutions": 1, "width": 16, "prior": 0.01, "group_norm": 0},
        "coder_weights": [10, 10, 5, 5],
    },
    "data": {"format": "auto", "train": "train", "validation": "val", "split_seed": 0, "classes": ["cat", "dog"]},
    "augmentation": {"scale": [0.7, 1.4], "aspect": 1.1, "mosaic": 0.5, "cutout": 0.2, "rand_augment": 2},
    "training": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "loss": {"gamma": 2.0}},
    "compress": {"half": {"channels": {"keep": 0.5, "rounds": 1}}},
    "export": {"formats": ["float32"], "calibration_images": 10, "score_threshold": 0.01, "max_detections": 100},
    "verification": {"threads": 2, "latency_runs": 3},
    "expected": {
        "command": "c",
        "machine": "m",
        "date": "d",
        "split": "val",
        "training_minutes": 1,
        "tolerance_ap": 1,
        "ap": {"float32": 1.0},
        "ap50": {"float32": 1.0},
    },
}


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
    model, spec = detector_network(settings, 2), detector_spec(settings, ("cat", "dog"))
    save_detector(model, spec, folder / "model.keras")
    photos = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(2)]
    for name, kind, head in (("int8", "int8", "postprocess"), ("raw", "float32", "raw")):
        export_detector(model, spec, folder / f"{name}.tflite", calibration=photos, head=head, format=kind)


def photo(path: Path, *, height: int = 24, width: int = 32) -> Path:
    """Writes a small picture that can be read, and returns its path; its pixels follow from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name) * 31 + sum(map(ord, path.name))).integers(0, 256, (height, width, 3))
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
    path.write_bytes(content.getvalue())
    return path


def coco_labels(split: str, count: int = 3) -> dict[str, Any]:
    """Returns the labels of `<split>_0.png` and so on, which `photo` writes."""
    images = [{"id": i + 1, "file_name": f"{split}_{i}.png", "height": 24, "width": 32} for i in range(count)]
    boxes = [
        {
            "id": i + 1,
            "image_id": i + 1,
            "category_id": 1 + i % 2,
            "bbox": [2, 3, 10 + i, 12],
            "area": 120,
            "iscrowd": 0,
        }
        for i in range(count)
    ]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}


def sound_coco(folder: Path) -> Path:
    """Writes a small COCO folder with `train` and `val` that every verb reads, and returns it."""
    for split in ("train", "val"):
        labels = coco_labels(split)
        for image in labels["images"]:
            photo(folder / "images" / image["file_name"])
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


def changed_bytes(rng: Generator, data: bytes) -> bytes:
    """Flips some bytes, most of them near the ends where the structure of a file is, cuts, doubles or empties it."""
    way = rng.integers(8)
    if not data:
        return b"\0"
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
