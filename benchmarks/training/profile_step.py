"""Where the time of a training step goes: TensorFlow's profiler on a recipe's step, by kind of operation.

    python benchmarks/training/profile_step.py recipes/demo.yaml [--steps 10] [--names]

The times of the threads are added up, so with two cores they come to more than the step takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from random_step import random_step

from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.recipe import load_recipe

ROWS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--names", action="store_true", help="every operation by its name")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    step = random_step(recipe)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        start = time.perf_counter()
        for _ in range(arguments.steps):
            step()
        wall = 1000 * (time.perf_counter() - start) / arguments.steps
        tf.profiler.experimental.stop()
        milliseconds, counts = operations(Path(folder), arguments.steps, by_name=arguments.names)
    total = sum(milliseconds.values())
    print(f"step {wall:.1f} ms for {recipe.training.batch_size} images; operations {total:.1f} ms on all threads")
    for name, value in milliseconds.most_common(ROWS):
        print(f"{value:8.2f} ms {value / total:6.1%} {counts[name] / arguments.steps:6.0f} x  {name}")


def operations(folder: Path, steps: int, *, by_name: bool) -> tuple[Counter[str], Counter[str]]:
    """Returns milliseconds a step, and how often in all steps, of every kind (or name) of operation."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    milliseconds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Operations are called "name:Kind"; the profiler's own events have no colon.
                name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                if colon and not name.endswith(":") and not kind.strip().startswith("__"):  # a whole function
                    label = name if by_name else kind
                    milliseconds[label] += event.duration_ps / 1e9 / steps
                    counts[label] += 1
    return milliseconds, counts


if __name__ == "__main__":
    main()
