"""Does int8 hold with 80 classes, whose scores share one 8-bit scale?

    python benchmarks/quantization/many_classes.py --out runs/many_classes --weights FILE --epochs 60

Draws a set of 80 classes, ten shapes in eight colours, some of them 40 times as frequent as others; trains a detector
on it until it knows its own training images; and measures files of all formats on these images. Overfitting is wanted:
what a file loses here, it loses by its numbers alone. A repeated call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from formats import measured, table
from PIL import Image, ImageDraw

from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.run.folder import start_run
from keras_retina.run.training import train_stage

SIDE, IMAGES, OBJECTS = 256, 400, (4, 10)
CORNERS = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}
STARS = {"star4": 4, "star5": 5, "star8": 8}
SHAPES = (*CORNERS, *STARS, "disc", "ring")
COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (240, 225, 50),
    "green": (40, 170, 60),
    "cyan": (40, 205, 215),
    "blue": (40, 70, 215),
    "violet": (150, 50, 200),
    "white": (245, 245, 245),
}
CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
MOST_FREQUENT = 40.0  # times the rarest class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default="none", help="of the backbone, as in model.backbone.weights")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = arguments.out / "data"
    if not (data / "annotations" / "val.json").exists():
        for number, (split, count) in enumerate((("train", IMAGES), ("val", IMAGES // 10))):
            draw_split(data, split, count, np.random.default_rng([arguments.seed, number]))
    recipe = recipe_from_fields(recipe_fields(arguments), "many_classes")
    run = start_run(arguments.out / "run", recipe, data_dir=data, command="many_classes.py", overwrite=False)
    train_stage(run)
    found = {f"{len(CLASSES)} classes": measured(run.path, data, split="train", latency=False)}
    (arguments.out / "formats.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


def recipe_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns a recipe for these objects."""
    return {
        "name": "many_classes",
        "seed": arguments.seed,
        "model": {
            "input": {"height": SIDE, "width": SIDE},
            "backbone": {"name": "mobilenet_v2", "weights": arguments.weights, "frozen_stages": 1},
            "pyramid": {"width": 96, "levels": [3, 6]},
            "head": {"width": 96, "convolutions": 3},
            "anchors": {"size": 3.0},
        },
        "augmentation": {"scale": [1.0, 1.0], "horizontal_flip": False},
        "training": {
            "epochs": arguments.epochs,
            "batch_size": 8,
            "learning_rate": 2e-3,
            "evaluate_every": arguments.epochs,
            "checkpoint": "last",
        },
    }


def draw_split(folder: Path, split: str, count: int, generator: np.random.Generator) -> None:
    """Writes a split in the COCO layout."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    shares = np.geomspace(MOST_FREQUENT, 1.0, len(CLASSES))
    images: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        noise = generator.integers(60, 150, (SIDE // 16, SIDE // 16, 3), np.uint8)
        picture = Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(int(generator.integers(*OBJECTS))):
            box = free_box(boxes, generator)
            if box is None:
                continue
            boxes.append(box)
            index = int(generator.choice(len(CLASSES), p=shares / shares.sum()))
            colour, shape = CLASSES[index].split(" ")
            draw_shape(ImageDraw.Draw(picture), shape, box, COLOURS[colour], turn=generator.uniform(0, math.pi))
            x, y, side, _ = box
            label = {"id": len(labels) + 1, "image_id": number, "category_id": index + 1, "iscrowd": 0}
            labels.append({**label, "bbox": [x, y, side, side], "area": side * side})
        name = f"{split}_{number:04d}.jpg"
        picture.save(folder / split / name, quality=92)
        images.append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": labels, "categories": categories}
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


def free_box(
    boxes: Sequence[tuple[float, float, float, float]], generator: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """Returns a square `x, y, width, height` that hardly touches the others, None after ten tries."""
    for _ in range(10):
        side = float(generator.uniform(20, 72))
        x, y = generator.uniform(0, SIDE - side, 2)
        apart = (
            math.hypot(x + side / 2 - a - c / 2, y + side / 2 - b - c / 2) > 0.55 * (side + c) for a, b, c, _ in boxes
        )
        if all(apart):
            return float(x), float(y), side, side
    return None


def draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    *,
    turn: float,
) -> None:
    """Draws a filled shape that touches the box, but for its turn."""
    x, y, side, _ = box
    if shape in ("disc", "ring"):
        width = 0 if shape == "disc" else max(2, round(side / 5))
        fill = colour if shape == "disc" else None
        draw.ellipse((x, y, x + side, y + side), fill=fill, outline=colour, width=width)
        return
    points = 2 * STARS[shape] if shape in STARS else CORNERS[shape]
    radii = (0.5, 0.22) if shape in STARS else (0.5,)
    corners = []
    for index in range(points):
        angle, radius = turn + 2 * math.pi * index / points, radii[index % len(radii)] * side
        corners.append((x + side / 2 + radius * math.cos(angle), y + side / 2 + radius * math.sin(angle)))
    draw.polygon(corners, fill=colour)


if __name__ == "__main__":
    main()
