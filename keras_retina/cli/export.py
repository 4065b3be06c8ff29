"""The verbs that make the smaller models and the files of a trained run, measure and show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_retina.cli.options import (
    AnchorsOption,
    BoxUnitsOption,
    ChannelsOption,
    ClassMapOption,
    DataOption,
    HeadOption,
    JsonOption,
    LabelsOption,
    MeanOption,
    ResizeOption,
    RunArgument,
    SetOption,
    StdOption,
    reading_options,
)
from keras_retina.cli.output import exit_by_gate, say, show_metrics, show_quantization, show_rows, suggest, write_json
from keras_retina.foundation.errors import InputError
from keras_retina.train.workers.cluster import is_left_to_chief

if TYPE_CHECKING:
    from keras_retina.run.folder import RunFolder


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run folder, a .keras model or a .tflite file.")],
    data: DataOption = None,
    split: Annotated[str | None, typer.Option("--split", help="Default: the validation split.")] = None,
    labels: LabelsOption = None,
    class_map: ClassMapOption = None,
    input_mean: MeanOption = None,
    input_std: StdOption = None,
    resize: ResizeOption = None,
    channels: ChannelsOption = None,
    head: HeadOption = None,
    box_units: BoxUnitsOption = None,
    anchors: AnchorsOption = None,
    json_: JsonOption = None,
) -> None:
    """Measure COCO AP of a run's float model, of a .keras model or of anybody's .tflite detection file."""
    from edge.verify.evaluate import evaluate_target

    options = reading_options(
        labels,
        class_map,
        mean=input_mean,
        std=input_std,
        resize=resize,
        channels=channels,
        head=head,
        box_units=box_units,
        anchors=anchors,
    )
    measured = evaluate_target(target, data, split=split, options=options)
    show_metrics(measured)
    write_json(json_, measured)


def compress(run: RunArgument, data: DataOption = None, set_: SetOption = None) -> None:
    """Make the smaller models of a trained run, as `compress:` of its recipe says; resumes where it stopped."""
    if is_left_to_chief("compress"):
        return
    from edge.stages import add_compressed, compress_stage
    from keras_retina.run.folder import open_run

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


def export(
    run: RunArgument,
    data: DataOption = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what each layer of the int8 file loses, and which to leave in float.")
    ] = False,
    keras3: Annotated[
        bool, typer.Option("--keras3", help="Also write every model as a .keras file that Keras 3 opens.")
    ] = False,
) -> None:
    """Write the .tflite files of a trained run and of its smaller models; heal int8 files that miss their gate."""
    if is_left_to_chief("export"):
        return
    from edge.stages import debug_stage, export_compressed, export_stage, heal_stage
    from keras_retina.run.folder import open_run

    opened = open_run(run, data)
    for path in [*export_stage(opened), *export_compressed(opened)]:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    heal_stage(opened)
    if keras3:
        _export_keras3(opened)
    if debug:
        written, result = debug_stage(opened)
        show_quantization(result)
        say(f"wrote {written}")
        if result["suggested_float_layers"]:
            layers = ", ".join(result["suggested_float_layers"])
            say(f"set in {opened.recipe_file}: export.float_layers: [{layers}]")
            suggest(f"keras-retina export {run}")
            return
    suggest(f"keras-retina verify {run}")


def _export_keras3(run: RunFolder) -> None:
    """Writes `export/NAME_keras3.keras`, and `NAME_keras3_<model>.keras` of every smaller model that is made."""
    from edge.export.keras3 import write_keras3

    models = {"": run.model} | {f"_{name}": run.compressed(name).model for name in run.recipe.compress}
    for ending, model in models.items():
        if model.exists():
            out = run.export / f"{run.recipe.name}_keras3{ending}.keras"
            difference = write_keras3(model, out)
            say(f"wrote {out} (largest difference of an output to Keras 2: {difference:.1g})")


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
    channels: ChannelsOption = None,
    head: HeadOption = None,
    box_units: BoxUnitsOption = None,
    anchors: AnchorsOption = None,
    json_: JsonOption = None,
) -> None:
    """Measure every exported file and compare it with its float parent; exit 1 if the gate fails."""
    if is_left_to_chief("verify"):
        return
    from edge.stages import verify_stage
    from keras_retina.run.folder import open_run

    options = reading_options(
        labels,
        class_map,
        mean=input_mean,
        std=input_std,
        resize=resize,
        channels=channels,
        head=head,
        box_units=box_units,
        anchors=anchors,
    )
    opened = open_run(run, data)
    result = verify_stage(opened, also or (), options=options)
    show_rows(result)
    write_json(json_, result.to_json())
    suggest(f"keras-retina report {run}")
    exit_by_gate(result)


def report(run: RunArgument, data: DataOption = None) -> None:
    """Write report.html of a run folder."""
    if is_left_to_chief("report"):
        return
    from edge.stages import report_stage
    from keras_retina.run.folder import open_run

    say(f"wrote {report_stage(open_run(run, data))}")
