"""The verbs that look at a data set and train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_retina.cli_options import JsonOption, RequiredDataOption, SetOption, load_named
from keras_retina.cli_output import say, suggest, write_json


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

    settings = load_named(recipe, set_) if recipe else Recipe(name="check")
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
    write_json(json_, report_to_dict(report))
    if report.errors:
        raise typer.Exit(1)
    suggest(f"keras-retina run {recipe or 'RECIPE'} --data {data}")
