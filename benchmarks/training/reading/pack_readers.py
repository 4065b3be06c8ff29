"""Images a second that 1, 2 and 4 processes read from one pack, each its share, beside what the machine can do at most.

    python benchmarks/training/reading/pack_readers.py [--images 400] [--rounds 5]

`read` is the bytes of each image, in the order of a training, with their checksum. `decode` decodes them too, as a
training does without its cache. `file` opens the shards as local files, `gfile` reads them through TensorFlow's file
systems, as it does remote ones. The bounds: the shards read from one end to the other, and the same images decoded from
memory, both by one process. The pack is in the page cache. Rounds alternate; printed are the median, and lowest to
highest, and the median of the CPU time an image, of all processes together, which other programs on the machine disturb
least.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import multiprocessing.connection
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from PIL import Image
from pipeline_memory import drawn_set

from keras_retina.data.formats.packs.pack import read_pack
from keras_retina.data.formats.packs.write_pack import write_pack
from keras_retina.data.images import inspect_bytes, read_image
from keras_retina.data.reading.order import BatchShare, sample_order
from keras_retina.data.records import Record
from keras_retina.foundation.files import reading

SIDE = 384  # of the network input that the pack is made for
SHARD_BYTES = 2**23
PROCESSES = (1, 2, 4)
WORK: dict[str, Callable[[Record], object]] = {
    "read": lambda record: record.path.read_bytes(),
    "decode": lambda record: read_image(record.path),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pack = Path(scratch) / "pack"
        drawn = drawn_set(Path(scratch), arguments.images)
        write_pack(pack, [drawn], training_split="train", height=SIDE, width=SIDE, shard_bytes=SHARD_BYTES)
        records = read_pack(pack, "train").records
        mean = sum(record.path.length for record in records) / len(records)
        print(f"{len(records)} images of {mean / 1024:.0f} KiB in {len(list(pack.glob('*.tfrecord')))} shards")
        rates: dict[str, list[tuple[float, float]]] = {}
        pools = {count: Readers(pack, count) for count in PROCESSES}
        for _ in range(arguments.rounds):
            rates.setdefault("bound: shards from end to end", []).append(sequential(pack, len(records)))
            rates.setdefault("bound: decode from memory", []).append(decode_alone(records))
            for work in WORK:
                for place in ("file", "gfile"):
                    for count, readers in pools.items():
                        rates.setdefault(f"{work}, {place}, {count}", []).append(readers.rate(work, place))
        for readers in pools.values():
            readers.close()
    for name, measured in rates.items():
        values, milliseconds = zip(*measured, strict=True)
        print(
            f"{name:<32} {statistics.median(values):8.0f} ({min(values):.0f} to {max(values):.0f}) images/s, "
            f"{statistics.median(milliseconds):.3f} ms of CPU an image"
        )


def sequential(pack: Path, images: int) -> tuple[float, float]:
    """Returns images a second and milliseconds of CPU an image, as the others."""
    start, cpu = time.perf_counter(), time.process_time()
    for shard in sorted(pack.glob("*.tfrecord")):
        with shard.open("rb") as file:
            while file.read(2**20):
                pass
    return images / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / images


def decode_alone(records: tuple[Record, ...]) -> tuple[float, float]:
    data = [record.path.read_bytes() for record in records]
    inspect_bytes(data[0], records[0].path)  # Pillow loads its formats
    start, cpu = time.perf_counter(), time.process_time()
    for one in data:
        np.asarray(Image.open(io.BytesIO(one)).convert("RGB"))
    return len(records) / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / len(records)


class Readers:
    """Processes that are started once, and then read an epoch together as often as they are asked."""

    def __init__(self, pack: Path, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.barrier = context.Barrier(count)
        self.pipes = []
        for index in range(count):
            mine, theirs = context.Pipe()
            share = BatchShare(index, count)
            context.Process(target=reader, args=(pack, share, theirs, self.barrier), daemon=True).start()
            self.pipes.append(mine)
        for pipe in self.pipes:
            pipe.recv()  # it is ready

    def rate(self, work: str, place: str) -> tuple[float, float]:
        for pipe in self.pipes:
            pipe.send((work, place))
        answers = [pipe.recv() for pipe in self.pipes]
        starts, ends, images, seconds = zip(*answers, strict=True)
        return sum(images) / (max(ends) - min(starts)), 1000 * sum(seconds) / sum(images)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def reader(pack: Path, share: BatchShare, pipe: multiprocessing.connection.Connection, barrier: Barrier) -> None:
    """Reads its share of an epoch each time it is told what to do, when all readers are ready."""
    records = read_pack(pack, "train").records
    options = {"batch_size": share.workers, "share": share}
    samples = sample_order(len(records), 0, first_sample=0, **options).take(-(-len(records) // share.workers))
    order = [int(index) for position, index in samples if position < len(records)]
    remote = reading.remote_address
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        work, place = task
        reading.remote_address = (lambda path: f"file://{path}") if place == "gfile" else remote
        barrier.wait()
        start, cpu = time.time(), time.process_time()
        for index in order:
            WORK[work](records[index])
        pipe.send((start, time.time(), len(order), time.process_time() - cpu))


if __name__ == "__main__":
    main()
