"""Named settings trained for the same time on many data sets with several seeds, and judged over all sets together.

    python benchmarks/sets/compare.py rate_double giou --sets ../shared/data --recipe-of RECIPES --minutes 4 --out OUT

The settings are in settings.yaml. Every set has a recipe of its own, RECIPES/<set>.yaml, or the one of `--recipe`.
First the training steps of all settings and recipes are timed in turns; this wants a quiet machine, and its result is
kept in OUT/speeds.json. Then each training has the steps that `--minutes` give at its speed, however long they take, so
the trainings may share the machine. Each is a folder OUT/<set>/<setting>-<seed>, and OUT/results.csv has a line for it.

The same command goes on after an interruption: finished trainings stay, an interrupted one continues. Use another
`--out` for other recipes, `--set` or `--minutes`. Only validation splits are looked at, unless `--split test` measures
what is trained on the test splits in the end.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import cache
from pathlib import Path
from typing import TextIO

from jobs import (
    DataSet,
    Job,
    Settings,
    chosen,
    find_sets,
    folders_with_training_labels,
    length_overrides,
    ordered_jobs,
    read_settings,
)
from results import Result, add_result, read_results
from show import BASE, tables
from speeds import kept_speeds, steps_for
from trainings import check_same, evaluate, train
from work import WHOLE, Share, alone_in

from keras_retina.data.reading.folder import available_splits, load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe, load_recipe

SETTINGS_FILE = Path(__file__).parent / "settings.yaml"


def main() -> None:
    arguments = parser().parse_args()
    try:
        settings = chosen(read_settings(arguments.settings), arguments.names, base=arguments.base)
        sets = find_sets(
            arguments.data or folders_with_training_labels(arguments.sets),
            recipes=arguments.recipe_of,
            default=arguments.recipe,
            common=arguments.set,
        )
        recipes = {f"{one.name}/{name}": one.resolved(changes) for one in sets for name, changes in settings.items()}
        with alone_in(arguments.out, arguments.share) as locks:
            speeds = kept_speeds(recipes, arguments.out / "speeds.json") if arguments.steps is None else {}
            if arguments.only_measure:
                return
            os.nice(arguments.nice)
            steps = {
                name: arguments.steps
                or steps_for(arguments.minutes, speeds[name], batch_size=recipe.training.batch_size)
                for name, recipe in recipes.items()
            }
            failed = work(arguments, sets, settings=settings, steps=steps, speeds=speeds, locks=locks)
    except InputError as error:
        raise SystemExit(str(error)) from error
    names = {one.name for one in sets}
    results = read_results(results_file(arguments.out, arguments.split))
    print(tables([one for one in results if one.set in names and one.setting in settings], base=arguments.base))
    if failed:
        raise SystemExit(f"failed, and left out of the table: {', '.join(failed)}")


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("names", nargs="*", help="settings to compare with the base; all when none is given")
    made.add_argument("--settings", type=Path, default=SETTINGS_FILE, help="YAML file of named settings")
    made.add_argument("--base", default=BASE, help="the setting that the others are compared with")
    data = made.add_mutually_exclusive_group(required=True)
    data.add_argument("--sets", type=Path, help="folder of data sets: those with annotations/train.json")
    data.add_argument("--data", type=Path, nargs="+", help="data sets, in any layout that keras-retina reads")
    made.add_argument("--recipe-of", type=Path, help="folder with <set>.yaml, the recipe of each set")
    made.add_argument("--recipe", type=Path, help="for the sets that have none in --recipe-of")
    made.add_argument("--set", action="append", default=[], help="section.key=value for all, such as the input size")
    length = made.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="of training steps at the measured speed")
    length.add_argument("--steps", type=int, help="the same for all settings; nothing is timed")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--only-measure", action="store_true", help="time the steps and stop")
    made.add_argument("--nice", type=int, default=0, help="lower the priority of the trainings by so much, up to 19")
    made.add_argument("--share", type=Share.read, default=WHOLE, help="1/2 and 2/2: two calls, each with half of them")
    made.add_argument("--split", choices=["val", "test"], default="val", help="test: for the last measurement")
    return made


def work(
    arguments: argparse.Namespace,
    sets: list[DataSet],
    *,
    settings: Settings,
    steps: dict[str, int],
    speeds: dict[str, float],
    locks: list[TextIO],
) -> list[str]:
    """Does what is not done of the queue and returns the folders of trainings that failed."""
    out, failed = arguments.out, []
    for job in arguments.share.of(ordered_jobs(sets, settings, seeds=arguments.seeds)):
        name, folder = f"{job.of.name}/{job.setting}", job.folder(out)
        overrides = [*length_overrides(steps[name]), *job.of.common, *settings[job.setting], f"seed={job.seed}"]
        recipe = load_recipe(job.of.recipe, overrides)
        done = RunPaths(folder).metrics.exists()
        if done:
            check_same(recipe, folder)
        elif not train(job, overrides, folder=folder, locks=locks):
            failed.append(str(folder))
            continue
        metrics = RunPaths(folder).metrics
        if arguments.split == "test":
            split = recipe.data.test or "test"
            if split not in available_splits(job.of.folder, recipe.data.format):
                continue
            metrics = folder.with_name(f"{folder.name}.test.json")
            if not metrics.exists() and not evaluate(folder, split, json_file=metrics, locks=locks):
                failed.append(f"{folder} on {split}")
                continue
        add_result(
            results_file(out, arguments.split),
            result_of(job, recipe, metrics=metrics, speed=speeds.get(name), split=arguments.split),
        )
    return failed


def result_of(job: Job, recipe: Recipe, *, metrics: Path, speed: float | None, split: str) -> Result:
    """Returns the line of one finished training.

    Raises:
        InputError: the split has no object, and so no AP.
    """
    found = json.loads(metrics.read_text(encoding="utf-8"))
    if found["AP"] is None:
        raise InputError(f"{job.of.folder}: expected objects in the split {split}. Received: none. Leave the set out.")
    steps = recipe.training.epochs * (recipe.training.steps_per_epoch or 0)
    images = number_of_images(job.of.folder, recipe.data.train, recipe.data.format)
    passes = round(steps * recipe.training.batch_size / images, 2)
    aps = (found[name] for name in ("AP", "AP50", "AP75"))
    return Result(job.of.name, job.setting, job.seed, split, passes, steps, speed, *aps)


@cache
def number_of_images(folder: Path, split: str, format: str) -> int:
    """Returns how many images a split has."""
    return len(load_dataset(folder, split, format=format).records)


def results_file(out: Path, split: str) -> Path:
    """Returns where the results on this split are."""
    return out / ("results.csv" if split == "val" else f"results_{split}.csv")


if __name__ == "__main__":
    main()
