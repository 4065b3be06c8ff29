"""One trial: a training in a process of its own, watched, and ended early when it falls behind."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from keras_retina.foundation.errors import TRY_AGAIN
from keras_retina.foundation.files.writing import write_file
from keras_retina.foundation.interruption import Preempted
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe, dump_recipe
from keras_retina.train.workers.logs import last_error

POLL_SECONDS = 0.5


class TrialFailedError(Exception):
    """A training that ended by itself without an AP, for instance because its loss was no number."""


class OutOfTimeError(Exception):
    """A training that was ended because the time of the study is over; the next call continues it."""


def trial_folder(out: Path, recipe: Recipe) -> Path:
    """Returns the run folder of a recipe: the same settings have the same one, so that their training is continued."""
    digest = hashlib.sha256(dump_recipe(recipe).encode()).hexdigest()
    return out / "trials" / digest[:12]


def train_trial(
    recipe: Recipe,
    data: Path,
    *,
    folder: Path,
    threads: int,
    deadline: float,
    falls_behind: Callable[[int, float], bool],
) -> float | None:
    """Trains, or continues, and returns the validation AP, or None where `falls_behind` ended it.

    Args:
        folder: the run folder; beside it are the recipe and what the training printed.
        threads: of the processor.
        deadline: of `time.monotonic`.
        falls_behind: is told each evaluated epoch and its AP.

    Raises:
        TrialFailedError: with what the training said last.
        OutOfTimeError: the deadline came first.
    """
    paths = RunPaths(folder)
    if paths.metrics.exists():
        return _final_ap(paths)
    recipe_file, log = folder.with_suffix(".yaml"), folder.with_suffix(".log")
    write_file(recipe_file, dump_recipe(recipe).encode())
    command = [sys.executable, "-m", "keras_retina", "train", str(recipe_file), "--data", str(data)]
    here = str(Path(__file__).resolve().parents[3])
    environment = os.environ | {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, "--out", str(folder)], stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            status = _watch(process, paths, deadline=deadline, falls_behind=falls_behind)
        finally:
            process.terminate()
            process.wait()
    if status is None:
        remove_weights(paths)
        return None
    if status:
        raise TrialFailedError(_last_line(log))
    ap = _final_ap(paths)
    remove_weights(paths)
    return ap


def remove_weights(paths: RunPaths) -> None:
    """Deletes what is large in the run folder of a trial that is over; history, recipe and metrics stay."""
    paths.model.unlink(missing_ok=True)
    for member in paths.train.iterdir() if paths.train.is_dir() else ():
        if member == paths.history:
            continue
        if member.is_dir():
            shutil.rmtree(member)
        else:
            member.unlink()


def evaluated_epochs(history: Path) -> dict[int, float]:
    """Returns the AP of each epoch that was evaluated so far, none where there is no file yet."""
    if not history.is_file():
        return {}
    whole, _, _ = history.read_text(encoding="utf-8").rpartition("\n")  # the last line may be half written
    rows = csv.DictReader(whole.splitlines())
    return {int(row["epoch"]): float(row["AP"]) for row in rows if row.get("epoch") and row.get("AP")}


def _watch(
    process: subprocess.Popen[bytes],
    paths: RunPaths,
    *,
    deadline: float,
    falls_behind: Callable[[int, float], bool],
) -> int | None:
    """Waits for the end of a training and returns its status, None where it fell behind.

    Raises:
        OutOfTimeError: the deadline came first.
        Preempted: the machine is taken away; the next call continues the trial.
    """
    told: set[int] = set()
    while True:
        status = process.poll()
        for epoch, ap in evaluated_epochs(paths.history).items():
            if epoch not in told:
                told.add(epoch)
                if falls_behind(epoch, ap) and status is None:
                    return None
        if status is not None:
            if status < 0:
                raise TrialFailedError(f"the training was ended by signal {-status}")
            if status == TRY_AGAIN:
                raise Preempted
            return status
        if time.monotonic() > deadline:
            raise OutOfTimeError
        time.sleep(POLL_SECONDS)


def _final_ap(paths: RunPaths) -> float:
    ap = json.loads(paths.metrics.read_text(encoding="utf-8"))["AP"]
    if ap is None:
        raise TrialFailedError("the validation split has no object, and so no AP")
    return float(ap)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return last_error(log) or next((line for line in reversed(lines) if line.strip()), "it printed nothing")
