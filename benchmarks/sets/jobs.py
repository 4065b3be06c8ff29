"""What is to be trained: data sets with their recipes, named settings, seeds, and the order of the queue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Recipe, load_recipe
from keras_retina.recipe.yaml_file import read_yaml

STEPS_BETWEEN_CHECKPOINTS = 100
SPLITS_OF_A_FOLDER = "data={train: train, validation: val}"

Settings = dict[str, list[str]]
"""name -> `section.key=value` each, over the recipe of a data set."""


@dataclass(frozen=True)
class DataSet:
    """A labelled folder and the recipe that every setting starts from.

    Attributes:
        folder: the data; the name of the set is that of the folder.
        recipe: a recipe file.
        common: `section.key=value` each, for every setting.
    """

    folder: Path
    recipe: Path
    common: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name

    def resolved(self, overrides: Iterable[str] = ()) -> Recipe:
        """Returns the recipe with these changes behind the common ones."""
        return load_recipe(self.recipe, [*self.common, *overrides])


@dataclass(frozen=True)
class Job:
    """One training: a setting on a data set with a seed."""

    of: DataSet
    setting: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Returns the run folder, OUT/<set>/<setting>-<seed>."""
        return out / self.of.name / f"{self.setting}-{self.seed}"


def ordered_jobs(sets: list[DataSet], settings: Iterable[str], *, seeds: Iterable[int]) -> Iterator[Job]:
    """Yields every training: one seed of all settings on all sets before the next seed, and so on one set after the
    other, so that an interrupted queue has compared all settings on the same sets.
    """
    names = list(settings)
    for seed in seeds:
        for one in sets:
            for name in names:
                yield Job(one, name, seed)


def read_settings(path: Path) -> Settings:
    """Reads named settings.

    Raises:
        InputError: a name that cannot be a part of a folder's name, or a setting that is not a list of texts.
    """
    found: dict[str, Any] = read_yaml(path)
    for name, overrides in found.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.]*", str(name)):
            raise InputError(f"{path}: expected names of letters, digits, _ and '.'. Received: {name!r}. Rename it.")
        if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
            raise InputError(
                f"{path}: expected a list of section.key=value. Received: {name}={overrides!r}. "
                "Quote an override that has brackets."
            )
    return found


def chosen(settings: Settings, names: list[str], *, base: str) -> Settings:
    """Returns the named settings, all if none is named, the base first in any case.

    Raises:
        InputError: a name that is not there.
    """
    for name in (base, *names):
        if name not in settings:
            raise InputError(f"expected a named setting. Received: {name!r}. Use {', '.join(settings)}.")
    return {name: settings[name] for name in dict.fromkeys([base, *(names or settings)])}


def find_sets(
    folders: list[Path], *, recipes: Path | None, default: Path | None, common: Iterable[str] = ()
) -> list[DataSet]:
    """Returns the data sets with their recipes: RECIPES/<set>.yaml where it is there, else the default.

    A recipe of the set's own says which splits there are. The default one is read with the splits train and val.

    Raises:
        InputError: no set, two of one name, or one without a recipe.
    """
    sets = []
    for folder in folders:
        own = recipes / f"{folder.resolve().name}.yaml" if recipes else None
        if own is not None and own.is_file():
            sets.append(DataSet(folder, own, tuple(common)))
        elif default is not None:
            sets.append(DataSet(folder, default, (SPLITS_OF_A_FOLDER, *common)))
        else:
            raise InputError(f"{folder}: expected a recipe. Received: {own}, which is not there. Pass --recipe too.")
    names = [one.name for one in sets]
    if not names or len(set(names)) < len(names):
        raise InputError(f"expected data sets, each name once. Received: {', '.join(names) or 'none'}. Pass --data.")
    return sets


def folders_with_training_labels(parent: Path) -> list[Path]:
    """Returns the folders in `parent` that have annotations/train.json, by name."""
    return [path.parents[1] for path in sorted(parent.glob("*/annotations/train.json"))]


def length_overrides(steps: int) -> list[str]:
    """Returns what makes a training exactly so long, whatever the recipe says, or nearly where epochs do not divide it.

    An epoch here is not a pass over the data but the distance of two checkpoints. AP is measured once, at the end, with
    the final weights.
    """
    epochs = max(1, round(steps / STEPS_BETWEEN_CHECKPOINTS))
    length = [f"training.epochs={epochs}", f"training.steps_per_epoch={max(1, round(steps / epochs))}"]
    whole = ["training.minutes=null", "training.early_stop=null"]
    return [*length, *whole, f"training.evaluate_every={epochs}", "training.checkpoint=last"]
