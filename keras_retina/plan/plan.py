"""From a data folder and wishes to a recipe that says of every choice why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_retina.data.checks.fit_anchors import best_ious, fit_anchors, input_boxes
from keras_retina.data.reading.archive import without_suffix
from keras_retina.data.reading.folder import describe_folder, load_split, made_splits, open_folder
from keras_retina.data.records import Dataset, require_boxes, require_other_images
from keras_retina.foundation.files.places import address
from keras_retina.plan.budget import Timing, measured_pace
from keras_retina.plan.data.facts import DataFacts, data_facts, facts_lines
from keras_retina.plan.data.splits import choose_splits, data_choice
from keras_retina.plan.files import edge_tpu_choice, files_choice, gate_choice, smaller_choice
from keras_retina.plan.fitting import LatencyOf, Network, first_network, network_of_latency, network_of_minutes
from keras_retina.plan.learning import (
    augmentation_choices,
    epochs_for,
    flip_choice,
    steps_per_epoch,
    training_choices,
    vertical_flip_choice,
)
from keras_retina.plan.network import anchors_choice
from keras_retina.plan.wishes import Choice, Wishes
from keras_retina.plan.write import commented_yaml, overruled, plan_lines, recipe_fields
from keras_retina.recipe.data import Data
from keras_retina.recipe.export import Export
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.recipe.yaml_file import apply_override, parse_yaml

if TYPE_CHECKING:  # loads TensorFlow, which a plan without a time does not need
    from keras_retina.train.duration import Pace

PaceOf = Callable[[Recipe, Dataset, Dataset], "Pace"]
"""A recipe, its training split and its validation split -> how fast it trains here."""

MappedOf = Callable[[Model, int, Export], tuple[int, int]]
"""Network, number of classes and settings of a raw int8 file -> operators on the Edge TPU, and all of them."""

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
        facts = asdict(self.facts)
        if not np.isfinite(self.facts.class_spread):
            facts["class_spread"] = None  # unknown; JSON has no infinity
        choices = [{"place": one.place, "value": one.value, "why": one.why} for one in self.choices]
        return {"recipe": self.recipe.model_dump(mode="json"), "facts": facts, "choices": choices}


def plan_recipe(
    data_dir: Path,
    wishes: Wishes,
    *,
    overrides: Sequence[str] = (),
    command: str = "",
    latency_of: LatencyOf | None = None,
    mapped_of: MappedOf | None = None,
    pace_of: PaceOf = measured_pace,
) -> Plan:
    """Plans a recipe for a data folder.

    Args:
        overrides: `section.key=value` of the person, which win; those of the section `data` are used while planning.
        command: what was typed, for the head of the file.
        latency_of: times the file of an untrained network; needed for a wish of a latency.
        mapped_of: predicts what the Edge TPU runs; used for the target `coral`.
        pace_of: times the training of a recipe; used for a wish of a time.

    Raises:
        InputError: no split to train on or to choose by, no labelled object, or an override that is wrong.
    """
    data = _given_data(overrides)
    folder = open_folder(data_dir, data)
    data = choose_splits(data_dir, folder.splits, given=data)
    folder = replace(folder, settings=data)
    folder = replace(folder, lists=made_splits(folder))
    sets = [load_split(folder, split) for split in (data.train, data.validation, data.test or data.validation)]
    for dataset in sets:
        require_boxes(dataset)
    if "validation" not in _given_data(overrides).model_fields_set:
        require_other_images(sets[0], sets[1])
    read_as = describe_folder(folder, {dataset.split: len(dataset.records) for dataset in sets})
    facts = data_facts(sets[0])
    name = recipe_name(data_dir)
    network = first_network(facts, wishes)
    if wishes.latency is not None:
        network = network_of_latency(network, facts, wishes=wishes, latency_of=latency_of)

    def recipe_of(network: Network) -> Recipe:
        fields = recipe_fields(name, wishes.seed, choices=[data_choice(data), *network.choices(facts)])
        return recipe_from_fields(fields, "the planned recipe")

    timing = None
    if wishes.minutes is not None:
        network, timing = network_of_minutes(
            network, facts, wishes=wishes, pace_of=lambda one: pace_of(recipe_of(one), sets[0], sets[1])
        )
    choices = [data_choice(data), *network.choices(facts), _anchors(sets[0], network), *network.notes]
    choices += _learning_choices(facts, wishes, network=network, timing=timing)
    if wishes.target == "coral" and mapped_of is not None:
        choices.append(edge_tpu_choice(*mapped_of(network.model, len(facts.class_counts), Export(mediapipe_raw=False))))
    objects = sum(int(np.count_nonzero(~record.crowd)) for record in sets[2].records)
    choices += [files_choice(wishes), gate_choice(objects, wishes, split=sets[2].split)]
    head = [
        f"Planned by: {command}" if command else "Planned by keras_retina.",
        f"{WISHES}: {wishes}",
        f"read as {read_as}",
        *facts_lines(facts, sets[0].name, split=sets[0].split),
        *(f"{note.title}: {note.shown}. {note.why}" for note in network.notes),
        "Change what you know better. `keras-retina run` and every other verb take this file as it is.",
    ]
    told = overruled(choices, overrides)
    text = commented_yaml(recipe_fields(name, wishes.seed, choices=choices, overrides=overrides), told, head=head)
    recipe = recipe_from_fields(parse_yaml(text, "the planned recipe"), "the planned recipe")
    return Plan(recipe, text, (f"data            {read_as}", *plan_lines(told)), facts, tuple(told))


def _learning_choices(facts: DataFacts, wishes: Wishes, *, network: Network, timing: Timing | None) -> list[Choice]:
    epochs = epochs_for(facts.images, objective=wishes.objective)
    if timing is not None:
        epochs = max(1, timing.updates // (timing.steps or steps_per_epoch(facts.images)))
    return [
        flip_choice(facts),
        vertical_flip_choice(),
        *augmentation_choices(facts, facts.sides[1] * network.candidate.size.side),
        *training_choices(facts, wishes, timing),
        smaller_choice(wishes, epochs=epochs, frozen=network.frozen, timing=timing),
    ]


def recipe_name(data_dir: Path) -> str:
    """Returns a name for the recipe from that of the data folder: letters, digits, `_`, `.` and `-`."""
    last = address(data_dir).rstrip("/").rpartition("/")[2] if str(data_dir) != "." else Path.cwd().name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", without_suffix(last)).strip("_.-")[:LONGEST_NAME]
    return name or "planned"


def wishes_in(text: str) -> str:
    """Returns the wishes that a planned recipe was made for, as `str(Wishes)` writes them, or `none`."""
    found = re.search(rf"^# {WISHES}: (.*)$", text, re.MULTILINE)
    return found[1] if found else "none"


def _given_data(overrides: Sequence[str]) -> Data:
    """Returns the section `data` as the person set it."""
    fields: dict = {}
    for override in overrides:
        if override.strip().startswith("data."):
            apply_override(fields, override)
    return Data(**fields.get("data", {}))


def _anchors(train_set: Dataset, network: Network) -> Choice:
    model = network.model
    boxes, classes = input_boxes(train_set, model)
    fitted = fit_anchors(boxes, classes, model)
    before, after = (
        float(np.mean(best_ious(boxes, one))) for one in (model, model.model_copy(update={"anchors": fitted}))
    )
    return anchors_choice(fitted, before=before, after=after)
