"""From a data folder and wishes to a recipe that says of every choice why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.checks.fit_anchors import best_ious, fit_anchors, input_boxes
from keras_retina.data.folder import available_splits, load_dataset
from keras_retina.data.records import Dataset
from keras_retina.foundation.files import address
from keras_retina.plan.facts import DataFacts, data_facts, facts_lines
from keras_retina.plan.files import files_choice, gate_choice, smaller_choice
from keras_retina.plan.learning import (
    augmentation_choices,
    epochs_for,
    flip_choice,
    training_choices,
    vertical_flip_choice,
)
from keras_retina.plan.network import (
    anchors_choice,
    backbone_choice,
    frozen_stages,
    head_choice,
    input_and_levels,
    input_choice,
    network,
    pyramid_choice,
)
from keras_retina.plan.splits import choose_splits, data_choice
from keras_retina.plan.wishes import Choice, Wishes
from keras_retina.plan.write import commented_yaml, plan_lines, recipe_fields
from keras_retina.recipe.data import Data
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.recipe.yaml_file import apply_override, parse_yaml

WIDTH, CONVOLUTIONS = 96, 3  # of pyramid and heads: bccd.yaml, raccoon.yaml, edgetpu_bccd.yaml
LONGEST_NAME = 64
WISHES = "Wishes"


@dataclass(frozen=True)
class Plan:
    """A planned recipe.

    Attributes:
        recipe: what every verb takes.
        text: the same as commented YAML.
        lines: the choices for the screen, one line each.
        facts: what was measured on the training split.
        choices: every choice with its reason.
    """

    recipe: Recipe
    text: str
    lines: tuple[str, ...]
    facts: DataFacts
    choices: tuple[Choice, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the recipe, the facts and the reason for each choice as JSON can hold them."""
        choices = [{"place": one.place, "value": one.value, "why": one.why} for one in self.choices]
        return {"recipe": self.recipe.model_dump(mode="json"), "facts": asdict(self.facts), "choices": choices}


def plan_recipe(data_dir: Path, wishes: Wishes, *, overrides: Sequence[str] = (), command: str = "") -> Plan:
    """Plans a recipe for a data folder.

    Args:
        overrides: `section.key=value` of the person, which win; those of the section `data` are used while planning.
        command: what was typed, for the head of the file.

    Raises:
        InputError: no split to train on or to choose by, no labelled object, or an override that is wrong.
    """
    data = _given_data(overrides)
    data = choose_splits(data_dir, available_splits(data_dir, data.format), given=data)
    train_set = load_dataset(data_dir, data.train, format=data.format, classes=data.classes)
    measured = load_dataset(data_dir, data.test or data.validation, format=data.format, classes=data.classes)
    facts = data_facts(train_set)
    choices = [data_choice(data), *_network_choices(train_set, facts, wishes=wishes)]
    side = _chosen_side(choices)
    choices += [flip_choice(facts), vertical_flip_choice(), *augmentation_choices(facts, facts.sides[1] * side)]
    choices += training_choices(facts, wishes, minutes=wishes.minutes, estimated=None)
    frozen = next(choice.value["frozen_stages"] for choice in choices if choice.place == "model.backbone")
    epochs = epochs_for(facts.images, objective=wishes.objective)
    choices.append(smaller_choice(wishes, epochs=epochs, frozen=frozen))
    objects = sum(int(np.count_nonzero(~record.crowd)) for record in measured.records)
    choices += [files_choice(wishes), gate_choice(objects, wishes, split=measured.split)]
    fields = recipe_fields(recipe_name(data_dir), wishes.seed, choices=choices, overrides=overrides)
    head = [
        f"Planned by: {command}" if command else "Planned by keras_retina.",
        f"{WISHES}: {wishes}",
        *facts_lines(facts, train_set.name, split=train_set.split),
        "Change what you know better. `keras-retina run` and every other verb take this file as it is.",
    ]
    text = commented_yaml(fields, choices, head=head)
    recipe = recipe_from_fields(parse_yaml(text, "the planned recipe"), "the planned recipe")
    return Plan(recipe, text, tuple(plan_lines(choices)), facts, tuple(choices))


def recipe_name(data_dir: Path) -> str:
    """Returns a name for the recipe from that of the data folder: letters, digits, `_`, `.` and `-`."""
    last = address(data_dir).rstrip("/").rpartition("/")[2] if str(data_dir) != "." else Path.cwd().name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", last).strip("_.-")[:LONGEST_NAME]
    return name or "planned"


def wishes_in(text: str) -> str:
    """Returns the wishes that a planned recipe was made for, as `str(Wishes)` writes them; `none` if it does not say."""
    found = re.search(rf"^# {WISHES}: (.*)$", text, re.MULTILINE)
    return found[1] if found else "none"


def _given_data(overrides: Sequence[str]) -> Data:
    """Returns the section `data` as the person set it."""
    fields: dict = {}
    for override in overrides:
        if override.strip().startswith("data."):
            apply_override(fields, override)
    return Data(**fields.get("data", {}))


def _network_choices(train_set: Dataset, facts: DataFacts, *, wishes: Wishes) -> list[Choice]:
    size, levels, reasons = input_and_levels(facts, wishes)
    frozen, why_frozen = frozen_stages(facts, wishes)
    model = network(size, levels, alpha=1.0, frozen=frozen, width=WIDTH, convolutions=CONVOLUTIONS)
    return [
        backbone_choice(facts, alpha=1.0, frozen=frozen, why_frozen=why_frozen),
        input_choice(size, reasons),
        pyramid_choice(facts, size, levels, width=WIDTH),
        head_choice(width=WIDTH, convolutions=CONVOLUTIONS),
        _fitted(train_set, model),
    ]


def _fitted(train_set: Dataset, model: Model) -> Choice:
    boxes, classes = input_boxes(train_set, model)
    fitted = fit_anchors(boxes, classes, model)
    before, after = (
        float(np.mean(best_ious(boxes, one))) for one in (model, model.model_copy(update={"anchors": fitted}))
    )
    return anchors_choice(fitted, before=before, after=after)


def _chosen_side(choices: Sequence[Choice]) -> float:
    size = next(choice.value for choice in choices if choice.place == "model.input")
    return float(np.sqrt(size["height"] * size["width"]))
