"""`keras-retina`: the verbs of the command line, and the only file that knows both packages.

Exit status: 0 done, 1 a gate or check failed, 2 bad input (one line on stderr, no traceback).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_retina.cli.benchmark import benchmark
from keras_retina.cli.data import check_data, fit_anchors, pack, show_batch
from keras_retina.cli.detect import detect, serve_web
from keras_retina.cli.inspect_file import edgetpu, inspect
from keras_retina.cli.options import (
    ClassMapOption,
    DataOption,
    JsonOption,
    LabelsOption,
    MeanOption,
    OutOption,
    OverwriteOption,
    RecipeArgument,
    RequiredDataOption,
    ResizeOption,
    RunArgument,
    SetOption,
    StdOption,
    command,
    find_recipe,
    load_named,
    reading_options,
)
from keras_retina.cli.output import say, show_metrics, show_quantization, show_rows, suggest, write_json
from keras_retina.cli.train import compress, exit_by_gate, run_all
from keras_retina.foundation.errors import InputError

app = typer.Typer(
    help="RetinaNet from labelled images to a .tflite file whose COCO accuracy was measured on that very file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
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
    run_all(find_recipe("demo"), data, out, set_, overwrite, check=False, print_expected=False)


app.command("check-data")(check_data)
app.command("fit-anchors")(fit_anchors)
app.command("show-batch")(show_batch)
app.command("pack")(pack)


@app.command()
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
    run = start_run(out or Path("runs") / settings.name, settings, data, command(), overwrite)
    train_stage(run, say)
    say(f"wrote {run.model} and {run.metrics}")
    suggest(f"keras-retina export {run.path}")


app.command("compress")(compress)


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(help="A run folder, a .keras model or a .tflite file.")],
    data: DataOption = None,
    split: Annotated[str | None, typer.Option("--split", help="Default: the validation split.")] = None,
    labels: LabelsOption = None,
    class_map: ClassMapOption = None,
    input_mean: MeanOption = None,
    input_std: StdOption = None,
    resize: ResizeOption = None,
    json_: JsonOption = None,
) -> None:
    """Measure COCO AP of a run's float model, of a .keras model or of anybody's .tflite detection file."""
    from edge.verify.evaluate import evaluate_target

    options = reading_options(labels, class_map, input_mean, input_std, resize)
    measured = evaluate_target(target, data, split, say, options)
    show_metrics(measured)
    write_json(json_, measured)


@app.command()
def export(
    run: RunArgument,
    data: DataOption = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what each layer of the int8 file loses, and which to leave in float.")
    ] = False,
) -> None:
    """Write the .tflite files of a trained run and of its smaller models."""
    from edge.stages import debug_stage, export_compressed, export_stage
    from keras_retina.run import open_run

    opened = open_run(run, data)
    for path in [*export_stage(opened, say), *export_compressed(opened, say)]:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    if debug:
        written, result = debug_stage(opened, say)
        show_quantization(result)
        say(f"wrote {written}")
        if result["suggested_float_layers"]:
            layers = ", ".join(result["suggested_float_layers"])
            say(f"set in {opened.recipe_file}: export.float_layers: [{layers}]")
            suggest(f"keras-retina export {run}")
            return
    suggest(f"keras-retina verify {run}")


@app.command()
def verify(
    run: RunArgument,
    data: DataOption = None,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="A .tflite detection file of others, measured without a vote.")
    ] = None,
    labels: LabelsOption = None,
    class_map: ClassMapOption = None,
    input_mean: MeanOption = None,
    input_std: StdOption = None,
    resize: ResizeOption = None,
    json_: JsonOption = None,
) -> None:
    """Measure every exported file and compare it with its float parent; exit 1 if the gate fails."""
    from edge.stages import verify_stage
    from keras_retina.run import open_run

    options = reading_options(labels, class_map, input_mean, input_std, resize)
    opened = open_run(run, data)
    result = verify_stage(opened, say, also or (), options)
    show_rows(result)
    write_json(json_, result.to_json())
    suggest(f"keras-retina report {run}")
    exit_by_gate(result)


app.command("detect")(detect)
app.command("benchmark")(benchmark)
app.command("edgetpu")(edgetpu)
app.command("inspect")(inspect)
app.command("serve-web")(serve_web)


@app.command()
def report(run: RunArgument, data: DataOption = None) -> None:
    """Write report.html of a run folder."""
    from edge.stages import report_stage
    from keras_retina.run import open_run

    say(f"wrote {report_stage(open_run(run, data))}")


@app.command()
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
    """Train, export, verify and report in one command, resuming where it stopped."""
    run_all(find_recipe(recipe), data, out, set_, overwrite, check, print_expected)


def main() -> None:
    """Entry point: turns bad input into one line on stderr and exit status 2."""
    try:
        status = app(prog_name="keras-retina", standalone_mode=len(sys.argv) < 2)  # alone it prints the help
    except Exception as error:
        message = error_line(error)
        if message is None:
            raise
        print(f"keras-retina: {message}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def error_line(error: Exception) -> str | None:
    """Returns what to print of bad input, None for an error that is ours."""
    message = usage_error(error)
    if message is None and _is_bad_input(error):
        message = file_error(error) if isinstance(error, OSError) else str(error)
    return None if message is None else " ".join(message.split())


def usage_error(error: Exception) -> str | None:
    """Returns what typer says of an option or argument that is wrong or missing, which it would print in a frame."""
    format_message, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    if format_message is None:
        return None
    return f"{format_message().rstrip('.')}. See: {context.command_path if context else 'keras-retina'} --help"


def file_error(error: OSError) -> str:
    """Returns which file could not be opened and why, in the order of all other errors."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: expected a place that can be read or written. Received: {error.strerror}. Correct it."


def _is_bad_input(error: Exception) -> bool:
    # edge.runtime cannot import InputError: it is also used alone, on a device.
    runtime = sys.modules.get("edge.runtime")
    kinds: tuple[type[Exception], ...] = (InputError, OSError)
    return isinstance(error, kinds if runtime is None else (*kinds, runtime.ModelFileError))
