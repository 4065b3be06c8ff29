"""Memory of a pack of 100,000 tiny images: while it is written, opened, and read as a training reads it.

    python benchmarks/training/reading/pack_memory.py [--images 100000] [--side 32] [--cache-mebibytes 0]

Prints the resident memory of the process after every tenth of an epoch. Exits with 1 when one of the last five is not
within 5 % of the second: memory that grows with the images that were read.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
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

BATCH, PARTS, BOXES = 10, 10, 7  # boxes an image, about as on COCO
PICTURES = 50  # different ones, each under many names
SHARD_BYTES = 2**24
TOLERANCE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--cache-mebibytes", type=int, default=0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.images, arguments.side)
        return
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        # In a process of its own: the most memory of this one is then that of reading.
        command = [sys.executable, __file__, "--write", f"{scratch}/pack"]
        command += ["--images", str(arguments.images), "--side", str(arguments.side)]
        subprocess.run(command, check=True)
        pack = Path(scratch) / "pack"
        size = {end: sum(path.stat().st_size for path in pack.glob(f"*{end}")) for end in (".tfrecord", ".jsonl")}
        start, before = time.perf_counter(), resident_mebibytes()
        dataset = read_pack(pack, "train")
        print(
            f"{len(dataset.records)} images in {len(list(pack.glob('*.tfrecord')))} shards of "
            f"{size['.tfrecord'] / 2**20:.0f} MiB, index of {size['.jsonl'] / 2**20:.0f} MiB: opened and checked in "
            f"{time.perf_counter() - start:.1f} s, {resident_mebibytes() - before:.0f} MiB more in memory, at most "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB",
            flush=True,
        )
        spec = detector_spec(Model(input=Input(height=64, width=64)), dataset.class_names)
        stream = iter(training_batches(dataset, spec, batch_size=BATCH, cache_mebibytes=arguments.cache_mebibytes))
        steps, resident = arguments.images // BATCH // PARTS, []
        for part in range(1, PARTS + 1):
            start = time.perf_counter()
            for _ in range(steps):
                next(stream)
            rate = steps * BATCH / (time.perf_counter() - start)
            resident.append(resident_mebibytes())
            read = part * steps * BATCH
            print(f"{read:>7} images read: {resident[-1]:7.1f} MiB resident, {rate:6.0f} images/s", flush=True)
    growth = max(resident[-5:]) / resident[1] - 1.0
    print(f"most of the last 5 against the second: {growth:+.1%}")
    if growth > TOLERANCE:
        sys.exit(1)


def write(folder: Path, images: int, side: int) -> None:
    """Writes the pack and prints what that took."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as pictures:
        for number in range(PICTURES):
            coarse = Image.fromarray(generator.integers(0, 256, (side // 4, side // 4, 3), np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(f"{pictures}/{number}.jpg", quality=90)
        corners = generator.uniform(0, side / 2, (images, BOXES, 2))
        boxes = np.concatenate([corners, corners + side / 3], axis=2).astype(np.float32)
        classes, crowd = np.zeros(BOXES, np.int32), np.zeros(BOXES, bool)
        records = tuple(
            Record(
                number,
                Path(pictures, f"{number % PICTURES}.jpg"),
                f"{number}.jpg",
                side,
                side,
                boxes[number],
                classes,
                crowd,
            )
            for number in range(images)
        )
        dataset = Dataset("tiny", "train", ("thing",), (1,), records)
        start, before = time.perf_counter(), resident_mebibytes()
        write_pack(folder, [dataset], training_split="train", height=64, width=64, shard_bytes=SHARD_BYTES)
        seconds = time.perf_counter() - start
        print(
            f"written in {seconds:.0f} s, {images / seconds:.0f} images/s; "
            f"{resident_mebibytes() - before:.0f} MiB more in memory, TensorFlow among them",
            flush=True,
        )


def resident_mebibytes() -> float:
    """Returns VmRSS of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
