"""The verb that looks for wrong labels with a trained detector."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_retina.cli.options import DataOption, JsonOption, RunArgument
from keras_retina.cli.output import plain, say, suggest, write_json
from keras_retina.foundation.files.places import address
from keras_retina.train.workers.cluster import is_left_to_chief

if TYPE_CHECKING:
    from keras_retina.data.reading.folder import DataFolder
    from keras_retina.evaluate.review import Review

PICTURES = 120


def review(
    run: RunArgument,
    data: DataOption = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Repeat it for several. Default: every split of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the page. Default: RUN/review.")] = None,
    pictures: Annotated[int, typer.Option("--pictures", min=0, help="At most so many on the page.")] = PICTURES,
    json_: JsonOption = None,
) -> None:
    """Find wrong labels: compare the detector of a run with the labels of every split, the most suspicious first."""
    if is_left_to_chief("review"):
        return
    from edge.report.review.review import summary, write_review
    from keras_retina.data.records import check_classes
    from keras_retina.evaluate.predict import detect_function
    from keras_retina.evaluate.review import SUSPICIOUS, review_datasets
    from keras_retina.model.saving import load_detector
    from keras_retina.run.folder import load_splits, open_data, open_run

    opened = open_run(run, data)
    model, spec = load_detector(opened.model)
    labelled = open_data(opened)
    splits = list(dict.fromkeys(split or splits_of(labelled)))
    datasets = load_splits(labelled, splits)
    for dataset in datasets:
        check_classes(spec.class_names, dataset, source=opened.model)
    files = opened.recipe.export
    detect = detect_function(
        model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
    )
    found = review_datasets(detect, spec, datasets=datasets)
    page, table = write_review(
        out or opened.review,
        found,
        name=opened.recipe.name,
        training_split=opened.recipe.data.train,
        splits=splits,
        pictures=pictures,
    )
    show_shares(found, suspicious=SUSPICIOUS)
    write_json(json_, summary(found, splits))
    say(f"wrote {page} and {table}")
    say("Correct the labels that are wrong, then train again:")
    folder = address(opened.data_dir)
    suggest(shlex.join(["keras-retina", "run", str(opened.recipe_file), "--data", folder, "--out", f"{run}_corrected"]))


def splits_of(folder: DataFolder) -> list[str]:
    """Returns the splits that the recipe names and the folder has, or the run made; all of them where none is there."""
    from keras_retina.data.reading.split_lists import missing_splits

    data, made = folder.settings, folder.lists.files if folder.lists else ()
    named = [name for name in (data.train, data.validation, data.test) if name]
    missing = set(missing_splits(data, folder.layout.splits)) - set(made)
    return [name for name in named if name not in missing] or named


def show_shares(found: Review, *, suspicious: float) -> None:
    """Prints for each class the share of its labels that are suspicious."""
    say(f"{'class':<22} {'labels':>7} {'suspicious':>11} {'share':>8}   found without a label")
    for one in found.classes:
        share = "-" if one.share is None else f"{100 * one.share:.1f} %"
        say(f"  {plain(one.name):<20.20} {one.labels:>7} {one.suspicious:>11} {share:>8}   {one.missing:>7}")
    say(f"suspicious: {suspicious} or more, of 1; {len(found.lines)} lines in all")
