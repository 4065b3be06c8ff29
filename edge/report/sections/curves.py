"""What the report charts: size and latency against AP, the training history, precision against recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from edge.report.charts import Point, Series, line_chart, padded_range, scatter_chart
from edge.report.detections import precision_recall
from edge.report.formatting import ap
from edge.report.run import Epoch, Run
from edge.verify.rows import Row

TOTAL_SLOT, FIRST_SLOT, SECOND_SLOT = 8, 9, 10


def scatter_section(rows: Sequence[Row]) -> list[Markup]:
    """Returns AP over file size, over latency and over multiply-adds, each when at least one file has both.

    Raw heads and builtin operators are left out where the file with the post-process is there: the network is the same.
    """
    whole = {(row.model, row.kind) for row in rows if not row.other_form}
    rows = [row for row in rows if not (row.other_form and (row.model, row.kind) in whole)]
    charts = []
    for name, title, label, value_of in (
        ("size", "AP over file size", "size, MB", lambda row: None if row.size_bytes is None else row.size_bytes / 1e6),
        ("latency", "AP over latency", "median latency, ms", lambda row: row.latency.median if row.latency else None),
        (
            "work",
            "AP over multiply-adds",
            "multiply-adds, millions",
            lambda row: None if row.multiply_adds is None else row.multiply_adds / 1e6,
        ),
    ):
        points = [
            Point(row.label, row.format.slot, value, row.ap["AP"] or 0.0, hollow=not row.is_verified)
            for row in rows
            if row.is_measured and (value := value_of(row)) is not None
        ]
        if points:
            told = "; ".join(f"{point.label}: AP {point.y:.1f} at {point.x:.3g} {label}" for point in points)
            x_range = padded_range([point.x for point in points], from_zero=True)
            y_range = padded_range([point.y for point in points], share=0.25)
            charts.append(
                scatter_chart(
                    name,
                    title,
                    description=told,
                    points=points,
                    x_label=label,
                    x_range=x_range,
                    y_range=y_range,
                    y_label="AP",
                )
            )
    return charts


def training_section(run: Run) -> dict[str, Any]:
    """Returns loss, AP and learning rate over the epochs, and a sentence for each that cannot be drawn."""
    history, missing, charts = run.history, [], []
    if not history:
        missing.append("train/history.csv is missing or empty: this run was not trained here, or not for one epoch.")
        return {"training": [], "training_line": "", "training_missing": missing}
    for name, title, columns, absent in (
        (
            "loss",
            "Loss",
            (
                ("loss", "total", TOTAL_SLOT),
                ("classes_loss", "classes", FIRST_SLOT),
                ("boxes_loss", "boxes", SECOND_SLOT),
            ),
            "train/history.csv has no finite loss, so there is no chart of it.",
        ),
        (
            "ap",
            "Validation AP",
            (("AP50", "AP50", FIRST_SLOT), ("AP", "AP", TOTAL_SLOT)),
            "No epoch was evaluated, so there is no chart of the validation AP.",
        ),
        (
            "rate",
            "Learning rate",
            (("learning_rate", "learning rate", TOTAL_SLOT),),
            "train/history.csv has no learning rate, so there is no chart of it.",
        ),
    ):
        series = [
            _series(history, column, label=label, slot=slot, dots=name == "ap") for column, label, slot in columns
        ]
        series = [line for line in series if line.points]
        if series:
            charts.append(_history_chart(name, title, series=series))
        else:
            missing.append(absent)
    broken = [e.epoch for e in history if (loss := e.values.get("loss")) is not None and not math.isfinite(loss)]
    if broken:
        missing.append(f"The loss was not a finite number in epoch {broken[0]}: this training diverged.")
    return {"training": charts, "training_line": _training_line(history), "training_missing": missing}


def curve_section(
    run: Run, compared: Sequence[Row], *, results: dict[str, list[dict[str, Any]] | None], show_score: float
) -> dict[str, Any]:
    """Returns one precision-recall chart a class, the classes with most objects first, float and int8 in each."""
    empty: dict[str, Any] = {"curves": [], "curve_legend": [], "curves_missing": ""}
    if run.ground_truth is None:
        absent = "There is no verify/ground_truth.json, so there are no curves. Run `keras-retina verify`."
        return empty | {"curves_missing": absent}
    drawn = [row for row in compared if results[row.file] is not None]
    without = [row.label for row in compared if results[row.file] is None]
    absent = f"No detections of {' and '.join(without)} are saved in verify/. " if without else ""
    if len(compared) < 2:
        absent += "Only one of float and int8 was measured, so the two cannot be compared here."
    if not drawn:
        return empty | {"curves_missing": absent or "No file was measured yet. Run `keras-retina verify`."}
    by_file = {
        row.file: precision_recall(run.ground_truth, results[row.file] or [], show_score=show_score) for row in drawn
    }
    counts: dict[int, int] = {}
    for item in run.ground_truth["annotations"]:
        counts[item["category_id"]] = counts.get(item["category_id"], 0) + 1
    charts = []
    for category in sorted(run.ground_truth["categories"], key=lambda entry: -counts.get(entry["id"], 0)):
        curves = {row.file: by_file[row.file].get(category["id"]) for row in drawn}
        series = [
            Series(row.label, row.format.slot, curve.points, dashed=index > 0, mark=curve.shown)
            for index, row in enumerate(drawn)
            if (curve := curves[row.file]) is not None
        ]
        if series:
            told = ", ".join(f"{row.label} {ap(curve.ap50)}" for row in drawn if (curve := curves[row.file]))
            caption = f"AP50 {told}; {counts.get(category['id'], 0)} objects"
            chart = line_chart(
                f"pr{category['id']}",
                category["name"],
                description=f"Precision over recall of {category['name']}. {caption}.",
                series=series,
                x_label="recall",
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
                size=(300, 220),
                legend=False,
                y_label="precision",
            )
            charts.append({"chart": chart, "caption": caption})
    names = [row.label + (" (dashed)" if index else "") for index, row in enumerate(drawn)]
    legend = [{"title": name, "slot": row.format.slot} for name, row in zip(names, drawn, strict=True)]
    if not charts:
        absent += "verify/ground_truth.json has no labelled objects, so there are no curves."
    return {"curves": charts, "curve_legend": legend, "curves_missing": absent}


def _series(history: Sequence[Epoch], column: str, *, label: str, slot: int, dots: bool) -> Series:
    points = [
        (float(epoch.epoch), value)
        for epoch in history
        if (value := epoch.values.get(column)) is not None and math.isfinite(value)
    ]
    best = max(points, key=lambda point: point[1]) if points and column == "AP" else None
    return Series(label, slot, points, dots=dots, mark=best)


def _history_chart(name: str, title: str, *, series: Sequence[Series]) -> Markup:
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    told = "; ".join(
        f"{line.name}: {line.points[0][1]:.4g} in epoch {line.points[0][0]:.0f}, "
        f"{line.points[-1][1]:.4g} in epoch {line.points[-1][0]:.0f}"
        for line in series
    )
    x_range = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    return line_chart(
        name,
        title,
        description=told,
        series=series,
        x_label="epoch",
        x_range=x_range,
        y_range=padded_range(ys, from_zero=True),
        size=(300, 220),
        whole_x=True,
    )


def _training_line(history: Sequence[Epoch]) -> str:
    evaluated = [(value, epoch.epoch) for epoch in history if (value := epoch.values.get("AP")) is not None]
    line = f"{len(history)} epoch{'s' if len(history) != 1 else ''}"
    if evaluated:
        best, epoch = max(evaluated, key=lambda pair: (pair[0], -pair[1]))
        line += f"; best validation AP {best:.1f} after epoch {epoch} (ring), {evaluated[-1][0]:.1f} at the end"
    return line + "."
