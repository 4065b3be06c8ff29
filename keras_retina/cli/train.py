"""The verbs that train: `demo`, `train`, `launch`, and `run`, which does every stage of a recipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_retina.cli.options import (
    BackboneOption,
    FormatOption,
    LatencyOption,
    MinutesOption,
    ObjectiveOption,
    OutOption,
    OverwriteOption,
    RecipeArgument,
    RequiredDataOption,
    SetOption,
    TargetOption,
    ThreadsOption,
    command,
    find_recipe,
    load_named,
    wishes_of,
    with_format,
)
from keras_retina.cli.output import exit_by_gate, say, show_rows, suggest
from keras_retina.cli.plan import NO_WISHES, planned
from keras_retina.foundation.errors import InputError

if TYPE_CHECKING:  # pydantic takes a while, and `--help` does not need it
    from keras_retina.plan.wishes import Wishes
    from keras_retina.recipe.recipe import Recipe
    from keras_retina.run.folder import RunFolder


def run_file(
    recipe_path: Path,
    data: Path,
    *,
    out: Path | None,
    set_: list[str] | None,
    overwrite: bool,
    check: bool,
    print_expected: bool,
) -> None:
    """Runs the recipe of a file; what `--set` changed is not compared with what the recipe expects."""
    from keras_retina.recipe.recipe import load_recipe

    changed = has_other_settings(recipe_path, set_)
    settings = load_recipe(recipe_path, set_)
    if changed and not check:  # the report of the run must not compare them either
        settings = settings.model_copy(update={"expected": None})
    run_all(settings, data, out=out, overwrite=overwrite, changed=changed, check=check, print_expected=print_expected)


def run_all(
    settings: Recipe,
    data: Path,
    *,
    out: Path | None,
    overwrite: bool,
    changed: bool = False,
    check: bool = False,
    print_expected: bool = False,
    plan_text: str | None = None,
) -> None:
    """Runs every stage that is not done yet, then prints the table, beside `expected:`, and the file to ship.

    Args:
        changed: the settings are others than those that `expected:` belongs to.
        plan_text: the commented recipe that was planned, to be kept in the run folder.
    """
    from edge.stages import compress_stage, export_compressed, export_stage, heal_stage, report_stage, verify_stage
    from edge.verify.expected import compare, expected_block, expected_lines, measured_run
    from edge.verify.ship import row_to_ship, ship_line
    from keras_retina.foundation.files.writing import write_file
    from keras_retina.foundation.machine import vector_instructions
    from keras_retina.run.training import train_stage
    from keras_retina.train.workers.cluster import training_cluster, writes_files
    from keras_retina.train.workers.launch import go_on_alone

    run = _begun(settings, out, data=data, overwrite=overwrite)
    if plan_text is not None and writes_files():
        write_file(run.plan, plan_text.encode())
    trains_in_cluster = not run.model.exists() and training_cluster(settings.training) is not None
    if not train_stage(run):
        return
    if trains_in_cluster:
        go_on_alone(sys.argv[1:])
    compress_stage(run)
    export_stage(run)
    export_compressed(run)
    heal_stage(run)
    result = verify_stage(run)
    page = report_stage(run)
    show_rows(result)
    say(f"wrote {run.verify} and {page}")
    if print_expected:
        say(expected_block([measured_run(run.path, vector_instructions())], command()))
    if check:
        failures = compare(result, settings)
        for failure in failures:
            say(f"check failed: {failure}")
        if failures:
            raise typer.Exit(1)
        say("check passed: every AP is within the recipe's tolerance")
    if changed:
        say("expected: not compared, since --set changed the settings that the recipe's figures belong to")
    else:
        for line in expected_lines(result, settings):
            say(line)
    say(ship_line(run.export, result.rows))
    shipped = row_to_ship(result.rows)
    if shipped:
        suggest(f"keras-retina detect {run.export / shipped.file} IMAGE_OR_FOLDER")
    exit_by_gate(result)


def _begun(settings: Recipe, out: Path | None, *, data: Path, overwrite: bool) -> RunFolder:
    """Makes or opens the run folder of a training, which must be one for the workers that the environment names."""
    from keras_retina.foundation.run_paths import RunPaths
    from keras_retina.run.folder import start_run
    from keras_retina.train.workers.cluster import refuse_unused_cluster

    path = out or Path("runs") / settings.name
    if not RunPaths(path).model.exists():  # before any of them writes
        refuse_unused_cluster(settings.training)
    return start_run(path, settings, data_dir=data, command=command(), overwrite=overwrite)


def has_other_settings(recipe_path: Path, set_: list[str] | None) -> bool:
    """Tells whether `--set` changed more than the seed of a recipe that has an `expected:` block."""
    from keras_retina.recipe.recipe import load_recipe

    written, used = load_recipe(recipe_path), load_recipe(recipe_path, set_)
    return written.expected is not None and used.model_copy(update={"seed": written.seed}) != written


def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the built-in data, train, export, verify and report: no data and no network needed."""
    from keras_retina.data.builtin.builtin import write_builtin_set
    from keras_retina.train.workers.cluster import require_one_process

    require_one_process("demo", "Use `keras-retina run demo --data DIR` with --set training.strategy=multi_worker")
    data = out.parent / f"{out.name}_data"
    write_builtin_set(data)
    say(f"built-in data: {data}")
    run_file(find_recipe("demo"), data, out=out, set_=set_, overwrite=overwrite, check=False, print_expected=False)


