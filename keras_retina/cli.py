"""`keras-retina`: the verbs of the command line, and the only file that knows both packages.

Exit status: 0 done, 1 a gate or check failed, 2 bad input (one line on stderr, no traceback).
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="RetinaNet from labelled images to a .tflite file whose COCO accuracy was measured on that very file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with images and labels.")]
RequiredDataOption = Annotated[Path, typer.Option("--data", help="Folder with images and labels.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/<recipe name>.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, overrides the recipe.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the measurements to this file.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")]
RecipeArgument = Annotated[str, typer.Argument(help="A recipe file, or the name of a recipe that is installed.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the built-in data, train, export, verify and report: no data and no network needed."""
    from keras_retina.data.builtin import write_builtin_set

    data = out.parent / f"{out.name}_data"
    write_builtin_set(data)
    say(f"built-in data: {data}")
    _run_all(_find_recipe("demo"), data, out, set_, overwrite, check=False, print_expected=False)


@app.command("check-data")
def check_data(
    data: RequiredDataOption,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Adds anchor coverage at its input size.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Where to draw the worst covered boxes.")] = None,
    json_: JsonOption = None,
    set_: SetOption = None,
) -> None:
    """Report what is in a data folder, what is wrong with it, and how well anchors cover the boxes."""
    from keras_retina.data.check_report import format_report, report_to_dict
    from keras_retina.data.checks import InputGrid, check_dataset
    from keras_retina.data.coverage import write_worst_coverage_picture
    from keras_retina.detector_spec import detector_spec
    from keras_retina.recipe import Recipe

    settings = _load(recipe, set_) if recipe else Recipe(name="check")
    splits = [settings.data.train, settings.data.validation, settings.data.test] if recipe else []
    spec = detector_spec(settings.model, ())
    grid = InputGrid(spec.anchors(), spec.height, spec.width, spec.resize)
    report = check_dataset(
        data, [split for split in splits if split] or None, settings.data.format, settings.data.classes, grid
    )
    say(format_report(report))
    if picture:
        worst = [box for split in report.splits if split.coverage for box in split.coverage.worst]
        worst.sort(key=lambda box: box.iou)
        write_worst_coverage_picture(picture, worst[:24], spec.height, spec.width, spec.resize)
        say(f"wrote {picture}")
    _write_json(json_, report_to_dict(report))
    if report.errors:
        raise typer.Exit(1)
    _next(f"keras-retina run {recipe or 'RECIPE'} --data {data}")


