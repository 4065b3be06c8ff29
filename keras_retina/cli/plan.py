"""The verbs that choose settings: `plan` from the data folder, with a reason for each, and `tune` by trials."""

from __future__ import annotations

import shlex
from dataclasses import asdict
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
    RecipeArgument,
    RequiredDataOption,
    SetOption,
    TargetOption,
    ThreadsOption,
    command,
    data_place,
    finite,
    load_named,
    output_file,
    wishes_of,
    with_format,
)
from keras_retina.cli.output import say, suggest, write_json
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import address

if TYPE_CHECKING:  # pydantic takes a while, and `--help` does not need it
    from keras_retina.plan.plan import Plan
    from keras_retina.plan.wishes import Wishes
    from keras_retina.recipe.export import Export
    from keras_retina.recipe.model import Model

NO_WISHES = "none"


def plan(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help=f"The data. {DATA_HELP}", callback=data_place)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The same, as other verbs take it.", callback=data_place)
    ] = None,
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


def tune(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.01, help="For all trials of this call together.", callback=finite)
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study. Default: runs/tune_NAME.")] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            help="learning_rate, gamma, alpha, box_weight, anchors or input; repeat it for more. Default: all but "
            "input, which changes how long the file takes.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Of a trial. Default: the recipe's.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Trials at a time.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the search. The recipe's own is that of the trials.")] = 0,
    set_: SetOption = None,
    json_: JsonOption = None,
) -> None:
    """Try settings of a recipe in short trainings and write the recipe with the best ones."""
    from keras_retina.cli.output import show_trials
    from keras_retina.foundation.files.writing import write_file
    from keras_retina.plan.tune import results
    from keras_retina.plan.tune.space import default_search, start_values
    from keras_retina.plan.tune.study import Tuning, searched, trial_recipe, tune_study

    _require_optuna()
    settings = load_named(recipe, set_)
    folder = out or Path("runs") / f"tune_{settings.name}"
    names = tuple(dict.fromkeys(search)) if search else default_search(settings)
    tuning = Tuning(settings, data, folder, names, epochs or settings.training.epochs)
    space = searched(tuning)
    judged = trial_recipe(tuning).data.validation
    names = tuple(one.name for one in space)
    say(f"{minutes:g} min of trials of {tuning.epochs} epochs, judged on {judged}: {', '.join(names)}")
    rows = results.trial_rows(tune_study(tuning, space, minutes=minutes, processes=processes, seed=seed), space)
    table, plot, found = folder / "trials.csv", folder / "trials.png", folder / "recipe.yaml"
    results.write_table(table, rows)
    results.write_plot(plot, rows)
    write_json(json_, {"split": judged, "trials": [asdict(row) for row in rows]})
    show_trials(rows)
    best = results.best_row(rows)
    if best is None:
        failed = [row for row in rows if row.state == "failed"]
        reason = f"{len(failed)} failed, the last one: {failed[-1].reason}" if failed else "none ended in time"
        raise InputError(
            f"tune: expected one finished trial. Received: {len(rows)} trials, {reason}. The same command goes on; "
            "--epochs makes trials shorter, in another --out."
        )
    start = results.start_row(rows, start_values(space))
    text = results.recipe_text(
        results.best_recipe(settings, space, best), best=best, start=start, tuned=recipe, judged=judged
    )
    write_file(found, text.encode())
    say(f"wrote {found}, {table} and {plot}")
    suggest(f"keras-retina run {found} --data {data}")


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"tune: expected the package optuna. Received: {error}. Run: pip install 'keras-retina[tune]'"
        ) from error
