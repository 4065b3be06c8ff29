"""Images a second of the training step alone, of several recipes in turns, in one process.

    python benchmarks/training/step_speeds.py RECIPE.yaml ... --json FILE

Wants the machine for itself. The losses are the default ones. Writes `{recipe file: [median, lowest, highest]}`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from random_step import random_step

from keras_retina.recipe.recipe import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="of each recipe in a round")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    speeds = measured_speeds(arguments.recipes, rounds=arguments.rounds, steps=arguments.steps)
    for name, rates in speeds.items():
        print("{}: {:.1f} images/s ({:.1f} .. {:.1f})".format(name, *rates))
    arguments.json.write_text(json.dumps(speeds, indent=1) + "\n", encoding="utf-8")


def measured_speeds(recipes: list[str], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Returns for each file the median, the lowest and the highest images a second of rounds that take turns."""
    step_functions, sizes = {}, {}
    for name in recipes:
        recipe = load_recipe(name)
        precision = "bfloat16" if recipe.training.precision == "bfloat16" else "float32"
        step_functions[name] = random_step(recipe, precision=precision)
        sizes[name] = steps * recipe.training.batch_size
    found: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(rounds):
        for name, step in step_functions.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            found[name].append(sizes[name] / (time.perf_counter() - start))
    return {name: [statistics.median(rates), min(rates), max(rates)] for name, rates in found.items()}


if __name__ == "__main__":
    main()
