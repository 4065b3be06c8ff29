"""keras_retina, Model Garden's RetinaNet and KerasCV's, trained for the same time on many data sets with several seeds.

    python benchmarks/sets/peers.py --sets ../shared/data --recipe-of RECIPES --weights FILE --minutes 20 \\
        --model-garden MG/bin/python --keras-cv KERAS_CV/bin/python --out OUT

Ours trains the recipe of each set at its own input. The peers have square inputs only: `--size`, by default the square
with the area of ours, to a multiple of 32. First the steps of all detectors are timed in turns for each recipe
(benchmarks/peers/speed.py); this wants a quiet machine and about 10 GB, and is kept in OUT/speeds.json. Then each has
the steps that `--minutes` give at its speed, however long they take, from the same weights and with batches of 8.
Ours is `keras-retina train`, each a run folder OUT/<set>/ours-<seed>.

AP is of the test split where there is one, else of val; `--split val` leaves the test splits alone. The same command
goes on after an interruption: finished trainings stay, one of ours continues, one of a peer starts anew.
benchmarks/peers/README.md describes the environments of the peers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from jobs import DataSet, Job, find_sets, folders_with_training_labels, length_overrides, ordered_jobs
from results import Result, add_result, read_results
from show import accuracy_lines, comparison_lines
from speeds import FASTEST, step_of, steps_for
from trainings import check_same, evaluate, train
from work import WHOLE, Share, alone_in, environment, succeeded

from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import load_recipe

WORKERS = Path(__file__).resolve().parents[1] / "peers"
BATCH = 8
OURS = "ours"
ROWS = {OURS: "ours", "model_garden": "Model Garden, fused BN", "keras_cv": "KerasCV"}
"""The name of each detector here and in the table of speed.py."""


def main() -> None:
    arguments = parser().parse_args()
    detectors = [OURS, *(name for name in ("model_garden", "keras_cv") if getattr(arguments, name))]
    try:
        sets = find_sets(
            arguments.data or folders_with_training_labels(arguments.sets),
            recipes=arguments.recipe_of,
            default=arguments.recipe,
            common=[*arguments.set, f"training.batch_size={BATCH}"],
        )
        for one in sets:
            if not (one.folder / "annotations" / "train.json").is_file():
                raise InputError(f"{one.folder}: the peers read COCO folders. Received: no annotations/train.json.")
        with alone_in(arguments.out, arguments.share) as locks:
            speeds = {one.name: kept_speeds(one, arguments, detectors=detectors) for one in sets}
            if arguments.only_measure:
                return
            os.nice(arguments.nice)
            failed = work(arguments, sets, detectors=detectors, speeds=speeds, locks=locks)
    except InputError as error:
        raise SystemExit(str(error)) from error
    results = [one for one in read_results(arguments.out / "results.csv") if one.set in {of.name for of in sets}]
    print("\n".join(accuracy_lines(results)))
    for peer in detectors[1:]:
        of_two = [one for one in results if one.setting in (OURS, peer)]
        print("\n" + "\n".join(comparison_lines(of_two, base=peer)))
    if failed:
        raise SystemExit(f"failed, and left out of the table: {', '.join(failed)}")


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = made.add_mutually_exclusive_group(required=True)
    data.add_argument("--sets", type=Path, help="folder of data sets: those with annotations/train.json")
    data.add_argument("--data", type=Path, nargs="+", help="data sets, COCO folders")
    made.add_argument("--recipe-of", type=Path, help="folder with <set>.yaml, our recipe for each set")
    made.add_argument("--recipe", type=Path, help="for the sets that have none in --recipe-of")
    made.add_argument("--set", action="append", default=[], help="section.key=value, for ours")
    made.add_argument("--weights", type=Path, required=True, help="of the backbone, for all detectors")
    made.add_argument("--model-garden", help="python with tf-models-official; left out if not given")
    made.add_argument("--keras-cv", help="python with keras-cv; left out if not given")
    made.add_argument("--minutes", type=float, required=True, help="of training steps at the measured speed")
    made.add_argument("--size", type=int, help="height and width of the peers' input; default: the area of ours")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--share", type=Share.read, default=WHOLE, help="1/2 and 2/2: two calls, each with half of them")
    made.add_argument("--split", choices=["val"], help="default: test where there is one")
    made.add_argument("--rounds", type=int, default=5, help="in which the steps are timed")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--only-measure", action="store_true", help="time the steps and stop")
    made.add_argument("--nice", type=int, default=0, help="lower the priority of the trainings by so much, up to 19")
    return made


def square_side(height: int, width: int) -> int:
    """Returns the side of the square with this area, to the nearest multiple of 32."""
    return max(32, 32 * round(math.sqrt(height * width) / 32))


def size_of_peers(one: DataSet, size: int | None) -> int:
    """Returns `size`, or the side of the square with the area of our input."""
    shape = one.resolved().model.input
    return size or square_side(shape.height, shape.width)


def kept_speeds(one: DataSet, arguments: argparse.Namespace, *, detectors: list[str]) -> dict[str, float]:
    """Returns images a second of each detector, after measuring all if no set of the same step has been measured."""
    path, size = arguments.out / "speeds.json", size_of_peers(one, arguments.size)
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    asked = {"step": step_of(one.resolved()), "size": size}
    known = (entry for entry in entries if {name: entry[name] for name in asked} == asked)
    found = next((entry for entry in known if entry["images_per_second"].keys() >= set(detectors)), None)
    if found is None:
        result = arguments.out / "speeds" / f"{one.name}.json"
        result.parent.mkdir(exist_ok=True)
        command = [sys.executable, str(WORKERS / "speed.py"), "--skip-wide", "--rounds", str(arguments.rounds)]
        command += ["--weights", str(arguments.weights), "--size", str(size), "--json", str(result)]
        command += ["--recipe", str(one.recipe), "--own-input", *overrides_of(one)]
        for option in ("model_garden", "keras_cv"):
            if getattr(arguments, option):
                command += [f"--{option.replace('_', '-')}", getattr(arguments, option)]
        subprocess.run(command, check=True, env=environment())
        rows = json.loads(result.read_text(encoding="utf-8"))["detectors"]
        rates = {name: rows[row]["images_per_second"] for name, row in ROWS.items() if row in rows}
        found = {"of": one.name, "images_per_second": rates, **asked}
        path.write_text(json.dumps([*entries, found], indent=1) + "\n", encoding="utf-8")
    return {name: rates[FASTEST] for name, rates in found["images_per_second"].items()}


def overrides_of(one: DataSet) -> list[str]:
    """Returns the changes of the recipe as words of our worker's command line."""
    return [word for override in one.common for word in ("--set", override)]


