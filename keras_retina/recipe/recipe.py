"""One experiment, typed and validated: the only configuration there is.

A recipe is a YAML file with the sections below. Unknown keys are errors that name the closest valid one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.compress import CompressedModel, CompressedModels, FineTune, check_parents
from keras_retina.recipe.data import Augmentation, Data
from keras_retina.recipe.export import Export, Verification
from keras_retina.recipe.model import Model
from keras_retina.recipe.section import Count, Positive, Section, Seed, explain
from keras_retina.recipe.size import MOST_BATCH_BYTES, anchor_count, batch_bytes, gibibytes
from keras_retina.recipe.training import EarlyStop, Loss, Matching, Training
from keras_retina.recipe.yaml_file import apply_override, dump_yaml, read_yaml

# Read from here by everyone else.
__all__ = ["CompressedModel", "EarlyStop", "Export", "FineTune", "Loss", "Matching", "Training", "Verification"]


Percent = Annotated[float, Field(ge=0, le=100)]


class Expected(Section):
    """What this recipe gave when it was run: AP in percent by row of `verify.json`, and where.

    `ap` and `ap50` are means of `runs` runs with these `seeds`, on processors with these vector instructions
    (`kernels`); `ap_range` has the lowest and the highest AP. One more run should be within `tolerance_ap` of `ap`.
    `images` and `classes` tell the data: figures of other data are not compared with it.
    """

    command: str
    machine: str
    date: str
    split: str
    images: Count | None = None
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    training_minutes: Positive
    runs: Count = 1
    seeds: Annotated[tuple[int, ...], Field(strict=False)] = ()
    kernels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    tolerance_ap: Positive
    ap: dict[str, Percent]
    ap50: dict[str, Percent]
    ap_range: dict[str, Annotated[tuple[Percent, Percent], Field(strict=False)]] = {}


class Published(Section):
    """A result printed by somebody else for this model; not ours. `milliseconds` are those of an image on `device`."""

    source: str
    ap: Percent
    ap50: Percent | None = None
    split: str
    milliseconds: Positive | None = None
    device: str | None = None


class Recipe(Section):
    """One experiment: what a YAML file in `recipes/` holds. `load_recipe` reads it.

    Attributes:
        name: letters, digits, `_`, `.` and `-`; files are named after it.
        seed: of weights, order and augmentation.
        model: the network, see `Model`.
        data: splits, classes and format of the labelled folder.
        augmentation: random changes of training images, see `Augmentation`.
        training: epochs, batches, optimiser, losses, and which anchors learn a box.
        compress: smaller models that are made of the trained one, by name.
        export: formats and heads of the files.
        verification: how far the AP of a file may fall below that of its float model.
        expected: what the recipe gave when it was run, and where.
        published: what somebody else printed for this model.

    Raises:
        InputError: one line that names every wrong field, the value received and the closest valid choice.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seed: Seed = 0
    model: Model = Model()
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    compress: CompressedModels = {}
    export: Export = Export()
    verification: Verification = Verification()
    expected: Expected | None = None
    published: Published | None = None

    @field_validator("compress")
    @classmethod
    def _parents_come_first(cls, models: CompressedModels) -> CompressedModels:
        check_parents(models)
        return models

    @model_validator(mode="after")
    def _batch_fits(self) -> Recipe:
        batch, needed = self.training.batch_size, bytes_of_batch(self)
        if needed > MOST_BATCH_BYTES:
            raise ValueError(
                f"training.batch_size: expected batches of at most {gibibytes(MOST_BATCH_BYTES)}. Received: batch_size="
                f"{batch}, which takes {gibibytes(needed)}. Use a smaller one, and accumulate_steps"
            )
        return self

    @model_validator(mode="after")
    def _kept_features_are_frozen(self) -> Recipe:
        backbone, unfrozen = self.model.backbone, len(self.training.unfreeze_at)
        if unfrozen > backbone.frozen_stages:
            raise ValueError(
                "training.unfreeze_at needs as many frozen stages. "
                f"Received: unfreeze_at={list(self.training.unfreeze_at)}, frozen_stages={backbone.frozen_stages}. "
                f"Set model.backbone.frozen_stages to {unfrozen} or more"
            )
        if self.training.feature_views is not None and unfrozen:
            raise ValueError(
                "training.feature_views keeps what the frozen stages compute, so they must stay frozen. "
                f"Received: unfreeze_at={list(self.training.unfreeze_at)}. Remove one of the two"
            )
        if self.training.feature_views is not None and (not backbone.frozen_stages or backbone.batch_norm != "frozen"):
            raise ValueError(
                "training.feature_views needs a frozen part of the backbone. "
                f"Received: feature_views={self.training.feature_views}, frozen_stages={backbone.frozen_stages}, "
                f"batch_norm={backbone.batch_norm!r}. Set model.backbone.frozen_stages to 1..5 and batch_norm: frozen"
            )
        return self

    @model_validator(mode="after")
    def _the_clock_decides_nothing(self) -> Recipe:
        for name, model in self.compress.items() if self.training.deterministic else ():
            if model.fine_tune.minutes is not None:
                raise ValueError(
                    f"compress.{name}.fine_tune.minutes cannot be with training.deterministic: the clock never says "
                    f"the same twice. Received: minutes={model.fine_tune.minutes}. Set fine_tune.epochs alone"
                )
            if model.channels is not None and model.channels.of == "latency":
                raise ValueError(
                    f"compress.{name}.channels.of: 'latency' is measured anew in each run, so it cannot be with "
                    "training.deterministic. Received: of='latency'. Use 'multiply_adds'"
                )
        return self

    @model_validator(mode="after")
    def _a_gate_that_rounding_can_meet(self) -> Recipe:
        gates = {"verification": self.verification.minimum_ap_ratio}
        gates |= {f"compress.{name}": model.minimum_ap_ratio for name, model in self.compress.items()}
        for section, ratio in gates.items():
            if ratio == 1.0 and self.export.heal != "off":
                raise ValueError(
                    f"{section}.minimum_ap_ratio: expected less than 1 where export.heal works towards it: int8 is "
                    f"above its float model by luck alone. Received: minimum_ap_ratio=1.0, heal={self.export.heal!r}. "
                    "Set 0.995, or export.heal: off"
                )
        return self


def bytes_of_batch(recipe: Recipe) -> int:
    """Returns the least memory that a batch takes: its pixels, and the targets of its anchors."""
    size, anchors = recipe.model.input, recipe.model.anchors
    per_cell = len(anchors.scales) * len(anchors.ratios)
    count = anchor_count(size.height, size.width, levels=recipe.model.pyramid.levels, per_cell=per_cell)
    return batch_bytes(recipe.training.batch_size, size.height, size.width, anchors=count)


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe and applies overrides.

    Args:
        path: a YAML file.
        overrides: `section.key=value` each, as behind `--set` on the command line.

    Raises:
        InputError: the file is missing or is not plain YAML, or a field is unknown or has an impossible value.
    """
    fields = read_yaml(Path(path))
    for override in overrides or []:
        apply_override(fields, override)
    source = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    return recipe_from_fields(fields, " ".join(source.split()))


def recipe_from_fields(fields: dict[str, Any], source: str) -> Recipe:
    """Validates plain nested dictionaries; `source` is named in errors.

    Raises:
        InputError: one line that names every wrong field, the value received and the closest valid choice.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, Recipe)}") from error


def dump_recipe(recipe: Recipe) -> str:
    """Returns the resolved recipe, every field written out, as YAML."""
    return dump_yaml(recipe.model_dump(mode="json"))
