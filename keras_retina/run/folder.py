"""One experiment in one run folder: making one, opening one, and reading its data."""

from __future__ import annotations

import csv
import logging
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import address, real_path
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.foundation.files.writing import is_unfinished, require_utf8, write_file, write_json
from keras_retina.foundation.json_values import parse_json
from keras_retina.foundation.machine import machine_name, package_version
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Recipe, dump_recipe, load_recipe
from keras_retina.train.workers.cluster import find_cluster, writes_files

if TYPE_CHECKING:
    from keras_retina.data.reading.folder import DataFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder(RunPaths):
    """An open run: where everything of it is, what it does, and on which data."""

    recipe: Recipe
    data_dir: Path


def start_run(path: Path, recipe: Recipe, *, data_dir: Path, command: str, overwrite: bool) -> RunFolder:
    """Makes a run folder, or opens the one of the same recipe and data so that its work goes on.

    A run that ended before it trained, over a mistyped `--data` for instance, does not keep the folder. A worker that
    is not the chief of its cluster writes nothing: the chief does.

    Raises:
        InputError: the folder holds another run or other files, and `overwrite` was not given; or it was, for the
            workers of a cluster.
    """
    path = Path(path)
    if overwrite and find_cluster() is not None:
        raise InputError(
            "--overwrite: expected a training in one process. Received: several workers, of which one could still take "
            f"up the old run, and of which each new start would delete the training again. Delete {path} first."
        )
    if not writes_files():
        return RunFolder(path, recipe, Path(data_dir))
    refuse_other_files(path, overwrite=overwrite)
    refuse_data_inside(path, Path(data_dir))
    require_utf8(path, "--out")
    if overwrite or _has_only_begun(path):
        _remove_run(path)
    elif _members(path):
        _refuse_another_run(path, recipe, data_dir=data_dir)
    path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path, recipe, Path(data_dir))
    is_new = not run.recipe_file.exists()
    write_file(run.recipe_file, dump_recipe(recipe).encode())
    if is_new:
        facts = {
            "data": address(Path(data_dir)),
            "command": command,
            "keras_retina": package_version(),
            "python": platform.python_version(),
            "machine": machine_name(),
        }
        write_json(run.facts, facts)
    return run


def refuse_other_files(path: Path, *, overwrite: bool) -> None:
    """Refuses a place where no run can be: a file, or a folder of other things, unless it shall be overwritten."""
    if path.is_file():
        raise InputError(f"--out: expected a folder. Received: {path}, a file. Choose another name.")
    if not overwrite and _members(path) and not RunPaths(path).recipe_file.is_file():
        raise InputError(
            f"--out: expected a new folder or a run of this recipe. Received: {path}, which holds other files. "
            "Choose another folder."
        )


def refuse_data_inside(path: Path, data_dir: Path) -> None:
    """Refuses the data folder as a run folder, and one around it: a run overwritten there would take `train/` along."""
    if path.is_dir() and data_dir.is_dir() and real_path(data_dir).is_relative_to(real_path(path)):
        within = any(real_path(data_dir).is_relative_to(real_path(own)) for own in RunPaths(path).members)
        if within or real_path(data_dir) == real_path(path):
            raise InputError(
                f"--out: expected another folder than that of the data. Received: {path}, with the data {data_dir}. "
                "Choose another folder."
            )


def open_run(path: Path, data_dir: Path | None = None) -> RunFolder:
    """Opens a run folder that exists; the data is where it was unless `data_dir` says otherwise.

    Raises:
        InputError: it is not a run folder.
    """
    path = Path(path)
    recipe_file = RunPaths(path).recipe_file
    if not recipe_file.is_file():
        received = "a folder without it" if path.is_dir() else "no such folder"
        advice = "Make one with `keras-retina run`"
        if RunPaths(path.parent).recipe_file.is_file():
            advice = f"The run folder is {path.parent}"
        raise InputError(f"{path}: expected a run folder, with recipe.yaml inside. Received: {received}. {advice}.")
    recipe = load_recipe(recipe_file)
    return RunFolder(path, recipe, Path(data_dir) if data_dir else Path(run_facts(path)["data"]))


