"""Milliseconds an image of a recipe's training step with oneDNN's operations off and on, in processes that alternate.

    python benchmarks/onednn.py recipes/demo.yaml [--rounds 4]

The environment variable is read when TensorFlow is imported, so every timing has a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

STEPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", action="store_true", help="one timing in this process, as the others are made of")
    arguments = parser.parse_args()
    if arguments.one:
        print(milliseconds_an_image(arguments.recipe))
        return
    times: dict[str, list[float]] = {"0": [], "1": []}
    for _ in range(arguments.rounds):
        for value, found in times.items():
            command = [sys.executable, __file__, arguments.recipe, "--one"]
            environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": value}
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found.append(float(ended.stdout.splitlines()[-1]))
    for value, found in times.items():
        spread = f"({min(found):.1f} .. {max(found):.1f})"
        print(f"TF_ENABLE_ONEDNN_OPTS={value}  {statistics.median(found):6.1f} ms {spread}")
    pairs = [on / off for off, on in zip(times["0"], times["1"], strict=True)]
    print(f"on / off                 {statistics.median(pairs):6.2f}    ({min(pairs):.2f} .. {max(pairs):.2f})")


def milliseconds_an_image(recipe_path: str) -> float:
    """Returns the median over `STEPS` steps on one random batch."""
    from random_step import random_step

    from keras_retina.recipe import load_recipe

    recipe = load_recipe(recipe_path)
    step = random_step(recipe)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start) / recipe.training.batch_size)
    return statistics.median(times)


if __name__ == "__main__":
    main()
