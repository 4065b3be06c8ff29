"""What a person may ask of a plan, and what a plan answers: one choice for each part of the recipe, with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.machine import MOST_THREADS
from keras_retina.recipe.backbones import BACKBONE_FACTS, BackboneName
from keras_retina.recipe.section import LARGEST_SEED, Section

Target = Literal["phone", "pi", "coral", "browser", "frigate"]
Objective = Literal["smallest", "fastest", "best"]


@dataclass(frozen=True)
class Wishes:
    """Everything is optional; None leaves the choice to the data.

    Attributes:
        minutes: for the training of all models together, on the machine that plans.
        latency: milliseconds of one image through the file, on the machine that plans.
        threads: of that file.
        target: where the file will run.
        objective: what counts most.
        seed: of the recipe.
        backbone: of the network; MobileNetV2 where none is wished.
    """

    minutes: float | None = None
    latency: float | None = None
    threads: int | None = None
    target: Target | None = None
    objective: Objective | None = None
    seed: int = 0
    backbone: BackboneName | None = None

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a number out of its range, an unknown name, or a backbone that the target cannot run.
        """
        for name in ("minutes", "latency", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name}: expected a number above 0. Received: {name}={value}. Correct it.")
            if value is not None and (not math.isfinite(value) or value > (MOST_THREADS if name == "threads" else 1e9)):
                most = MOST_THREADS if name == "threads" else "1e9"
                raise InputError(f"--{name}: expected a number up to {most}. Received: {name}={value}. Correct it.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(
                f"--seed: expected a number from 0 to {LARGEST_SEED}. Received: seed={self.seed}. Correct it."
            )
        names = {"target": get_args(Target), "objective": get_args(Objective), "backbone": get_args(BackboneName)}
        for name, choices in names.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InputError(
                    f"--{name}: expected one of {', '.join(choices)}. Received: {name}={value!r}. "
                    f"{closest(value, choices)}"
                )

        facts = BACKBONE_FACTS[self.backbone or "mobilenet_v2"]
        if self.target == "coral" and facts.off_edge_tpu:
            raise InputError(
                "--backbone: expected a backbone that the Edge TPU runs, for --target coral. "
                f"Received: backbone={self.backbone!r}, whose {facts.off_edge_tpu}. Take {facts.instead}."
            )

    def __str__(self) -> str:
        """Returns the wishes as on the command line, `none` without any."""
        names = ("minutes", "latency", "threads", "target", "objective", "backbone")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.seed:
            given["seed"] = self.seed
        texts = {name: f"{value:g}" if isinstance(value, float) else value for name, value in given.items()}
        return " ".join(f"--{name} {text}" for name, text in texts.items()) or "none"


@dataclass(frozen=True)
class Choice:
    """One part of the recipe.

    Attributes:
        place: where it stands in the recipe, `model.input`; empty for what is told on the screen alone.
        value: what YAML can hold.
        why: sentences; the first one is short and stands beside the choice on the screen.
        shown: the value in a few words. A choice without it stands in the file alone.
        title: what it is called on the screen.
    """

    place: str
    value: Any
    why: str
    shown: str = ""
    title: str = field(default="")

    @property
    def line(self) -> str:
        """The choice in one line for the screen."""
        return f"{self.title:<15} {self.shown}: {self.why.split('. ')[0].rstrip('.')}"


def as_fields(section: Section, *names: str) -> dict[str, Any]:
    """Returns the named fields of a section of a recipe as YAML can hold them."""
    return section.model_dump(mode="json", include=set(names))
