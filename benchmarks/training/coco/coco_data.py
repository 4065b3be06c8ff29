"""What a labelled folder as large as COCO costs: seconds and memory to read it, and images a second for training.

    python benchmarks/training/coco/coco_data.py [--images 118287] [--recipe recipes/coco/coco_resnet50_800.yaml]

Writes labels like those of train2017, polygons included, and one photograph-sized image under as many names (hard
links, so that the disk stays empty). What it cannot show is the time of a disk that has to read 18 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import load_recipe

IMAGES, BOXES = 118_287, 860_001  # of train2017
LABELS = "annotations/instances_train2017.json"
HEIGHT, WIDTH, CLASSES = 480, 640, 80
LINKS = 50_000  # of one file: ext4 has a limit
CORNERS = 25  # of a polygon: about the mean there
RECIPE = Path(__file__).parents[3] / "recipes" / "coco" / "coco_resnet50_800.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_folder(arguments.write, arguments.images)
        return
    keep_freed_memory()
    recipe = load_recipe(arguments.recipe)
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: the most memory of this one is then that of reading.
        write = [sys.executable, __file__, "--write", folder, "--images", str(arguments.images)]
        subprocess.run(write, check=True)
        size = (Path(folder) / LABELS).stat().st_size
        before, start = resident_gibibytes(), time.perf_counter()
        dataset = load_dataset(folder, "train2017")
        seconds = time.perf_counter() - start
        print(
            f"{len(dataset.records)} images, {sum(len(record.boxes) for record in dataset.records)} boxes, "
            f"{size / 2**20:.0f} MiB of labels: read in {seconds:.0f} s; {resident_gibibytes() - before:.2f} GiB more "
            f"in memory, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of the process at most",
            flush=True,
        )
        spec = detector_spec(recipe.model, dataset.class_names)
        batch = recipe.training.batch_size
        batches = iter(
            training_batches(
                dataset, spec, augmentation=recipe.augmentation, matching=recipe.training.matching, batch_size=batch
            )
        )
        for _ in range(3):  # the buffers of the pipeline fill first
            next(batches)
        start = time.perf_counter()
        for _ in range(arguments.steps):
            next(batches)
        rate = arguments.steps * batch / (time.perf_counter() - start)
        print(f"{rate:.1f} images/s of {spec.height} x {spec.width} on {os.cpu_count()} cores", flush=True)


def write_folder(folder: Path, images: int) -> None:
    """Writes `images` links and their labels."""
    random = np.random.default_rng(0)
    (folder / "train2017").mkdir()
    picture = folder / "train2017" / f"{0:012d}.jpg"
    small = random.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.uint8)
    Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(picture, quality=95)
    for number in range(1, images):
        path = folder / "train2017" / f"{number:012d}.jpg"
        if number % LINKS:
            os.link(picture, path)
        else:
            picture = Path(shutil.copyfile(picture, path))
    boxes = images * BOXES // IMAGES
    sides = random.uniform(8, 200, (boxes, 2)).round(2)
    corners = (random.uniform(0, 1, (boxes, 2)) * ([WIDTH, HEIGHT] - sides)).round(2)
    annotations = [
        {
            "segmentation": [np.round(random.uniform(0, 200, 2 * CORNERS), 2).tolist()],
            "area": round(float(side[0] * side[1]), 2),
            "iscrowd": 0,
            "image_id": number % images,
            "bbox": [*corner.tolist(), *side.tolist()],
            "category_id": 1 + number % CLASSES,
            "id": number,
        }
        for number, (corner, side) in enumerate(zip(corners, sides, strict=True))
    ]
    labels = {
        "images": [
            {"id": number, "file_name": f"{number:012d}.jpg", "height": HEIGHT, "width": WIDTH}
            for number in range(images)
        ],
        "annotations": annotations,
        "categories": [{"id": 1 + number, "name": f"class {number}"} for number in range(CLASSES)],
    }
    path = folder / LABELS
    path.parent.mkdir()
    path.write_text(json.dumps(labels), encoding="utf-8")


def resident_gibibytes() -> float:
    """Returns what the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**30


if __name__ == "__main__":
    main()
