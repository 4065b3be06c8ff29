"""The verb `plan`: a recipe for a data folder, with a reason for every choice."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_retina.cli.options import (
    DATA_HELP,
    BackboneOption,
    FormatOption,
    JsonOption,
    LatencyOption,
    MinutesOption,
    ObjectiveOption,
    SetOption,
    TargetOption,
    ThreadsOption,
    command,
    output_file,
    wishes_of,
    with_format,
)
from keras_retina.cli.output import say, suggest, write_json
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import address

if TYPE_CHECKING:  # pydantic takes a while, and `--help` does not need it
    from keras_retina.plan.plan import Plan
    from keras_retina.plan.wishes import Wishes
    from keras_retina.recipe.export import Export
    from keras_retina.recipe.model import Model

NO_WISHES = "none"


def plan(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help=f"The data. {DATA_HELP}")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The same, as other verbs take it.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The recipe to write.", callback=output_file)] = Path(
        "recipe.yaml"
    ),
    minutes: MinutesOption = None,
    latency: LatencyOption = None,
    threads: ThreadsOption = None,
    target: TargetOption = None,
    objective: ObjectiveOption = None,
    backbone: BackboneOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order and augmentation.")] = 0,
    format_: FormatOption = None,
    set_: SetOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the recipe that is there.")] = False,
    json_: JsonOption = None,
) -> None:
    """Read a data folder and write a recipe for it that says of every choice why."""
    given = [place for place in (folder, data) if place is not None]
    if len(given) != 1:
        received = " and ".join(map(str, given)) or "none"
        raise InputError(f"plan: expected one data folder, as plan DIR or plan --data DIR. Received: {received}.")
    if out.suffix not in {".yaml", ".yml"}:
        raise InputError(f"--out: expected a file that ends in .yaml. Received: {out}. Choose another name.")
    if out.exists() and not overwrite:
        raise InputError(
            f"--out: expected a new file. Received: {out}, which is there. Choose another, or --overwrite."
        )
    wishes = wishes_of(
        minutes=minutes,
        latency=latency,
        threads=threads,
        target=target,
        objective=objective,
        backbone=backbone,
        seed=seed,
    )
    made = planned(given[0], wishes, set_=with_format(set_, format_))
    for line in made.lines:
        say(line)
    out.write_text(made.text, encoding="utf-8")
    say(f"wrote {out}")
    write_json(json_, made.to_json())
    suggest(shlex.join(["keras-retina", "run", str(out), "--data", address(given[0])]))


def planned(data: Path, wishes: Wishes, *, set_: list[str] | None) -> Plan:
    """Plans, with what is measured on this machine."""
    from keras_retina.plan.plan import plan_recipe

    if wishes.minutes is not None:
        say("planning: times some training steps here, which takes a minute or two")
    latency_of = None
    if wishes.latency is not None:  # loads TensorFlow, which other plans do not need
        from edge.benchmark.untrained import UntrainedLatency

        say("planning: builds, converts and times files here, up to five, each about a minute")
        latency_of = UntrainedLatency()
    return plan_recipe(
        data, wishes, overrides=set_ or (), command=command(), latency_of=latency_of, mapped_of=_mapped_of
    )


def _mapped_of(model: Model, classes: int, files: Export) -> tuple[int, int]:
    """Predicts how many operators of the raw int8 file of an untrained network the Edge TPU runs, and of how many."""
    from edge.benchmark.untrained import untrained_mapping

    return untrained_mapping(model, classes, files=files)