def train(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    out: OutOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a detector; the same command resumes an interrupted training."""
    from keras_retina.run.training import train_stage

    run = _begun(load_named(recipe, set_), out, data=data, overwrite=overwrite)
    if not train_stage(run):
        return
    say(f"wrote {run.model} and {run.metrics}")
    suggest(f"keras-retina export {run.path}")


def run(
    data: RequiredDataOption,
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe file, or the name of an installed recipe. Without it, one is planned."),
    ] = None,
    out: OutOption = None,
    format_: FormatOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 unless AP is as the recipe expects.")] = False,
    print_expected: Annotated[
        bool, typer.Option("--print-expected", help="Print the result as an expected: block for the recipe.")
    ] = False,
    minutes: MinutesOption = None,
    latency: LatencyOption = None,
    threads: ThreadsOption = None,
    target: TargetOption = None,
    objective: ObjectiveOption = None,
    backbone: BackboneOption = None,
) -> None:
    """Plan, train, make the smaller models, export, verify and report in one command, resuming where it stopped."""
    wishes = wishes_of(
        minutes=minutes, latency=latency, threads=threads, target=target, objective=objective, backbone=backbone
    )
    set_ = with_format(set_, format_)
    if recipe is None:
        if check:
            raise InputError(
                "--check: expected a recipe with a block expected. Received: no recipe. Name one, or drop --check."
            )
        run_planned(data, wishes, out=out, set_=set_, overwrite=overwrite, print_expected=print_expected)
        return
    if str(wishes) != NO_WISHES:
        raise InputError(
            f"run: expected a recipe, or wishes for a plan. Received: {recipe} and {wishes}. Leave one away, or change "
            "the recipe with --set."
        )
    run_file(
        find_recipe(recipe), data, out=out, set_=set_, overwrite=overwrite, check=check, print_expected=print_expected
    )


def launch(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    workers: Annotated[int, typer.Option("--workers", help="Processes that train together on this machine.", min=2)],
    out: OutOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    restarts: Annotated[int, typer.Option("--restarts", help="How often all start again after one died.", min=0)] = 3,
) -> None:
    """Do what run does, and train in several processes of this machine that share each batch."""
    from keras_retina.recipe.recipe import load_recipe
    from keras_retina.run.folder import start_run
    from keras_retina.train.workers.cluster import require_one_process
    from keras_retina.train.workers.launch import launch as launch_workers

    require_one_process("launch", "Use `keras-retina run` with --set training.strategy=multi_worker")
    os.environ.pop("TF_CONFIG", None)  # each worker gets its own
    path = find_recipe(recipe)
    settings = load_recipe(path, [*(set_ or []), "training.strategy=multi_worker"])
    if settings.training.batch_size % workers:
        closest = max(1, round(settings.training.batch_size / workers)) * workers
        raise InputError(
            f"training.batch_size: expected a multiple of the {workers} workers. "
            f"Received: {settings.training.batch_size}. Closest: {closest}."
        )
    changed = has_other_settings(path, set_)
    if changed:
        settings = settings.model_copy(update={"expected": None})
    run = start_run(
        out or Path("runs") / settings.name, settings, data_dir=data, command=command(), overwrite=overwrite
    )
    if not run.model.exists():
        program = [sys.executable, "-m", "keras_retina", "train", str(run.recipe_file)]
        program += ["--data", str(data), "--out", str(run.path)]
        launch_workers(program, workers, logs=run.workers, restarts=restarts)
    run_all(settings, data, out=run.path, overwrite=False, changed=changed)


def run_planned(
    data: Path, wishes: Wishes, *, out: Path | None, set_: list[str] | None, overwrite: bool, print_expected: bool
) -> None:
    """Plans a recipe, shows it and runs it; the same command again goes on with the plan that is there."""
    from keras_retina.foundation.run_paths import RunPaths
    from keras_retina.plan.plan import recipe_name, wishes_in
    from keras_retina.recipe.recipe import load_recipe
    from keras_retina.run.folder import refuse_other_files
    from keras_retina.train.workers.cluster import require_one_process

    out = out or Path("runs") / recipe_name(data)
    there = RunPaths(out)
    if not overwrite and there.plan.is_file() and there.recipe_file.is_file():
        text = there.plan.read_text(encoding="utf-8")
        planned_for = wishes_in(text)
        if planned_for != str(wishes):
            raise InputError(
                f"--out: {out} holds a run that was planned for other wishes. Received: {wishes}, there: "
                f"{planned_for}. Choose another folder, or pass --overwrite to delete that run."
            )
        say(f"going on with the plan that is there: {there.plan}")
        settings = load_recipe(there.plan, set_)
    else:
        require_one_process(  # plans that are made on different machines may differ
            "run without a recipe", "Plan first, with `keras-retina plan DIR --out mine.yaml`, and run that recipe"
        )
        refuse_other_files(out, overwrite=overwrite)  # before the minutes that a plan may take
        plan = planned(data, wishes, set_=set_)
        settings, text = plan.recipe, plan.text
        for line in plan.lines:
            say(line)
    run_all(settings, data, out=out, overwrite=overwrite, print_expected=print_expected, plan_text=text)
