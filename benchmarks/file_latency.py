"""Latency of `.tflite` files of ours, as a share of the first one, interleaved in one run.

    python benchmarks/file_latency.py PARENT.tflite SMALLER.tflite ... [--threads 1 2] [--rounds 15]

A round invokes each file a few times, one file after the other, each round starting with the next one, so that a
machine that slows down meanwhile slows all of them. The share is of the two medians of one round.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

from edge.measure import invoke_latency, machine_name
from edge.runtime import Detector

INVOKES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(f"{machine_name()}; {arguments.rounds} rounds of {INVOKES} invokes")
    for threads in arguments.threads:
        detectors = [Detector(path, threads) for path in arguments.files]
        medians = interleaved(detectors, arguments.rounds)
        for path, values in zip(arguments.files, medians, strict=True):
            shares = [value / parent for value, parent in zip(values, medians[0], strict=True)]
            print(
                f"{threads} threads  {path.name:<36} {statistics.median(values):8.2f} ms   share "
                f"{statistics.median(shares):.3f} ({min(shares):.3f} .. {max(shares):.3f})"
            )


def interleaved(detectors: list[Detector], rounds: int) -> list[list[float]]:
    """Returns the median milliseconds of an invoke in every round, for each detector."""
    images = [
        np.random.default_rng(0).integers(0, 256, (one.description.height, one.description.width, 3), np.uint8)
        for one in detectors
    ]
    found: list[list[float]] = [[] for _ in detectors]
    for number in range(rounds):
        order = [(number + step) % len(detectors) for step in range(len(detectors))]
        for index in order:
            found[index].append(statistics.median(invoke_latency(detectors[index], images[index], INVOKES)))
    return found


if __name__ == "__main__":
    main()
