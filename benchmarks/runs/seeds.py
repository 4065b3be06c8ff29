"""A whole run repeated with several seeds and kernels: AP of every file, its share of the float model, and `expected:`.

    python benchmarks/runs/seeds.py RECIPE --data DIR --out OUT [--seeds 0 1 2] [--kernels native avx2] [--command TEXT]
        [--set section.key=value ...]

Each is a `keras-retina run` in `OUT/seed-N` or `OUT/seed-N-avx2`, resumed where it stopped and not repeated when it is
there. The seed changes the order of the images, the augmentation and the initial weights of pyramid and heads. Prints
Markdown, and the block `expected:` for the recipe: means, ranges, and the tolerance that follows from the spread.

`avx2` is what TensorFlow does by itself on a processor with AVX2 and nothing newer: its oneDNN graph is off, and the
oneDNN kernel inside its own convolutions is the one for AVX2. What else TensorFlow computes is compiled without AVX2 in
its wheels, on every processor. LiteRT and XNNPACK ask the processor and cannot be limited: files run on native kernels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from edge.verify.expected import MeasuredRun, expected_block, measured_run
from keras_retina.foundation.machine import vector_instructions

FLOAT = "model.keras"
ENVIRONMENTS = {"native": {}, "avx2": {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "AVX2"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kernels", nargs="+", choices=ENVIRONMENTS, default=["native"])
    parser.add_argument("--command", help="for the block: how a reader repeats it; default: as run here")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        for kernels in arguments.kernels:
            folder = arguments.out / (f"seed-{seed}" if kernels == "native" else f"seed-{seed}-{kernels}")
            if not (folder / "verify.json").exists():
                run(
                    arguments.recipe,
                    arguments.data,
                    folder=folder,
                    overrides=[*arguments.set, f"seed={seed}"],
                    environment=ENVIRONMENTS[kernels],
                )
            runs.append(measured_run(folder, vector_instructions() if kernels == "native" else kernels.upper()))
    print_table([accuracies(one) for one in runs])
    command = arguments.command or f"keras-retina run {arguments.recipe} --data {arguments.data}"
    print("\n" + expected_block(runs, command))


def run(recipe: str, data: str, *, folder: Path, overrides: list[str], environment: dict[str, str]) -> None:
    """Makes the whole run; a gate that fails (exit status 1) is a result like any other."""
    command = [sys.executable, "-m", "keras_retina", "run", recipe, "--data", data, "--out", str(folder)]
    for override in overrides:
        command += ["--set", override]
    print(" ".join(command), file=sys.stderr, flush=True)
    status = subprocess.run(command, stdout=sys.stderr, env=os.environ | environment, check=False).returncode
    if status not in (0, 1):
        raise SystemExit(f"exit status {status}: {' '.join(command)}")


def accuracies(one: MeasuredRun) -> dict[tuple[str, str], float]:
    """Returns (model, file) -> AP of everything that was measured, whether the gate passed it or not."""
    return {(row.model, row.file): found for row in one.verify.rows if (found := row.ap["AP"]) is not None}


def print_table(runs: list[dict[tuple[str, str], float]]) -> None:
    """Prints a row for each file that all runs have: AP, and AP over the float model's, mean and lowest to highest."""
    print("| model | file | AP | of the float model |\n|---|---|---|---|")
    for model, file in (name for name in runs[0] if all(name in run for run in runs)):
        found = [run[model, file] for run in runs]
        shares = [run[model, file] / run["float", FLOAT] for run in runs]
        print(
            f"| {model} | {file} | {statistics.mean(found):.2f} ({min(found):.2f} to {max(found):.2f}) "
            f"| {statistics.mean(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}) |"
        )


if __name__ == "__main__":
    main()
