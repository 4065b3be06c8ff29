"""What it costs to check a `.tflite` when it is opened: its SHA-256, and following all of its offsets.

    python benchmarks/files/opening.py FILE.tflite [FILE.tflite ...] [--rounds 20]

Each round opens every file once, the parts one after the other, so that a machine that slows down meanwhile slows all
of them. It prints medians in milliseconds, of processor time in this process and of wall time:

- sha256: the checksum of the network, as `edge.runtime` takes it;
- description: all of `read_description`, the checksum included;
- network: `check_network`;
- LiteRT: an interpreter with allocated tensors;
- Detector: `edge.Detector(FILE)`, which does all of this.
"""

from __future__ import annotations

import argparse
import mmap
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from edge import runtime


def steps(path: Path) -> dict[str, Callable[[], object]]:
    """Returns the parts of opening a file, by name."""
    length = path.stat().st_size

    def network() -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            runtime.check_network(data)

    def interpreter() -> None:
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()

    return {
        "sha256": lambda: runtime._sha256(path, length),
        "description": lambda: runtime.read_description(path),
        "network": network,
        "LiteRT": interpreter,
        "Detector": lambda: runtime.Detector(path, 1),
    }


def main() -> None:
    """Reads the command line and prints a row for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    parts = {path: steps(path) for path in options.files}
    processor: dict[tuple[Path, str], list[float]] = {}
    wall: dict[tuple[Path, str], list[float]] = {}
    for number in range(options.rounds + 1):
        for path, named in parts.items():
            for name, step in named.items():
                start, used = time.perf_counter(), time.process_time()
                step()
                if number:  # the first round fills the caches of the disk
                    processor.setdefault((path, name), []).append(1000 * (time.process_time() - used))
                    wall.setdefault((path, name), []).append(1000 * (time.perf_counter() - start))
    names = list(steps(options.files[0]))
    print(f"{'file':<40} {'bytes':>10}" + "".join(f"{name:>18}" for name in names))
    for path in options.files:
        cells = [
            f"{statistics.median(processor[path, name]):8.2f} /{statistics.median(wall[path, name]):8.2f}"
            for name in names
        ]
        print(f"{path.name:<40} {path.stat().st_size:>10}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
