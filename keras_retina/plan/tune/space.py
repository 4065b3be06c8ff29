"""What `tune` searches: ranges and choices round the settings of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_retina.data.checks.fit_anchors import fit_anchors, input_boxes
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, closest
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.recipe.training import LOSS_SETTINGS

if TYPE_CHECKING:
    from optuna import Trial

RATE_FACTOR, WEIGHT_FACTOR = 4.0, 3.0
INPUT_FACTORS = (0.75, 1.0, 1.25)
USUAL_ANCHORS = {"size": 4.0, "scales": (1.0, 2 ** (1 / 3), 2 ** (2 / 3)), "ratios": (0.5, 1.0, 2.0)}
"""The paper's, section 4: 9 a cell, the smallest 4 strides large."""


@dataclass(frozen=True)
class Range:
    """A number between `low` and `high`, by ratio where `log` is set; `start` is the recipe's."""

    name: str
    section: tuple[str, ...]
    low: float
    high: float
    start: float
    log: bool = False

    def suggest(self, trial: Trial) -> float:
        """Asks the study for a value."""
        return self.read(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def read(self, value: float) -> float:
        """Returns what the study keeps with four digits; the recipe's own value stays as it is."""
        return self.start if math.isclose(value, self.start, rel_tol=1e-9) else float(f"{value:.4g}")

    def changed(self, recipe: Recipe, value: float) -> Recipe:
        """Returns the recipe with the value."""
        return _with(recipe, self.section, value)


@dataclass(frozen=True)
class Choice:
    """One of several named changes; `start` names the one that leaves the recipe as it is."""

    name: str
    changes: dict[str, Callable[[Recipe], Recipe]]
    start: str

    def suggest(self, trial: Trial) -> str:
        """Asks the study for a name."""
        return self.read(trial.suggest_categorical(self.name, list(self.changes)))

    def read(self, value: str) -> str:
        """Returns what the study keeps."""
        return str(value)

    def changed(self, recipe: Recipe, value: str) -> Recipe:
        """Returns the recipe with the change of that name."""
        return self.changes[value](recipe)


Parameter = Range | Choice


def search_space(recipe: Recipe, names: Iterable[str], *, train_set: Dataset) -> tuple[Parameter, ...]:
    """Returns what is searched, in the order in which the changes are made: anchors are fitted to the input.

    Args:
        names: of `SEARCHED`.
        train_set: its boxes fit the anchors.

    Raises:
        InputError: an unknown name, or a setting that the recipe's loss has not.
    """
    wanted = list(names)
    for name in wanted:
        if name not in SEARCHED:
            raise InputError(
                f"--search: one of {', '.join(SEARCHED)} was expected. Received: {name!r}. {closest(name, SEARCHED)}"
            )
    return tuple(make(recipe, train_set) for name, make in SEARCHED.items() if name in wanted)


def default_search(recipe: Recipe) -> tuple[str, ...]:
    """Returns what is searched when nobody says: all that costs a device nothing and that the recipe's loss has."""
    own = LOSS_SETTINGS[recipe.training.loss.classes]
    return tuple(name for name in SEARCHED if name != "input" and (name not in ("gamma", "alpha") or name in own))


def apply_values(recipe: Recipe, space: tuple[Parameter, ...], values: dict[str, Any]) -> Recipe:
    """Returns the recipe of a trial, given a value for each parameter."""
    for parameter in space:
        recipe = parameter.changed(recipe, values[parameter.name])
    return recipe


def start_values(space: tuple[Parameter, ...]) -> dict[str, Any]:
    """Returns the values that leave the recipe as it is."""
    return {parameter.name: parameter.start for parameter in space}


def _learning_rate(recipe: Recipe, train_set: Dataset) -> Range:
    rate = recipe.training.learning_rate
    section = ("training", "learning_rate")
    return Range("learning_rate", section, rate / RATE_FACTOR, rate * RATE_FACTOR, rate, log=True)


def _box_weight(recipe: Recipe, train_set: Dataset) -> Range:
    weight = recipe.training.loss.box_weight
    section = ("training", "loss", "box_weight")
    return Range("box_weight", section, weight / WEIGHT_FACTOR, weight * WEIGHT_FACTOR, weight, log=True)


def _gamma(recipe: Recipe, train_set: Dataset) -> Range:
    _check_loss(recipe, "gamma")
    gamma = recipe.training.loss.gamma
    least = 1.0 if recipe.training.loss.classes == "quality_focal" else 0.5
    return Range("gamma", ("training", "loss", "gamma"), min(least, gamma), max(4.0, gamma), gamma)


def _alpha(recipe: Recipe, train_set: Dataset) -> Range:
    _check_loss(recipe, "alpha")
    alpha = recipe.training.loss.alpha
    start = 0.5 if alpha is None else alpha  # none weighs both alike, as 0.5 does but for a factor
    return Range("alpha", ("training", "loss", "alpha"), min(0.1, start), max(0.75, start), start)


def _anchors(recipe: Recipe, train_set: Dataset) -> Choice:
    def fitted(recipe: Recipe) -> Recipe:
        anchors = fit_anchors(*input_boxes(train_set, recipe.model), recipe.model)
        return _with(recipe, ("model", "anchors"), anchors.model_dump())

    def usual(recipe: Recipe) -> Recipe:
        return _with(recipe, ("model", "anchors"), USUAL_ANCHORS)

    return Choice("anchors", {"as they are": lambda recipe: recipe, "fitted": fitted, "usual": usual}, "as they are")


def _input(recipe: Recipe, train_set: Dataset) -> Choice:
    size, stride = recipe.model.input, 2 ** recipe.model.pyramid.levels[1]

    def sized(height: int, width: int) -> Callable[[Recipe], Recipe]:
        changed = {**size.model_dump(), "height": height, "width": width}
        return lambda recipe: _with(recipe, ("model", "input"), changed)

    changes = {}
    for factor in INPUT_FACTORS:
        sides = [max(stride, round(factor * side / stride) * stride) for side in (size.height, size.width)]
        changes["{} x {}".format(*sides)] = sized(*sides)
    return Choice("input", changes, f"{size.height} x {size.width}")


SEARCHED: dict[str, Callable[[Recipe, Dataset], Parameter]] = {
    "input": _input,
    "anchors": _anchors,
    "learning_rate": _learning_rate,
    "gamma": _gamma,
    "alpha": _alpha,
    "box_weight": _box_weight,
}
"""What can be searched, in the order in which it changes a recipe."""


def _check_loss(recipe: Recipe, name: str) -> None:
    loss = recipe.training.loss.classes
    if name not in LOSS_SETTINGS[loss]:
        raise InputError(
            f"--search: {loss} has no {name}. Received: --search {name}. Leave it out, or set training.loss.classes."
        )


def _with(recipe: Recipe, section: tuple[str, ...], value: Any) -> Recipe:
    """Returns the recipe with one field or section changed, and validated."""
    fields = recipe.model_dump()
    place = fields
    for key in section[:-1]:
        place = place[key]
    place[section[-1]] = value
    return recipe_from_fields(fields, ".".join(section))
