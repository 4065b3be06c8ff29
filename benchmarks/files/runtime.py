"""What the runtime adds to a network: post-processing, the whole of `detect` against the bare invoke, and start-up.

    python benchmarks/files/runtime.py FILE_raw.tflite PHOTO [--threads 2] [--rounds 30] [--score 0.3]

Prints JSON. In each round the bare invoke, `detect` of the photo, and `detect` of the photo at the size of the input
take turns, each a few times, so that a machine that slows down slows all alike; the shares are of one round's medians.
`postprocess` is what comes behind the network, alone. Start-up is of new processes, from before `import edge.runtime`
until the first detection; `process` includes the start of Python itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.runtime import Detector, anchor_boxes, read_image, resize_image
from keras_retina.foundation.machine import machine_name

TURNS = 5  # of each in a round
START_UP = """
import sys, time
start = time.perf_counter()
import edge.runtime as runtime
detector = runtime.Detector(sys.argv[1], int(sys.argv[2]))
detector.detect(runtime.read_image(sys.argv[3]))
print(1000 * (time.perf_counter() - start))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--score", type=float, default=0.3)
    arguments = parser.parse_args()
    detector, photo = Detector(arguments.file, arguments.threads), read_image(arguments.photo)
    result = {
        "machine": machine_name(),
        "file": arguments.file.name,
        "threads": arguments.threads,
        **shares_of_invoke(detector, photo, score=arguments.score, rounds=arguments.rounds),
        "start_up_ms": start_up(arguments.file, arguments.photo, threads=arguments.threads, starts=arguments.starts),
    }
    print(json.dumps(result, indent=1))


def shares_of_invoke(detector: Detector, photo: np.ndarray, *, score: float, rounds: int) -> dict[str, object]:
    """Returns medians in milliseconds, and of `detect` the share of the invoke of the same round."""
    own = detector.description
    fitting = resize_image(photo, own.height, width=own.width, mode=own.resize)[0]
    pixels, _ = detector.prepare(photo)
    parts: dict[str, Callable[[], object]] = {
        "invoke": lambda: detector.invoke(pixels),
        "detect": lambda: detector.detect(photo, score),
        "detect_fitting": lambda: detector.detect(fitting, score),
        "postprocess": lambda: detector.postprocess(score),  # of the detection before it
    }
    medians: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds + 1):
        times: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(TURNS):
            for name, part in parts.items():
                times[name].append(milliseconds(part))
        for name, values in times.items():
            medians[name].append(statistics.median(values))
    warm = {name: values[1:] for name, values in medians.items()}  # the first round is warm-up
    shares = {
        name: statistics.median(one / bare for one, bare in zip(warm[name], warm["invoke"], strict=True))
        for name in ("detect", "detect_fitting")
    }
    return {
        "photo": list(photo.shape[:2]),
        "input": [own.height, own.width],
        "anchors_and_classes": [len(anchor_boxes(own)), len(own.class_names)],
        "objects": len(detector.detect(photo, score).scores),
        "median_ms": {name: round(statistics.median(values), 3) for name, values in warm.items()},
        "share_of_invoke": {name: round(value, 3) for name, value in shares.items()},
    }


def start_up(file: Path, photo: Path, *, threads: int, starts: int) -> dict[str, float]:
    """Returns the median milliseconds from import to first detection, and of the whole process."""
    inside, whole = [], []
    for _ in range(starts):
        command = [sys.executable, "-c", START_UP, str(file), str(threads), str(photo)]
        start = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        whole.append(1000 * (time.perf_counter() - start))
        inside.append(float(ended.stdout))
    return {"first_detection": round(statistics.median(inside), 1), "process": round(statistics.median(whole), 1)}


def milliseconds(part: Callable[[], object]) -> float:
    start = time.perf_counter()
    part()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
