"""The built-in data set: drawn, not downloaded, and written as an ordinary COCO folder.

Five classes told apart by shape and texture and, in four objects of five, by hue, with 45 / 25 / 15 / 10 / 5 % of the
objects; unlabelled lookalikes of any colour; objects of 8 to 200 pixels that hide each other up to 40 %; one image in
25 without any object.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.builtin.scene import Scene, draw_scene
from keras_retina.data.builtin.shapes import CLASSES
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.foundation.json_values import parse_json

CLASS_NAMES = tuple(shape.name for shape in CLASSES)
DRAWING = 2  # raise it with every change of the pictures, so that an older set is not taken for the new one
EMPTY_EVERY = 25
SMALLEST_SIDE, LARGEST_SIDE = 64, 2048
SPLITS = ("train", "val")


def builtin_scenes(split: str, images: int, height: int = 256, width: int = 256, seed: int = 0) -> Iterator[Scene]:
    """Yields the pictures of one split with their labels.

    Picture `n` depends on `seed`, the split, `n` and the size alone, not on how many pictures are drawn.
    """
    for index in range(images):
        source = np.random.SeedSequence([seed, SPLITS.index(split), index])
        empty = index % EMPTY_EVERY == EMPTY_EVERY // 2
        yield draw_scene(np.random.Generator(np.random.PCG64(source)), height, width, empty)


def write_builtin_set(
    folder: Path, train_images: int = 600, val_images: int = 150, height: int = 256, width: int = 256, seed: int = 0
) -> None:
    """Writes `images/*.jpg`, `annotations/train.json` and `annotations/val.json`, or leaves a complete set alone.

    The folder appears when everything is written: an interruption leaves nothing behind. Labels and pictures are the
    same on every machine; the bytes of the JPEG files also depend on the library that Pillow brings. A COCO `area` is
    the area of the box.

    Args:
        folder: need not exist; its parent folders are made.
        height, width: pixels of every image, 64..2048. Objects reach 80 % of the shorter side, at most 200 pixels.

    Raises:
        InputError: a number is out of range, or the folder holds anything but this very set.
    """
    folder = Path(folder)
    settings = {"train_images": train_images, "val_images": val_images, "height": height, "width": width, "seed": seed}
    for name, low, high in (
        ("train_images", 1, 999_999),
        ("val_images", 1, 999_999),
        ("height", SMALLEST_SIDE, LARGEST_SIDE),
        ("width", SMALLEST_SIDE, LARGEST_SIDE),
        ("seed", 0, 2**32 - 1),
    ):
        if not low <= settings[name] <= high:
            expected = f"{name} of the built-in set must be {low}..{high}."
            raise InputError(f"{expected} Received: {name}={settings[name]}. Choose a number in that range.")
    if _is_complete(folder, settings):
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "The folder of the built-in set must be new, empty, or hold a complete set drawn with the same settings. "
            f"Received: folder={str(folder)!r}. Choose another folder, or remove this one."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / "set"
        (unfinished / "images").mkdir(parents=True)
        (unfinished / "annotations").mkdir()
        image_id, annotation_id = 1, 1
        for split, images in zip(SPLITS, (train_images, val_images), strict=True):
            scenes = builtin_scenes(split, images, height, width, seed)
            labels = _write_split(unfinished, split, scenes, image_id, annotation_id)
            labels["info"]["settings"] = settings
            (unfinished / "annotations" / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")
            image_id += images
            annotation_id += len(labels["annotations"])
        try:
            if folder.exists():
                folder.rmdir()  # an empty folder that was there before; a rename onto one fails on some systems
            os.rename(unfinished, folder)
        except OSError:
            if not _is_complete(folder, settings):  # it is when another process was faster
                raise


def _write_split(folder: Path, split: str, scenes: Iterator[Scene], image_id: int, annotation_id: int) -> dict:
    images: list[dict] = []
    annotations: list[dict] = []
    for number, scene in enumerate(scenes):
        name, (height, width) = f"{split}_{number:06d}.jpg", scene.image.shape[:2]
        Image.fromarray(scene.image).save(folder / "images" / name, quality=92, subsampling=0)
        images.append({"id": image_id + number, "file_name": name, "height": height, "width": width})
        for (y1, x1, y2, x2), label in zip(scene.boxes.astype(int).tolist(), scene.classes.tolist(), strict=True):
            annotations.append(
                {
                    "id": annotation_id + len(annotations),
                    "image_id": image_id + number,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": f"keras-retina built-in set, {split}", "drawing": DRAWING},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)],
    }


def _is_complete(folder: Path, settings: dict[str, int]) -> bool:
    """Whether the folder holds a set of these settings with every image that its labels name."""
    for split in SPLITS:
        path = folder / "annotations" / f"{split}.json"
        if not path.is_file():
            return False
        try:
            labels = parse_json(read_bytes(path).decode())
            info = labels["info"]
            if (info["drawing"], info["settings"]) != (DRAWING, settings):
                return False
            names = [str(image["file_name"]) for image in labels["images"]]
        except (ValueError, KeyError, TypeError):
            return False  # not written here
        if not all((folder / "images" / name).is_file() for name in names):
            return False
    return True
