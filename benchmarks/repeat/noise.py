"""From which step on two equal trainings differ, with TensorFlow as it is and with one thing changed at a time.

    python benchmarks/repeat/noise.py recipes/raccoon.yaml --data DIR [--steps 30] [--variants as_it_is onednn_off ...]
        [--set section.key=value ...]

Each variant has a process of its own, which trains twice from the same weights on the same batches and compares all
weights after each step. Of `as_it_is` and `deterministic` there are two processes, and these are compared too, with
another order of Python's sets (`PYTHONHASHSEED`) in the second.

| variant | what is different |
|---|---|
| as_it_is | nothing: a training as `keras-retina train` makes it |
| onednn_off | TensorFlow's own operations instead of oneDNN's |
| avx2 | oneDNN off, and its kernels those of a processor with AVX2 and nothing newer |
| one_intra | each operation on one core; operations still run side by side |
| one_inter | one operation at a time, each on all cores |
| one_thread | one operation at a time on one core |
| four_threads | four threads for each, more than there are cores |
| deterministic | `training.deterministic` |
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT: dict[str, dict[str, str]] = {
    "as_it_is": {},
    "onednn_off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "avx2": {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "one_intra": {"TF_NUM_INTRAOP_THREADS": "1"},
    "one_inter": {"TF_NUM_INTEROP_THREADS": "1"},
    "one_thread": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
    "four_threads": {"TF_NUM_INTRAOP_THREADS": "4", "TF_NUM_INTEROP_THREADS": "4"},
    "deterministic": {},
}
TWICE = ("as_it_is", "deterministic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--variants", nargs="+", choices=ENVIRONMENT, default=list(ENVIRONMENT))
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(compared(arguments)))
        return
    print("| variant | same process: first step that differs, largest difference at the end | other process |")
    print("|---|---|---|", flush=True)
    seen: dict[str, list[str]] = {}
    for variant in arguments.variants:
        found = in_a_process(variant)
        other = "not run"
        if variant in TWICE:
            again = in_a_process(variant, {"PYTHONHASHSEED": "1"})
            other = f"first step that differs: {first_difference(found['hashes'], again['hashes'])}"
        seen[variant] = found["hashes"]
        inside = f"{first_difference(found['hashes'], found['again'])}, {found['difference']:.1e}"
        against = first_difference(seen.get("as_it_is", found["hashes"]), found["hashes"])
        print(f"| {variant} | {inside} | {other}; from as_it_is: {against} |", flush=True)


def in_a_process(variant: str, environment: dict[str, str] | None = None) -> dict:
    """Returns what `compared` prints in a process with the environment of a variant."""
    command = [sys.executable, *sys.argv, "--one", variant]
    variables = os.environ | {"PYTHONHASHSEED": "0"} | ENVIRONMENT[variant] | (environment or {})
    ended = subprocess.run(command, check=True, env=variables, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def first_difference(one: list[str], other: list[str]) -> str:
    """Returns the first step after which not all bits of the weights are equal."""
    return next((str(step) for step, (a, b) in enumerate(zip(one, other, strict=True), 1) if a != b), "none")


def compared(arguments: argparse.Namespace) -> dict:
    """Trains twice; returns the hash of the weights after each step of both, and their largest difference at last."""
    from repeatable import repeatable

    from keras_retina.foundation.determinism import enable_determinism
    from keras_retina.foundation.files.reading import sha256_of

    if arguments.one == "deterministic":
        enable_determinism()
    training = repeatable(arguments.recipe, arguments.data, overrides=arguments.set)
    seed = training.recipe.seed
    batches = training.batches(seed).take(arguments.steps).cache()
    hashes: tuple[list[str], list[str]] = ([], [])
    last = []
    for found in hashes:
        training.restart(seed)
        for _, weights in training.weights_after(batches, range(1, arguments.steps + 1)):
            found.append(sha256_of(weights.tobytes()))
        last.append(weights)
    return {"hashes": hashes[0], "again": hashes[1], "difference": float(abs(last[0] - last[1]).max())}


if __name__ == "__main__":
    main()
