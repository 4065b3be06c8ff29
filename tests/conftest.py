"""What several test files share: a tiny drawn COCO set, a tiny recipe, and the real data and weights where they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

SHARED = Path(__file__).parents[2] / "shared"
TINY_CLASSES = ("disc", "square")
TINY_IDS = (3, 7)  # category ids that are no class indices


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets, beside the repository."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder with ImageNet weights, beside the repository."""
    return _shared("weights")


def _shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/{name} beside the repository, which is not here")
    return SHARED / name


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory) -> Path:
    """A COCO folder with `train` (10 images) and `val` (4): discs and squares, the first image of each without."""
    folder = tmp_path_factory.mktemp("tiny_coco")
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for number, (split, count) in enumerate((("train", 10), ("val", 4))):
        labels = _draw_split(folder / "images", split, count, np.random.default_rng(number))
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


def _draw_split(image_dir: Path, split: str, count: int, generator: np.random.Generator) -> dict:
    images, annotations = [], []
    for index in range(count):
        height, width = (96, 128) if index % 2 else (128, 96)
        picture = Image.fromarray(generator.integers(60, 130, (height, width, 3), np.uint8))
        draw = ImageDraw.Draw(picture)
        for _ in range(0 if index == 0 else 1 + index % 3):
            side = int(generator.integers(16, 56))
            x, y = int(generator.integers(0, width - side)), int(generator.integers(0, height - side))
            is_disc = bool(generator.integers(0, 2))
            shape = draw.ellipse if is_disc else draw.rectangle
            shape((x, y, x + side - 1, y + side - 1), fill=(250, 40, 40) if is_disc else (40, 250, 250))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": TINY_IDS[0 if is_disc else 1],
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
        name = f"{split}_{index}.png"
        picture.save(image_dir / name)
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
    categories = [{"id": number, "name": name} for number, name in zip(TINY_IDS, TINY_CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture(scope="session")
def tiny_recipe():
    """MobileNetV2 0.35 from random weights on 128 x 128 pixels, a thin pyramid and one convolution in each head."""
    from keras_retina.recipe import recipe_from_fields

    return recipe_from_fields(
        {
            "name": "tiny",
            "seed": 5,
            "model": {
                "backbone": {"alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
                "input": {"height": 128, "width": 128},
                "pyramid": {"width": 16},
                "head": {"width": 16, "convolutions": 1},
            },
            "training": {"epochs": 3, "batch_size": 4, "steps_per_epoch": 2, "warmup_steps": 2, "evaluate_every": 2},
        },
        "tests/conftest.py",
    )


@pytest.fixture(scope="session")
def tiny_detector(tiny_recipe):
    """The model of `tiny_recipe` as it starts, and its description; tests must leave its weights as they are."""
    from keras_retina.detector_spec import detector_spec
    from keras_retina.legacy_keras import keras
    from keras_retina.model.retinanet import retinanet

    keras.utils.set_random_seed(1)
    return retinanet(tiny_recipe.model, len(TINY_CLASSES)), detector_spec(tiny_recipe.model, TINY_CLASSES)
