"""The verbs that train: `demo`, `train`, `compress`, and `run`, which does every stage of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_retina.cli.options import (
    DataOption,
    OutOption,
    OverwriteOption,
    RecipeArgument,
    RequiredDataOption,
    RunArgument,
    SetOption,
    command,
    find_recipe,
    load_named,
)
from keras_retina.cli.output import exit_by_gate, say, show_rows, suggest
from keras_retina.foundation.errors import InputError


def run_all(
    recipe_path: Path,
    data: Path,
    *,
    out: Path | None,
    set_: list[str] | None,
    overwrite: bool,
    check: bool,
    print_expected: bool,
) -> None:
    """Runs every stage that is not done yet, then prints the table, beside `expected:`, and the file to ship."""
    from edge.stages import compress_stage, export_compressed, export_stage, report_stage, verify_stage
    from edge.verify.expected import compare, expected_block, expected_lines, measured_run
    from edge.verify.ship import row_to_ship, ship_line
    from keras_retina.foundation.machine import vector_instructions
    from keras_retina.recipe.recipe import load_recipe
    from keras_retina.run import start_run, train_stage

    changed = has_other_settings(recipe_path, set_)
    settings = load_recipe(recipe_path, set_)
    if changed and not check:  # the report of the run must not compare them either
        settings = settings.model_copy(update={"expected": None})
    run = start_run(
        out or Path("runs") / settings.name, settings, data_dir=data, command=command(), overwrite=overwrite
    )
    train_stage(run)
    compress_stage(run)
    export_stage(run)
    export_compressed(run)
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


def has_other_settings(recipe_path: Path, set_: list[str] | None) -> bool:
    """Tells whether `--set` changed more than the seed of a recipe that has an `expected:` block."""
    from keras_retina.recipe.recipe import load_recipe

    written, used = load_recipe(recipe_path), load_recipe(recipe_path, set_)
    return written.expected is not None and used.model_copy(update={"seed": written.seed}) != written


def compress(run: RunArgument, data: DataOption = None, set_: SetOption = None) -> None:
    """Make the smaller models of a trained run, as `compress:` of its recipe says; resumes where it stopped."""
    from edge.stages import add_compressed, compress_stage
    from keras_retina.run import open_run

    opened = open_run(run, data)
    if set_:
        opened = add_compressed(opened, set_)
    if not opened.recipe.compress:
        raise InputError(
            f"{run}: expected models in the section compress of its recipe. Received: none. "
            "Name one with --set, for example --set compress.half.channels.keep=0.5"
        )
    compress_stage(opened)
    for name in opened.recipe.compress:
        say(f"wrote {opened.compressed(name).path}")
    suggest(f"keras-retina export {run}")


def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the built-in data, train, export, verify and report: no data and no network needed."""
    from keras_retina.data.builtin.builtin import write_builtin_set

    data = out.parent / f"{out.name}_data"
    write_builtin_set(data)
    say(f"built-in data: {data}")
    run_all(find_recipe("demo"), data, out=out, set_=set_, overwrite=overwrite, check=False, print_expected=False)


def train(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    out: OutOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a detector; the same command resumes an interrupted training."""
    from keras_retina.run import start_run, train_stage

    settings = load_named(recipe, set_)
    run = start_run(
        out or Path("runs") / settings.name, settings, data_dir=data, command=command(), overwrite=overwrite
    )
    train_stage(run)
    say(f"wrote {run.model} and {run.metrics}")
    suggest(f"keras-retina export {run.path}")


def run(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    out: OutOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 unless AP is as the recipe expects.")] = False,
    print_expected: Annotated[
        bool, typer.Option("--print-expected", help="Print the result as an expected: block for the recipe.")
    ] = False,
) -> None:
    """Train, make the smaller models, export, verify and report in one command, resuming where it stopped."""
    run_all(
        find_recipe(recipe), data, out=out, set_=set_, overwrite=overwrite, check=check, print_expected=print_expected
    )
