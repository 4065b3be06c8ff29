"""Kills a whole run at random moments, repeats its command, and prints what differs from an undisturbed one.

    python benchmarks/survival/chaos.py --out OUT [--kills 100] [--seed 0] [--per-run 6] [--begin train]

A small `keras-retina run` (drawn images, a tiny recipe with one smaller model) is made twice undisturbed, which shows
what differs without any kill. Then its process group gets SIGKILL after a random share of the time that the undisturbed
run took, up to `--per-run` times for one run folder; after that the command runs to its end. The recipe is
`deterministic`, and TensorFlow computes with one thread. The same call of this program goes on where it stopped.

`--begin export` begins each run folder as a copy of the undisturbed one without what that stage and the later ones
wrote: more kills of late stages in the same time.

Compared are which files there are, and their bytes: of every Keras model, of the best weights, of every file in
`export/` and of all detections. Of JSON and CSV files all is compared but times, sizes and SHA-256 too.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from keras_retina.data.builtin.builtin import write_builtin_set
from keras_retina.foundation.files.writing import write_json

RECIPE = """
name: chaos
seed: 3
model:
  backbone: {name: plain, weights: none, frozen_stages: 0, batch_norm: trained}
  input: {height: 64, width: 64, resize: stretch}
  pyramid: {width: 16, levels: [3, 5]}
  head: {width: 16, convolutions: 1}
augmentation: {mosaic: 0.3, scale: [0.8, 1.25]}
training:
  {epochs: 6, batch_size: 4, learning_rate: 5.0e-3, warmup_steps: 5, evaluate_every: 2, accumulate_steps: 2,
   checkpoint_steps: 3, deterministic: true, loss: {classes: automated_focal, box_weight: 0.1}}
compress:
  half: {channels: {keep: 0.5}, fine_tune: {epochs: 2, evaluate_every: 1}, formats: [float32]}
export: {formats: [float32, int8], heads: [postprocess, raw], calibration_images: 8}
verification: {minimum_ap_ratio: 0.0, maximum_class_drop: 100.0, latency_runs: 3, threads: 1}
"""
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
TIMES = {"seconds", "input_wait", "evaluation_seconds", "latency_ms", "command", "machine", "data"}
STAGES = (
    ("start", "train"),
    ("train", "metrics.json"),
    ("compress", "compress/half/metrics.json"),
    ("export", "export/chaos_float32_half_raw.json"),
    ("verify", "verify.json"),
    ("report", "report.html"),
)
"""Each stage and the file or folder at its end."""
WRITTEN = {
    "compress": ("compress",),
    "export": ("export",),
    "verify": ("heal", "verify", "verify.json"),
    "report": ("report.html",),
}
MOST_ATTEMPTS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100, help="in all runs together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-run", type=int, default=6, help="kills of one run folder")
    parser.add_argument("--begin", choices=[stage for stage, _ in STAGES[1:]], default="train")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_builtin_set(out / "data", 32, 12, 64, 64)
    results = out / "results.json"
    done: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for name in ("undisturbed", "again"):
        if name not in done:
            started = time.perf_counter()
            require_done(attempt(out, name, seconds=None), out / name)
            done[name] = {"seconds": time.perf_counter() - started}
            write_json(results, done)
    number = 0
    while (left := arguments.kills - sum(len(one.get("kills", [])) for one in done.values())) > 0:
        name = f"{arguments.begin}_{number}"
        if name not in done:
            begin(out / "undisturbed", out / name, stage=arguments.begin)
            done[name] = {
                "kills": killed_run(
                    out,
                    name,
                    most=min(arguments.per_run, left),
                    longest=seconds_from(out / "undisturbed", arguments.begin, whole=done["undisturbed"]["seconds"]),
                    chance=random.Random(f"{arguments.seed} {name}"),
                ),
                "differences": differences(out / "undisturbed", out / name),
            }
            write_json(results, done)
            kills, found = done[name]["kills"], done[name]["differences"]
            print(f"{name}: {len(kills)} kills in {', '.join(kills)}; {found or 'no difference'}", flush=True)
        number += 1
    print_summary(done, differences(out / "undisturbed", out / "again"))


def begin(undisturbed: Path, run: Path, *, stage: str) -> None:
    """Copies what the stages before this one wrote, unless the run was begun before; nothing for the training."""
    stages = [name for name, _ in STAGES]
    if stage == "train" or run.exists():
        return
    written = [path for name in stages[stages.index(stage) :] for path in WRITTEN[name]]
    unfinished = run.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(undisturbed, unfinished, ignore=lambda folder, names: [n for n in names if n in written])
    unfinished.rename(run)


def seconds_from(undisturbed: Path, stage: str, *, whole: float) -> float:
    """Returns how long a run takes that begins with this stage, start of the program included, by the files' times."""
    ends = dict(itertools.pairwise(["", *(end for _, end in STAGES)]))
    before = next(one for one, end in ends.items() if end == dict(STAGES)[stage])
    return whole - (
        (undisturbed / before).stat().st_mtime - (undisturbed / "run.json").stat().st_mtime if stage != "train" else 0.0
    )