def work(
    arguments: argparse.Namespace,
    sets: list[DataSet],
    *,
    detectors: list[str],
    speeds: dict[str, dict[str, float]],
    locks: list[TextIO],
) -> list[str]:
    """Does what is not done of the queue and returns the trainings that failed."""
    failed = []
    for job in arguments.share.of(ordered_jobs(sets, detectors, seeds=arguments.seeds)):
        speed = speeds[job.of.name][job.setting]
        steps = steps_for(arguments.minutes, speed, batch_size=BATCH)
        has_test = (job.of.folder / "annotations" / "test.json").is_file()
        split = arguments.split or ("test" if has_test else "val")
        measure = measured_ours if job.setting == OURS else measured_peer
        found = measure(job, arguments, split=split, steps=steps, locks=locks)
        if found is None:
            failed.append(str(job.folder(arguments.out)))
            continue
        passes = round(steps * BATCH / images_of(job.of.folder), 2)
        aps = (float(found[name]) for name in ("AP", "AP50", "AP75"))
        result = Result(job.of.name, job.setting, job.seed, split, passes, steps, speed, *aps)
        add_result(arguments.out / "results.csv", result)
    return failed


def images_of(folder: Path) -> int:
    """Returns how many images the training split has."""
    return len(json.loads((folder / "annotations" / "train.json").read_text(encoding="utf-8"))["images"])


def measured_ours(
    job: Job, arguments: argparse.Namespace, *, split: str, steps: int, locks: list[TextIO]
) -> dict[str, Any] | None:
    """Trains a run folder with `keras-retina train` and returns its AP on the split, None if that failed.

    Raises:
        InputError: there is a finished training of another length.
    """
    folder = job.folder(arguments.out)
    weights = f"model.backbone.weights={arguments.weights.resolve()}"
    overrides = [*length_overrides(steps), *job.of.common, weights, f"seed={job.seed}"]
    if RunPaths(folder).metrics.exists():
        check_same(load_recipe(job.of.recipe, overrides), folder)
    elif not train(job, overrides, folder=folder, locks=locks):
        return None
    metrics = folder.with_name(f"{folder.name}.{split}.json")
    if not metrics.exists() and not evaluate(folder, split, json_file=metrics, locks=locks):
        return None
    found: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    return found


def measured_peer(
    job: Job, arguments: argparse.Namespace, *, split: str, steps: int, locks: list[TextIO]
) -> dict[str, Any] | None:
    """Trains and detects with the worker of a peer and returns the AP of what it found, None if that failed.

    Raises:
        InputError: it was trained for another length, or detected on another split, than is asked for now.
    """
    folder = job.folder(arguments.out)
    file, log = folder.with_name(f"{folder.name}.json"), folder.with_name(f"{folder.name}.log")
    command = worker_command(job, arguments, split=split, steps=steps, file=file)
    if not file.exists() and not succeeded(command, log=log, locks=locks, environment=environment_of_peers()):
        return None
    trained = json.loads(file.read_text(encoding="utf-8"))
    if (trained["split"], trained["steps"]) != (split, steps):
        raise InputError(
            f"{file}: expected a training of {steps} steps, and the split {split}. "
            f"Received: {trained['steps']} and {trained['split']}. Use another --out."
        )
    found: dict[str, Any] = coco_metrics(load_dataset(job.of.folder, split), trained["detections"])
    return found


def environment_of_peers() -> dict[str, str]:
    """Returns the environment without PYTHONPATH: the peers have packages of their own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def worker_command(job: Job, arguments: argparse.Namespace, *, split: str, steps: int, file: Path) -> list[str]:
    """Returns the command line of one training of a peer."""
    size = size_of_peers(job.of, arguments.size)
    common = ["--weights", str(arguments.weights), "--data", str(job.of.folder), "--split", split]
    common += ["--size", str(size), "--steps", str(steps), "--seed", str(job.seed), "--out", str(file)]
    if job.setting == "model_garden":
        return [arguments.model_garden, str(WORKERS / "model_garden.py"), "train", *common, "--fused-batch-norm"]
    return [arguments.keras_cv, str(WORKERS / "keras_cv_detector.py"), "train", *common]


if __name__ == "__main__":
    main()
