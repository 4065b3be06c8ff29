"""A whole run repeated with several seeds: AP of every file, and its share of the float model of the same run.

    python benchmarks/runs/seeds.py recipes/raccoon.yaml --data DIR --out OUT [--seeds 0 1 2] [--set section.key=value ...]

Each seed is a `keras-retina run` in `OUT/seed-N`, resumed where it stopped and not repeated when it is there. The seed
changes the order of the images, the augmentation and the initial weights of pyramid and heads. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

FLOAT = "model.keras"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        folder = arguments.out / f"seed-{seed}"
        if not (folder / "verify.json").exists():
            run(arguments.recipe, arguments.data, folder, [*arguments.set, f"seed={seed}"])
        runs.append(accuracies(folder / "verify.json"))
    print_table(runs)


def run(recipe: str, data: str, folder: Path, overrides: list[str]) -> None:
    """Makes the whole run; a gate that fails (exit status 1) is a result like any other."""
    command = [sys.executable, "-m", "keras_retina", "run", recipe, "--data", data, "--out", str(folder)]
    for override in overrides:
        command += ["--set", override]
    print(" ".join(command), file=sys.stderr, flush=True)
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status not in (0, 1):
        raise SystemExit(f"exit status {status}: {' '.join(command)}")


def accuracies(verify: Path) -> dict[tuple[str, str], float]:
    """Returns (model, file) -> AP of everything that was measured, whether the gate passed it or not."""
    rows = json.loads(verify.read_text(encoding="utf-8"))["rows"]
    return {(row["model"], row["file"]): row["AP"] for row in rows if row.get("AP") is not None}


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