def killed_run(out: Path, name: str, *, most: int, longest: float, chance: random.Random) -> list[str]:
    """Kills a run up to `most` times and then lets it end; returns the stages it was in.

    Kills of an earlier call are not in the list, but count for nothing else.
    """
    stages: list[str] = []
    for _ in range(MOST_ATTEMPTS):
        seconds = chance.uniform(0.0, longest) if len(stages) < most else None
        status = attempt(out, name, seconds=seconds)
        if status != -signal.SIGKILL:
            require_done(status, out / name)
            return stages
        stages.append(stage_of(out / name))
    raise SystemExit(f"{out / name}: not done after {MOST_ATTEMPTS} attempts")


def attempt(out: Path, name: str, *, seconds: float | None) -> int:
    """Runs the command, for so many seconds at most, and returns its status."""
    command = [sys.executable, "-m", "keras_retina", "run", str(out / "recipe.yaml"), "--data", str(out / "data")]
    with (out / f"{name}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--out", str(out / name)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # a group of its own, so that its children are killed with it
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def require_done(status: int, run: Path) -> None:
    if status:
        raise SystemExit(f"{run}: the run needs a hand: exit status {status}, see {run.with_suffix('.log')}")


def stage_of(run: Path) -> str:
    """Returns the stage that a run was killed in: the first whose end is not there."""
    return next((stage for stage, end in STAGES if not (run / end).exists()), "end")


def differences(one: Path, other: Path) -> list[str]:
    """Returns the names of the files of two runs that differ in more than times."""
    names, others = files_of(one), files_of(other)
    found = [f"{name} only in one" for name in sorted(names ^ others)]
    return found + [name for name in sorted(names & others) if not is_equal(one / name, other / name)]


def files_of(run: Path) -> set[str]:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {name for name in names if "/tensorboard/" not in name and "/checkpoints/" not in name}


def is_equal(one: Path, other: Path) -> bool:
    """Tells whether two files of one name are the same bytes, or say the same apart from times."""
    if one.suffix == ".json":
        return without(json.loads(one.read_text()), TIMES) == without(json.loads(other.read_text()), TIMES)
    if one.suffix == ".csv":
        return rows_of(one) == rows_of(other)
    if one.suffix == ".html":
        return True  # times in words and pictures of curves; its numbers are those of the other files
    return one.read_bytes() == other.read_bytes()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [without(row, TIMES) for row in csv.DictReader(file)]


def without(value: Any, names: set[str]) -> Any:
    """Returns JSON without the fields of these names, at any depth."""
    if isinstance(value, dict):
        return {name: without(inner, names) for name, inner in value.items() if name not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


def print_summary(done: dict[str, Any], noise: list[str]) -> None:
    runs = {name: one for name, one in done.items() if "kills" in one}
    stages = Counter(stage for one in runs.values() for stage in one["kills"])
    differing = {name: one["differences"] for name, one in runs.items() if one["differences"]}
    print(
        f"an undisturbed run takes {done['undisturbed']['seconds']:.0f} s; two of them differ in: {noise or 'nothing'}"
    )
    print(f"kills: {sum(stages.values())} in {len(runs)} runs: {dict(stages)}")
    print(f"runs that differ: {len(differing)} {differing or ''}")


if __name__ == "__main__":
    main()
