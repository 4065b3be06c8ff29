"""What `check-data` costs: CPU time an image, of its parts too, and the memory at its peak.

    python benchmarks/training/reading/check_data.py --data ../shared/data/bccd [--images 2000 10000]

For each size it fills a COCO folder with photographs of `--data`, shifted and with noise, so that none is a copy, and
checks it in a process of its own. Exits with 1 when an image costs more than 6 ms of CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.checks.duplicates import find_duplicates
from keras_retina.data.fingerprints import look_at_all
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import available_splits, read_dataset
from keras_retina.data.records import Record

MOST_MILLISECONDS = 6.0  # of CPU time an image, by everything together
SOURCES = 100  # photographs that are decoded; each becomes many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 10000])
    arguments = parser.parse_args()
    records = read_dataset(arguments.data, available_splits(arguments.data)[0]).records[:SOURCES]
    sides = sorted({f"{record.width} x {record.height}" for record in records})
    print(f"{len(records)} photographs of {arguments.data.name}, {', '.join(sides[:3])}{', ...' * (len(sides) > 3)}")
    print(f"start of the program alone: {measured('--help')[0] * 1e3:.0f} ms of CPU time")
    most = 0.0
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "data"
            size = write_set(folder, records, count=count)
            seconds, wall, mebibytes = measured("check-data", "--data", str(folder))
            each = seconds * 1e3 / count
            most = max(most, each)
            print(
                f"{count} images of {size / count / 1024:.0f} KiB: {each:.2f} ms of CPU time an image, "
                f"{wall:.0f} s, {mebibytes:.0f} MiB at the peak"
            )
            if count == min(arguments.images):
                print(f"  of it: {parts(folder, count)}")
    sys.exit(most > MOST_MILLISECONDS)


def write_set(folder: Path, records: tuple[Record, ...], *, count: int) -> int:
    """Writes a COCO folder of `count` images in one split; returns the bytes of all images."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    generator = np.random.default_rng(0)
    pictures = [read_image(record.path) for record in records]
    images, annotations, size = [], [], 0
    for number in range(count):
        record, picture = records[number % len(records)], pictures[number % len(records)]
        shift = (int(generator.integers(record.height)), int(generator.integers(record.width)))
        noise = np.tile(generator.integers(-6, 7, (64, 64, 3)), (record.height // 64 + 1, record.width // 64 + 1, 1))
        noisy = np.roll(picture, shift, axis=(0, 1)) + noise[: record.height, : record.width]
        path = folder / "images" / f"{number}.jpg"
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)
        size += path.stat().st_size
        images.append({"id": number + 1, "file_name": path.name, "height": record.height, "width": record.width})
        for y1, x1, y2, x2 in record.boxes.tolist():
            annotations.append({"image_id": number + 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "annotations" / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    return size


def measured(*words: str) -> tuple[float, float, float]:
    """Runs a verb; returns its CPU and wall seconds and the largest MiB of any process so far."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "keras_retina", *words], check=True, stdout=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, wall, after.ru_maxrss / 1024


def parts(folder: Path, count: int) -> str:
    """Returns the CPU time an image of the three parts, measured in this process."""
    start = time.process_time()
    records = read_dataset(folder, "train").records
    labels = time.process_time()
    seen = list(look_at_all([record.path for record in records], title="train"))
    images = time.process_time()
    prints = [one.fingerprint for one in seen]
    find_duplicates([record.file_name for record in records], prints, records=records)
    end = time.process_time()
    spent = {"labels": labels - start, "images": images - labels, "duplicates": end - images}
    return ", ".join(f"{name} {seconds * 1e3 / count:.2f} ms" for name, seconds in spent.items())


if __name__ == "__main__":
    main()
