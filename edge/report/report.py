"""`report.html`: one self-contained page of what a run folder proves, with pictures, for people and phones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from edge.report.formatting import FILTERS, package_versions, plain, visible
from edge.report.run import Run, read_results, read_run
from edge.report.sections.class_balance import balance_section
from edge.report.sections.curves import curve_section, scatter_section, training_section
from edge.report.sections.gallery import class_legend, gallery, shown
from edge.report.sections.healing import healing_section
from edge.report.sections.tables import (
    expected_section,
    facts,
    float_reference,
    hero_row,
    int8_row,
    per_class_section,
    published_line,
    repeat_pairs,
    sidecar_pairs,
    table_rows,
    to_ship,
    verdict,
)
from edge.verify.rows import Row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import SHOW_SCORE_THRESHOLD
from keras_retina.foundation.files.writing import write_file
from keras_retina.foundation.json_values import number
from keras_retina.foundation.run_paths import RunPaths

PICTURES = 6
FIRST_CURVES = 12


def write_report(
    run_dir: Path, dataset: Dataset | None = None, *, command: str | None = None, pictures: int = PICTURES
) -> Path:
    """Writes `run_dir/report.html` from the files of the run folder and returns its path.

    A part of the folder that does not exist yet leaves a sentence that says so and which command makes it.

    Args:
        dataset: the split that was verified, for the pictures; without it the report has none.
        command: the command line that produced the run, as it was typed.
        pictures: how many images are shown.

    Raises:
        InputError: `run_dir` is not a run folder, a file in it is damaged, or the page cannot be written; a report
            that was there before is kept.
    """
    paths = RunPaths(Path(run_dir))
    context = _context(read_run(paths), dataset, command=command, pictures=pictures)
    text = _environment().get_template("page.html.jinja").render(context)
    path = paths.report
    # A lone surrogate in a class name (JSON allows one) has no UTF-8: it becomes a character reference.
    write_file(path, text.encode("utf-8", "xmlcharrefreplace"))
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters.update(FILTERS)
    return environment


def _context(run: Run, dataset: Dataset | None, *, command: str | None, pictures: int) -> dict[str, Any]:
    reference = float_reference(run.rows)
    compared = [row for row in (reference, int8_row(run.rows)) if row is not None]
    results = {row.file: read_results(run, row) for row in compared}
    limit = run.recipe.get("verification")
    drop = limit.get("maximum_class_drop") if isinstance(limit, dict) else None
    context: dict[str, Any] = {
        "name": plain(run.recipe.get("name")) or run.paths.path.resolve().name,
        "verdict": verdict(run),
        "ship": to_ship(run),
        "facts": facts(run),
        "maximum_drop": 2.0 if number(drop) is None else number(drop),
        "show_score": SHOW_SCORE_THRESHOLD,
        "first_curves": FIRST_CURVES,
        "recipe_text": run.recipe_text,
        "repeat": repeat_pairs(run, command),
        "hashes": [(row.file, row.sha256) for row in run.rows if row.sha256],
        "expected": expected_section(run),
        "published": published_line(run.recipe),
        "sidecars": sidecar_pairs(run),
        "version": package_versions()["keras-retina"],
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    context |= table_rows(run, reference, hero=hero_row(run.rows))
    context |= per_class_section(run, reference)
    context |= {"healing": healing_section(run)}
    context |= {"scatter": scatter_section(run.rows)}
    context |= training_section(run)
    context |= balance_section(run)
    context |= curve_section(run, compared, results=results, show_score=SHOW_SCORE_THRESHOLD)
    return context | _gallery_section(run, dataset, compared=compared, results=results, pictures=pictures)


def _gallery_section(
    run: Run, dataset: Dataset | None, *, compared: Sequence[Row], results: dict[str, Any], pictures: int
) -> dict[str, Any]:
    files = [
        shown(row.label, row.format.slot, results=results[row.file])
        for row in compared
        if results[row.file] is not None
    ]
    absent = ""
    found = []
    if run.ground_truth is None:
        absent = "There is no verify/ground_truth.json, so no images can be shown. Run `keras-retina verify`."
    elif not files:
        absent = "No detections of the float or the int8 file are saved in verify/. Run `keras-retina verify`."
    elif dataset is None:
        absent = "The data folder was not given, so no images can be shown. Run `keras-retina report` with --data."
    else:
        found = gallery(run.ground_truth, dataset, files=files, show_score=SHOW_SCORE_THRESHOLD, count=pictures)
        if not found:
            absent = (
                f"The data given ({dataset.name}, split {dataset.split}) has none of the images that were verified. "
                "Give the folder and split that `keras-retina verify` used."
            )
        elif len(files) < 2:
            absent = "Only one of float and int8 has saved detections, so the two cannot be compared here."
    line = (
        f"Boxes with a score of at least {SHOW_SCORE_THRESHOLD:g}. The images are chosen by rule, not by hand: each "
        "says why it is here; ties go to the smaller image id, and a match is the same class at IoU 0.5."
    )
    legend = class_legend(run.ground_truth) if run.ground_truth else []
    return {"pictures": found, "pictures_line": line, "pictures_missing": absent, "class_legend": legend}
