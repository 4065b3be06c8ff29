"""The picture of a benchmark: latency of each file with its spread, and what the time of each is spent on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from keras_retina.foundation.files.writing import write_file

KINDS = 7  # kinds of operators with a colour of their own; the rest is one bar
REST = "other"


def write_chart(path: Path, result: dict[str, Any]) -> None:
    """Draws a benchmark as PNG: medians with the middle half of the times, and operators by kind.

    Raises:
        InputError: the file cannot be written.
    """
    rows = [row for row in result["rows"] if row["status"] == "measured"]
    profiles = [profile for profile in result["profiles"] if profile["operators"]]
    figure = Figure(figsize=(11, 1.6 + 0.4 * max(len(rows), 1) + 0.4 * len(profiles)), layout="constrained")
    sides = [max(len(rows), 1), max(len(profiles), 1) + 1]
    latency, operators = figure.subplots(2, 1, height_ratios=sides)
    _draw_latency(latency, rows)
    _draw_operators(operators, profiles)
    figure.suptitle(f"{result['machine']}, {result['date']}, LiteRT {result['litert']}", fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_file(path, picture.getvalue())


def _draw_latency(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = [f"{Path(row['file']).name}, {row['threads']} thr." for row in rows]
    axes.barh(names, [row["median_ms"] for row in rows], color="#4477aa")
    for position, row in enumerate(rows):
        spread = [[row["median_ms"] - row["q1_ms"]], [row["q3_ms"] - row["median_ms"]]]
        axes.errorbar(row["median_ms"], position, xerr=spread, color="black", capsize=3)
        axes.text(row["q3_ms"], position, f"  {row['median_ms']:.2f}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("milliseconds of one invoke: median and quartiles", fontsize=8)
    axes.tick_params(labelsize=8)


def _draw_operators(axes: Any, profiles: list[dict[str, Any]]) -> None:
    """One stacked bar a file; a kind of operator keeps its colour in all of them."""
    names = [f"{Path(profile['file']).name}, {profile['threads']} thr." for profile in profiles]
    spent: dict[str, list[float]] = {}
    for position, profile in enumerate(profiles):
        for kind in profile["by_operator"]:
            spent.setdefault(kind["op"], [0.0] * len(profiles))[position] = kind["ms"]
    longest = sorted(spent, key=lambda name: -sum(spent[name]))
    shown = {name: spent[name] for name in longest[:KINDS]}
    if longest[KINDS:]:
        shown[REST] = [sum(values) for values in zip(*(spent[name] for name in longest[KINDS:]), strict=True)]
    left = [0.0] * len(profiles)
    for name, values in shown.items():
        axes.barh(names, values, left=left, label=name)
        left = [start + value for start, value in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, the sum of operators run alone", fontsize=8)
    axes.tick_params(labelsize=8)
    if shown:
        axes.legend(fontsize=7, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.35))
