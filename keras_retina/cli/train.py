"""What `run` and `demo` share: every stage of a recipe, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keras_retina.cli.options import DataOption, RunArgument, SetOption, command
from keras_retina.cli.output import say, show_rows, suggest
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.formats import KERAS

if TYPE_CHECKING:
    from edge.verify.result import VerifyResult
    from edge.verify.rows import Row


def run_all(
    recipe_path: Path,
    data: Path,
    out: Path | None,
    set_: list[str] | None,
    overwrite: bool,
    check: bool,
    print_expected: bool,
) -> None:
    """Runs every stage that is not done yet, then prints the table and compares it with `expected:` if asked to."""
    from edge.stages import compress_stage, export_compressed, export_stage, report_stage, verify_stage
    from edge.verify.expected import compare, expected_block
    from keras_retina.foundation.machine import machine_name
    from keras_retina.recipe.recipe import load_recipe
    from keras_retina.run import start_run, train_stage, training_minutes

    settings = load_recipe(recipe_path, set_)
    run = start_run(out or Path("runs") / settings.name, settings, data, command(), overwrite)
    train_stage(run, say)
    compress_stage(run, say)
    export_stage(run, say)
    export_compressed(run, say)
    result = verify_stage(run, say)
    page = report_stage(run)
    show_rows(result)
    say(f"wrote {run.verify} and {page}")
    if print_expected:
        say(expected_block(result, training_minutes(run), machine_name(), command()))
    if check:
        failures = compare(result, settings)
        for failure in failures:
            say(f"check failed: {failure}")
        if failures:
            raise typer.Exit(1)
        say("check passed: every AP is within the recipe's tolerance")
    smallest = smallest_file(result.rows)
    if smallest:
        suggest(f"keras-retina detect {run.export / smallest} IMAGE_OR_FOLDER")
    exit_by_gate(result)


def smallest_file(rows: Sequence[Row]) -> str | None:
    """Returns the smallest verified `.tflite` of a run, one that ends in boxes if there is one; None without any."""
    files = [row for row in rows if row.is_verified and row.kind != KERAS.name]
    files.sort(key=lambda row: (row.other_form, row.size_bytes or 0))
    return files[0].file if files else None


def exit_by_gate(result: VerifyResult) -> None:
    """Ends with status 1 when a file failed or was not run."""
    if not result.gate.passed:
        raise typer.Exit(1)


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
    compress_stage(opened, say)
    for name in opened.recipe.compress:
        say(f"wrote {opened.compressed(name).path}")
    suggest(f"keras-retina export {run}")
