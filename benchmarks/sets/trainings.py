"""One training of a queue as a user starts it: `keras-retina train` and `evaluate`, each a child process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from jobs import Job
from work import environment, succeeded

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe, load_recipe

NOT_TRAINED = {"expected", "published", "compress"}  # sections of a recipe


def train(job: Job, overrides: list[str], *, folder: Path, locks: list[TextIO]) -> bool:
    """Trains, or continues, through `keras-retina train`, and tells whether it is finished."""
    command = [sys.executable, "-m", "keras_retina", "train", str(job.of.recipe), "--data", str(job.of.folder)]
    command += ["--out", str(folder), *(word for override in overrides for word in ("--set", override))]
    return succeeded(command, log=folder.with_name(f"{folder.name}.log"), locks=locks, environment=environment())


def evaluate(folder: Path, split: str, *, json_file: Path, locks: list[TextIO]) -> bool:
    """Measures a finished training on another split, and tells whether that worked."""
    command = [sys.executable, "-m", "keras_retina", "evaluate", str(folder), "--split", split]
    command += ["--json", str(json_file)]
    return succeeded(command, log=folder.with_name(f"{folder.name}.log"), locks=locks, environment=environment())


def check_same(recipe: Recipe, folder: Path) -> None:
    """Raises InputError where a finished training had other settings than the ones that are asked for now."""
    there = load_recipe(RunPaths(folder).recipe_file)
    if there.model_dump(exclude=NOT_TRAINED) != recipe.model_dump(exclude=NOT_TRAINED):
        raise InputError(
            f"{folder}: expected a training with the recipe and the length that are asked for. Received: one with "
            "others. Use another --out."
        )
