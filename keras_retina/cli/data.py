"""The verbs that look at a data set and train nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_retina.cli.options import (
    FormatOption,
    JsonOption,
    RecipeArgument,
    RequiredDataOption,
    SetOption,
    default_recipe,
    load_named,
    picture_file,
    refuse_among_data,
    with_format,
)
from keras_retina.cli.output import say, show_coverage, suggest, write_json
from keras_retina.foundation.files.places import address
from keras_retina.foundation.files.writing import require_utf8

MANY_POOR = 0.1  # of the boxes of a split have no anchor of IoU 0.5: other anchors come first


def check_data(
    data: RequiredDataOption,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Adds anchor coverage at its input size.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Where to draw the worst covered boxes.", callback=picture_file)
    ] = None,
    json_: JsonOption = None,
    format_: FormatOption = None,
    set_: SetOption = None,
) -> None:
    """Report what is in a data folder, what is wrong with it, and how well anchors cover the boxes."""
    from keras_retina.data.checks.coverage import write_worst_coverage_picture
    from keras_retina.data.checks.dataset import check_dataset
    from keras_retina.data.checks.report import format_report, report_to_dict
    from keras_retina.foundation.errors import InputError

    refuse_among_data("--picture", picture, data=data)
    refuse_among_data("--json", json_, data=data)
    set_ = with_format(set_, format_)
    settings = load_named(recipe, set_) if recipe else default_recipe(set_)
    named = recipe or settings.data.model_fields_set & {"train", "validation", "test"}
    splits = [settings.data.train, settings.data.validation, settings.data.test] if named else []
    report = check_dataset(
        data,
        [split for split in splits if split] or None,
        settings=settings.data,
        model=settings.model,
    )
    say(format_report(report))
    if picture:
        worst = [box for split in report.splits if split.coverage for box in split.coverage.worst]
        worst.sort(key=lambda box: box.iou)
        size = settings.model.input
        write_worst_coverage_picture(picture, worst[:24], height=size.height, width=size.width, resize=size.resize)
        say(f"wrote {picture}")
    write_json(json_, report_to_dict(report))
    if report.unusable:
        raise InputError(report.unusable[0])
    if report.errors:
        raise typer.Exit(1)
    reading = [override for override in set_ if override.strip().startswith("data.")]  # the folder needs them again
    overrides = [part for override in reading for part in ("--set", override)]
    if recipe is None:
        suggest(shlex.join(["keras-retina", "plan", address(data), *overrides]))
        return
    poor = any(split.coverage and split.coverage.poor_share() > MANY_POOR for split in report.splits)
    verb = "fit-anchors" if poor else "run"
    suggest(shlex.join(["keras-retina", verb, recipe, "--data", address(data), *overrides]))


def pack(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    set_: SetOption = None,
) -> None:
    """Write a data set as TFRecord shards that train, verify and every other verb read like the folder itself."""
    from keras_retina.data.formats.packs.write_pack import write_pack
    from keras_retina.data.reading.folder import load_split, open_folder

    require_utf8(out, "--out")
    settings = load_named(recipe, set_)
    folder = open_folder(data, settings.data)
    datasets = [load_split(folder, split) for split in folder.splits]
    write_pack(
        out,
        datasets,
        training_split=settings.data.train,
        height=settings.model.input.height,
        width=settings.model.input.width,
    )
    say(f"wrote {address(out)}")
    suggest(shlex.join(["keras-retina", "train", recipe, "--data", address(out)]))


def show_batch(
    recipe: RecipeArgument,
    data: RequiredDataOption,
    split: Annotated[str | None, typer.Option("--split", help="Default: the training split.")] = None,
    images: Annotated[int, typer.Option("--images", help="How many training samples to draw.")] = 8,
    out: Annotated[Path, typer.Option("--out", help="The PNG file to write.")] = Path("batch.png"),
    set_: SetOption = None,
) -> None:
    """Draw the first samples that training sees, with their boxes and matched anchors."""
    from keras_retina.data.checks.show_batch import check_request, first_samples, write_sheet
    from keras_retina.data.reading.folder import load_split, open_folder
    from keras_retina.foundation.errors import printable

    settings = load_named(recipe, set_)
    check_request(images, out)
    refuse_among_data("--out", out, data=data)
    split = split or settings.data.train
    dataset = load_split(open_folder(data, settings.data), split)
    samples = first_samples(settings, dataset, images=images)
    write_sheet(out, samples, class_names=dataset.class_names)
    for sample in samples:
        counts = f"boxes {len(sample.boxes)}, positive anchors {len(sample.anchors)}, ignored {sample.ignored}"
        say(f"{printable(sample.name)}: {counts}")
    labelled = sum(len(sample.boxes) for sample in samples)
    unmatched = labelled - sum(int(sample.matched.sum()) for sample in samples)
    say(f"labelled boxes without a matched anchor: {unmatched} of {labelled} ({unmatched / max(labelled, 1):.1%})")
    say(f"wrote {out}: boxes green, matched anchors blue, boxes without one red")
    overrides = [part for override in set_ or [] for part in ("--set", override)]
    suggest(shlex.join(["keras-retina", "run", recipe, "--data", address(data), *overrides]))


def fit_anchors(
    recipe: RecipeArgument, data: RequiredDataOption, set_: SetOption = None, json_: JsonOption = None
) -> None:
    """Fit anchor size, scales and ratios to the boxes of the train split, and check them on the validation split."""
    from keras_retina.data.checks import fit_anchors as fit
    from keras_retina.data.reading.folder import load_split, open_folder

    refuse_among_data("--json", json_, data=data)
    settings = load_named(recipe, set_)
    model = settings.model
    folder = open_folder(data, settings.data)
    datasets = [load_split(folder, name) for name in (settings.data.train, settings.data.validation)]
    boxes = [fit.input_boxes(dataset, model) for dataset in datasets]
    fitted = fit.fit_anchors(*boxes[0], model)  # the validation boxes only judge
    models = {"before": model, "after": model.model_copy(update={"anchors": fitted})}
    measured: dict[str, dict[str, Any]] = {}
    say(f"input {model.input.height} x {model.input.width}, {model.input.resize}; crowd boxes left out")
    for dataset, (split_boxes, classes) in zip(datasets, boxes, strict=True):
        measured[dataset.split] = {
            name: fit.coverage(fit.best_ious(split_boxes, one), classes, class_names=dataset.class_names)
            for name, one in models.items()
        }
        show_coverage(dataset.split, **measured[dataset.split])
    words = ["keras-retina", "run", recipe, "--data", address(data)]
    words += [word for override in set_ or [] for word in ("--set", override)]
    if fitted == model.anchors:
        say("\nThe recipe's anchors are already best: nothing that was tried overlaps the train boxes clearly better.")
    else:
        values = f"{{size: {fitted.size}, scales: {list(fitted.scales)}, ratios: {list(fitted.ratios)}}}"
        say(f"\nmodel:\n  anchors: {values}\n")
        words += ["--set", f"model.anchors={values}"]
    written = {"size", "scales", "ratios"}
    anchors = {name: one.anchors.model_dump(mode="json", include=written) for name, one in models.items()}
    write_json(json_, {"anchors": anchors, "already_best": fitted == model.anchors, "splits": measured})
    suggest(shlex.join(words))
