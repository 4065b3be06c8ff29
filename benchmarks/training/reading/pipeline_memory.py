"""Resident memory of the input pipeline after each epoch over a pack that is larger than the image cache.

    python benchmarks/training/reading/pipeline_memory.py [--images 1000] [--epochs 10] [--cache-mebibytes 64]

Draws the images, packs them, and reads them as a training would. Exits with 1 when the last three epochs are not within
5 % of the second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.formats.packs.pack import read_pack
from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.pipeline import training_batches
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Input, Model

SIDE = 384  # of the network input
STORED = 576  # of an image: the size that training keeps for this input
BATCH = 8
TOLERANCE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cache-mebibytes", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.epochs < 5:
        parser.error(f"--epochs: at least 5. Received: {arguments.epochs}.")
    keep_freed_memory()
    model = Model(input=Input(height=SIDE, width=SIDE))
    with tempfile.TemporaryDirectory() as scratch:
        pack = Path(scratch) / "pack"
        write_pack(pack, [drawn_set(Path(scratch), arguments.images)], training_split="train", height=SIDE, width=SIDE)
        dataset = read_pack(pack, "train")
        spec = detector_spec(model, dataset.class_names)
        decoded = sum(record.height * record.width * 3 for record in dataset.records) / 2**20
        print(f"{decoded:.0f} MiB of decoded images, {arguments.cache_mebibytes} MiB of cache")
        batches = training_batches(dataset, spec, batch_size=BATCH, cache_mebibytes=arguments.cache_mebibytes)
        stream, steps, resident = iter(batches), len(dataset.records) // BATCH, []
        for epoch in range(1, arguments.epochs + 1):
            start = time.perf_counter()
            for _ in range(steps):
                next(stream)
            rate = steps * BATCH / (time.perf_counter() - start)
            resident.append(resident_mebibytes())
            print(f"epoch {epoch:>2}: {resident[-1]:7.1f} MiB resident, {rate:6.1f} images/s", flush=True)
    growth = max(resident[-3:]) / resident[1] - 1.0
    print(f"most of the last 3 epochs against epoch 2: {growth:+.1%}")
    if growth > TOLERANCE:
        sys.exit(1)


def resident_mebibytes() -> float:
    """Returns VmRSS of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def drawn_set(folder: Path, count: int) -> Dataset:
    """Returns images of coloured rectangles on noise, written to the folder; image n has n % 20 objects."""
    generator = np.random.default_rng(0)
    records = []
    for index in range(count):
        coarse = generator.integers(0, 256, (STORED // 8, STORED // 8, 3), np.uint8)
        image = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
        corners = generator.integers(0, STORED - 80, (index % 20, 2))
        boxes = np.concatenate([corners, corners + generator.integers(20, 80, corners.shape)], axis=1)
        for y1, x1, y2, x2 in boxes:
            image[y1:y2, x1:x2] = generator.integers(0, 256, 3)
        path = folder / f"{index}.jpg"
        Image.fromarray(image).save(path, quality=90)
        classes, crowd = np.zeros(len(boxes), np.int32), np.zeros(len(boxes), bool)
        records.append(Record(index, path, path.name, STORED, STORED, boxes.astype(np.float32), classes, crowd))
    return Dataset("drawn", "train", ("rectangle",), (1,), tuple(records))


if __name__ == "__main__":
    main()
