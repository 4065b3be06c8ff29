"""Milliseconds a training step takes as it is and in other ways, in processes that alternate.

    python benchmarks/training/step_variants.py recipes/raccoon.yaml [--variants plain_graph onednn_off ...]

| variant | what is different |
|---|---|
| plain_graph | frozen BatchNorm is not folded into the convolutions |
| all_stages | no stage of the backbone is frozen |
| onednn_off | TensorFlow's own operations, which it prefers on this kind of processor |
| one_at_a_time | operations never run side by side, each on all cores |
| one_thread_each | operations run side by side, each on one core |
| bfloat16 | `training.precision: bfloat16` (for a processor with instructions for it: ask for it by name) |
| xla | the whole step compiled by XLA (slow: ask for it by name) |

oneDNN and threads are chosen when TensorFlow is imported, so every timing has a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

STEPS = 30
BASE = "as it is"
ENVIRONMENT = {
    "onednn_off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "one_at_a_time": {"TF_NUM_INTEROP_THREADS": "1"},
    "one_thread_each": {"TF_NUM_INTRAOP_THREADS": "1"},
}
VARIANTS = ("plain_graph", "all_stages", *ENVIRONMENT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=(*VARIANTS, "bfloat16", "xla"), default=VARIANTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(milliseconds(arguments.recipe, arguments.one))
        return
    times: dict[str, list[float]] = {name: [] for name in (BASE, *arguments.variants)}
    for _ in range(arguments.rounds):
        for name, found in times.items():
            command = [sys.executable, __file__, arguments.recipe, "--one", name]
            environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"} | ENVIRONMENT.get(name, {})
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found.append(float(ended.stdout.splitlines()[-1]))
    for name, found in times.items():
        pairs = [base / value for base, value in zip(times[BASE], found, strict=True)]
        print(
            f"{name:<12} {statistics.median(found):7.1f} ms ({min(found):.1f} .. {max(found):.1f})   "
            f"as it is / this {statistics.median(pairs):.2f} ({min(pairs):.2f} .. {max(pairs):.2f})"
        )


def milliseconds(recipe_path: str, variant: str) -> float:
    """Returns the median over `STEPS` steps on one random batch; a tenth of the steps with XLA."""
    from random_step import random_step

    from keras_retina.recipe.recipe import load_recipe

    overrides = ["model.backbone.frozen_stages=0"] if variant == "all_stages" else []
    recipe = load_recipe(recipe_path, overrides)
    precision = "bfloat16" if variant == "bfloat16" else "float32"
    step = random_step(recipe, variant != "plain_graph", variant == "xla", precision)
    times = []
    for _ in range(STEPS // 10 if variant == "xla" else STEPS):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    main()