def run_facts(path: Path) -> dict[str, Any]:
    """Reads `run.json`: the data folder, the command and the machine of the run."""
    file = RunPaths(path).facts
    try:
        facts = parse_json(read_bytes(file).decode())
        if not isinstance(facts, dict) or not isinstance(facts.get("data"), str):
            raise ValueError("no data folder in it")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected the facts of the run as JSON. Received: {error}. Pass --data.") from error
    return facts


def verification_split(recipe: Recipe) -> str:
    """Returns the name of the split that `verify` reports: the test split if the recipe names one."""
    wanted = recipe.verification.split or ("test" if recipe.data.test else "validation")
    if wanted != "test":
        return recipe.data.validation
    if recipe.data.test is None:
        raise InputError("verification.split: 'test' needs data.test. Received: data.test=None. Name the split.")
    return recipe.data.test


def used_splits(recipe: Recipe) -> list[str]:
    """Returns the splits that a run reads: for training, for validation, and the one that is measured in the end."""
    return list(dict.fromkeys((recipe.data.train, recipe.data.validation, verification_split(recipe))))


def open_data(run: RunFolder) -> DataFolder:
    """Opens the data of a run, with the splits that were made for it."""
    from keras_retina.data.reading.folder import open_folder
    from keras_retina.data.reading.split_lists import read_lists

    folder = open_folder(run.data_dir, run.recipe.data)
    return replace(folder, lists=read_lists(run.splits)) if run.splits.exists() else folder


def read_split(run: RunFolder, split: str) -> Dataset:
    """Reads a split of the data of a run."""
    from keras_retina.data.reading.folder import load_split as load

    return load(open_data(run), split)


def load_split(run: RunFolder, split: str) -> Dataset:
    """Reads a split and reports what was repaired while reading."""
    return load_splits(open_data(run), [split])[0]


def load_splits(folder: DataFolder, splits: Iterable[str]) -> list[Dataset]:
    """Reads splits of one folder, which is looked at once, and reports what was repaired while reading."""
    from keras_retina.data.reading.folder import load_split as load

    datasets = []
    for split in splits:
        dataset = load(folder, split)
        empty = sum(not len(record.boxes) for record in dataset.records)
        repaired = ", ".join(f"{kind} {count}" for kind, count in sorted(dataset.problem_counts().items()))
        logger.info(
            f"{split}: {len(dataset.records)} images ({empty} without objects), "
            f"{sum(len(record.boxes) for record in dataset.records)} boxes; repaired: {repaired or 'nothing'}"
        )
        datasets.append(dataset)
    return datasets


def training_minutes(run: RunPaths) -> float:
    """Returns the minutes spent in epochs, evaluation included, from `train/history.csv`."""
    with run.history.open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 60.0


def _has_only_begun(path: Path) -> bool:
    members, run = _members(path), RunPaths(path)
    return {run.recipe_file} <= members <= {run.recipe_file, run.plan, run.facts}


def _members(path: Path) -> set[Path]:
    """Returns what is in a folder, but for what a process that was killed had only half written."""
    return {member for member in path.iterdir() if not is_unfinished(member)} if path.is_dir() else set()


def _refuse_another_run(path: Path, recipe: Recipe, *, data_dir: Path) -> None:
    there = load_recipe(RunPaths(path).recipe_file)
    # Smaller models may be added later; each of them keeps the settings that it was made with. Healing goes on from
    # what it did before. A training goes on on other devices, and when checkpoints are written changes nothing else.
    known: dict[str, Any] = {"expected": True, "published": True, "compress": True, "export": {"heal", "integer_only"}}
    known["training"] = {"strategy", "worker_timeout", "checkpoint_steps", "checkpoint_minutes"}
    if there.model_dump(exclude=known) != recipe.model_dump(exclude=known):
        raise InputError(
            f"--out: {path} holds a run of another recipe. Received: name={there.name!r} with other settings. "
            "Choose another folder, or pass --overwrite to delete that run."
        )
    data_there = Path(run_facts(path)["data"])
    if real_path(data_there) != real_path(Path(data_dir)):
        raise InputError(
            f"--out: {path} holds a run on other data. Received: data={data_there}. "
            "Choose another folder, or pass --overwrite to delete that run."
        )


def _remove_run(path: Path) -> None:
    """Deletes what a run writes, and nothing else that may be in the folder; the recipe, which tells a run, last."""
    for target in reversed(RunPaths(path).members):
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
