"""The verbs that write, measure and show the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_retina.cli.options import (
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
    StdOption,
    reading_options,
)
from keras_retina.cli.output import exit_by_gate, say, show_metrics, show_quantization, show_rows, suggest, write_json


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
    )
    measured = evaluate_target(target, data, split=split, options=options)
    show_metrics(measured)
    write_json(json_, measured)


def export(
    run: RunArgument,
    data: DataOption = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show what each layer of the int8 file loses, and which to leave in float.")
    ] = False,
) -> None:
    """Write the .tflite files of a trained run and of its smaller models; heal int8 files that miss their gate."""
    from edge.stages import debug_stage, export_compressed, export_stage, heal_stage
    from keras_retina.run import open_run

    opened = open_run(run, data)
    for path in [*export_stage(opened), *export_compressed(opened)]:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")
    heal_stage(opened)
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
    json_: JsonOption = None,
) -> None:
    """Measure every exported file and compare it with its float parent; exit 1 if the gate fails."""
    from edge.stages import verify_stage
    from keras_retina.run import open_run

    options = reading_options(
        labels,
        class_map,
        mean=input_mean,
        std=input_std,
        resize=resize,
        channels=channels,
        head=head,
        box_units=box_units,
    )
    opened = open_run(run, data)
    result = verify_stage(opened, also or (), options=options)
    show_rows(result)
    write_json(json_, result.to_json())
    suggest(f"keras-retina report {run}")
    exit_by_gate(result)


def report(run: RunArgument, data: DataOption = None) -> None:
    """Write report.html of a run folder."""
    from edge.stages import report_stage
    from keras_retina.run import open_run

    say(f"wrote {report_stage(open_run(run, data))}")