@app.command()
def train(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    out: OutOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a detector; the same command resumes an interrupted training."""
    from edge.run import start_run, train_stage

    settings = _load(recipe, set_)
    run = start_run(out or Path("runs") / settings.name, settings, data, _command(), overwrite)
    train_stage(run, say)
    say(f"wrote {run.path / 'model.keras'} and {run.path / 'metrics.json'}")
    _next(f"keras-retina export {run.path}")


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(help="A run folder, a .keras model or a .tflite file.")],
    data: DataOption = None,
    split: Annotated[str | None, typer.Option("--split", help="Default: the validation split.")] = None,
    json_: JsonOption = None,
) -> None:
    """Measure COCO AP of a run's float model, of a .keras model or of a .tflite file."""
    from edge.evaluation import evaluate_target

    measured = evaluate_target(target, data, split, say)
    _show_metrics(measured)
    _write_json(json_, measured)


@app.command()
def export(run: RunArgument, data: DataOption = None) -> None:
    """Write the .tflite files of a trained run."""
    from edge.run import export_stage, open_run

    opened = open_run(run, data)
    for path in export_stage(opened, say):
        say(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    _next(f"keras-retina verify {run}")


@app.command()
def verify(run: RunArgument, data: DataOption = None, json_: JsonOption = None) -> None:
    """Measure every exported file and compare it with its float parent; exit 1 if the gate fails."""
    from edge.run import open_run, verify_stage

    opened = open_run(run, data)
    result = verify_stage(opened, say)
    _show_rows(result)
    _write_json(json_, result)
    _next(f"keras-retina report {run}")
    _exit_by_gate(result)


@app.command()
def detect(
    model: Annotated[Path, typer.Argument(help="A .tflite file that `export` wrote.")],
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and results.json.")] = Path("detections"),
    score: Annotated[float | None, typer.Option("--score", min=0.0, max=1.0, help="Lowest score shown.")] = None,
) -> None:
    """Find objects with a .tflite file: draws boxes and writes COCO results."""
    from edge.detect import detect_paths
    from edge.runtime import SHOW_SCORE_THRESHOLD

    written = detect_paths(model, images, out, SHOW_SCORE_THRESHOLD if score is None else score)
    say(f"wrote {written}")


@app.command()
def report(run: RunArgument, data: DataOption = None) -> None:
    """Write report.html of a run folder."""
    from edge.run import open_run, report_stage

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
    _run_all(_find_recipe(recipe), data, out, set_, overwrite, check, print_expected)


def main() -> None:
    """Entry point: turns bad input into one line on stderr and exit status 2."""
    try:
        app(standalone_mode=True)
    except Exception as error:
        if not _is_bad_input(error):
            raise
        message = " ".join(str(error).split())
        print(f"keras-retina: {message}", file=sys.stderr)
        sys.exit(2)


def say(text: str) -> None:
    """Prints a line at once, so that logs of long work can be followed."""
    print(text, flush=True)


def _run_all(
    recipe_path: Path,
    data: Path,
    out: Path | None,
    set_: list[str] | None,
    overwrite: bool,
    check: bool,
    print_expected: bool,
) -> None:
    from edge.expected import compare, expected_block
    from edge.measure import machine_name
    from edge.run import (
        export_stage,
        report_stage,
        start_run,
        train_stage,
        training_minutes,
        verify_stage,
    )
    from keras_retina.recipe import load_recipe

    settings = load_recipe(recipe_path, set_)
    run = start_run(out or Path("runs") / settings.name, settings, data, _command(), overwrite)
    train_stage(run, say)
    export_stage(run, say)
    result = verify_stage(run, say)
    page = report_stage(run)
    _show_rows(result)
    say(f"wrote {run.path / 'verify.json'} and {page}")
    if print_expected:
        say(expected_block(result, training_minutes(run.path), machine_name(), _command()))
    if check:
        failures = compare(result, settings)
        for failure in failures:
            say(f"check failed: {failure}")
        if failures:
            raise typer.Exit(1)
        say("check passed: every AP is within the recipe's tolerance")
    _next(f"keras-retina detect {run.path}/export/{settings.name}_int8.tflite IMAGE_OR_FOLDER")
    _exit_by_gate(result)


def _load(recipe: str, set_: list[str] | None) -> Any:
    from keras_retina.recipe import load_recipe

    return load_recipe(_find_recipe(recipe), set_)


def _find_recipe(name: str) -> Path:
    """Returns the path of a recipe file, or of an installed recipe (`bccd`, `demo`)."""
    from keras_retina.errors import InputError, closest

    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path
    here = Path(__file__).parent
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"
    installed = {file.stem: file for file in folder.glob("*.yaml")}
    if name not in installed:
        raise InputError(
            f"recipe: expected a .yaml file or an installed recipe. Received: {name!r}. {closest(name, installed)}"
        )
    return installed[name]


def _command() -> str:
    return shlex.join(["keras-retina", *sys.argv[1:]])


def _is_bad_input(error: Exception) -> bool:
    from keras_retina.errors import InputError

    # edge.runtime cannot import InputError: it is also used alone, on a device.
    runtime = sys.modules.get("edge.runtime")
    kinds: tuple[type[Exception], ...] = (InputError, OSError)
    return isinstance(error, kinds if runtime is None else (*kinds, runtime.ModelFileError))


def _write_json(path: Path | None, value: Any) -> None:
    if path:
        path.write_text(json.dumps(value, indent=2, allow_nan=False), encoding="utf-8")
        say(f"wrote {path}")


def _next(command: str) -> None:
    say(f"next: {command}")


def _show_metrics(metrics: dict[str, Any]) -> None:
    for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"):
        say(f"{name:<10} {_number(metrics[name])}")
    for name, value in metrics["per_class"].items():
        say(f"  {ascii(name)[1:-1]:<20} {_number(value)}")


def _show_rows(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "AP", "AP50", "AP75", "MB", "gzip MB", "ms median", "status")
    for row in result["rows"]:
        latency = row.get("latency_ms") or {}
        table.add_row(
            escape(Path(row["file"]).name),
            *(_number(row[name]) for name in ("AP", "AP50", "AP75")),
            *(_number(row[name] and row[name] / 1e6, 2) for name in ("size_bytes", "gzip_bytes")),
            _number(latency.get("median"), 1),
            escape(row["status"] + (f": {row['reason']}" if row.get("reason") else "")),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    gate = result["gate"]
    say(f"gate {'passed' if gate['passed'] else 'FAILED'}: {gate['rule']}")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _exit_by_gate(result: dict[str, Any]) -> None:
    if not result["gate"]["passed"]:
        raise typer.Exit(1)
