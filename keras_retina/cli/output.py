"""What the verbs print: lines, the next command, and the tables of measurements."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from keras_retina.foundation.errors import printable, printable_lines

if TYPE_CHECKING:
    from edge.verify.result import VerifyResult
    from keras_retina.plan.tune.results import TrialRow

SHOWN_LAYERS = 12
GAINS = ("gain", "gain_with_readers")  # of a layer that was left in float, None where it was not measured


def say(text: str) -> None:
    """Prints lines at once, so that logs of long work can be followed; no control character reaches the terminal."""
    print(printable_lines(text), flush=True)


class PlainLines(logging.Handler):
    """Prints what both packages log, as `say` does; a warning says that it is one."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        say(prefix + record.getMessage())


def note(text: str) -> None:
    """Prints lines on standard error, as `say` does on standard output."""
    print(printable_lines(text), file=sys.stderr, flush=True)


def any_character() -> None:
    """Lets every character be printed from now on: what the terminal's encoding does not have is escaped.

    A Windows terminal in cp1252 has no emoji, and a name of an emoji class would end the work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_output() -> OSError | None:
    """Writes what is left of the output, and returns why that failed: a full disk, or a reader that went away.

    Python would say it once more when it ends, with another exit status.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def show_log() -> None:
    """Prints from now on what `keras_retina` and `edge` log of their progress. Asking twice changes nothing."""
    for name in ("keras_retina", "edge"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # TensorFlow puts a handler on the root logger, which would print each line again
        if not any(isinstance(handler, PlainLines) for handler in logger.handlers):
            logger.addHandler(PlainLines())


def plain(text: str) -> str:
    """Returns text of a file as ASCII, so that no control character of it reaches the terminal."""
    return ascii(text)[1:-1]


def write_json(path: Path | None, value: Any) -> None:
    """Writes what `--json` asked for, if it was given."""
    if path:
        path.write_text(json.dumps(value, indent=2, allow_nan=False), encoding="utf-8")
        say(f"wrote {path}")


def suggest(command: str) -> None:
    """Prints the command that comes next."""
    say(f"next: {command}")


def show_metrics(metrics: dict[str, Any]) -> None:
    """Prints the AP values of one model, by size and by class."""
    for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"):
        say(f"{name:<10} {_number(metrics[name])}")
    for name, value in metrics["per_class"].items():
        say(f"  {plain(name):<20} {_number(value)}")


def show_coverage(split: str, before: dict[str, Any], *, after: dict[str, Any]) -> None:
    """Prints the anchor coverage of one split, by class, with the recipe's anchors and with the fitted ones."""
    say(f"\n{plain(split):<22} {'boxes':>7}   best IoU under 0.5     mean best IoU")
    rows = [(name, before["classes"][name], after["classes"][name]) for name in before["classes"]]
    for name, old, new in [*rows, ("all", before, after)]:
        percents = [None if one["poor_share"] is None else 100 * one["poor_share"] for one in (old, new)]
        poor = f"{_number(percents[0], 1):>7} -> {_number(percents[1], 1):<5} %"
        mean = f"{_number(old['mean_iou'], 3):>5} -> {_number(new['mean_iou'], 3)}"
        say(f"  {plain(name):<20.20} {old['boxes']:>7}   {poor}     {mean}")


def show_rows(result: VerifyResult) -> None:
    """Prints the table of verify.json and its gate."""
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "AP", "AP50", "AP75", "MB", "gzip MB", "ms median", "status")
    for row in result.rows:
        table.add_row(
            _cell(row.file),
            *(_number(row.ap[name]) for name in ("AP", "AP50", "AP75")),
            *(_number(size and size / 1e6, 2) for size in (row.size_bytes, row.gzip_bytes)),
            _number(row.latency.median if row.latency else None, 1),
            _cell(row.status + (f": {row.reason}" if row.reason else "")),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    failed = [row for row in result.rows if row.status == "failed" and not row.also]
    of_files = f" for {len(failed)} of {len(result.rows)} files" if failed else ""
    say(f"gate {'passed' if result.gate.passed else f'FAILED{of_files}'}: {result.gate.rule}")


def show_trials(rows: list[TrialRow]) -> None:
    """Prints the trials of a study, the highest AP first, those without one last."""
    from rich.console import Console
    from rich.table import Table

    names = list(rows[0].values) if rows else []
    table = Table("trial", "state", "AP", "min", *names, "reason")
    for row in sorted(rows, key=lambda row: (row.state != "complete", -(row.ap or 0.0), row.number)):
        values = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values.values()]
        table.add_row(str(row.number), row.state, _number(row.ap), _number(row.minutes, 1), *values, _cell(row.reason))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def show_quantization(result: dict[str, Any]) -> None:
    """Prints what the debugger of the int8 file found: the layers that cost most, and the AP with them in float."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    measured = [row for row in result["layers"] if any(row[name] is not None for name in GAINS)]
    shown, ap = measured[:SHOWN_LAYERS], result["ap"]
    table = Table(
        title=f"{result['file']}: the {len(shown)} of {len(result['layers'])} layers that disturb the heads most",
        caption="dB: signal to quantization noise of the layer's worst map. alone: on float inputs; channel: median "
        "channel of that; in file: with the errors before it. Last columns: change of the error of the heads with the "
        "layer in float, and with the layers that read it in float too.",
        caption_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    decibels = ("weights\ndB", "alone\ndB", "channel\ndB", "in file\ndB")
    for name in ("maps", "range", "scale", "clipped\n%", *decibels, "cosine", "in float\n%", "with\nreaders %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown:
        maps = [one for one in result["feature_maps"] if one["layer"] == row["layer"]]
        worst = min(maps, key=lambda one: one["accumulated"]["sqnr_db"])
        alone = [one["local"] for one in maps if one["local"]]
        table.add_row(
            _cell(row["layer"]),
            str(len(maps)),
            f"{min(one['range'][0] for one in maps):.3g} .. {max(one['range'][1] for one in maps):.3g}",
            "float" if worst["scale"] is None else f"{worst['scale']:.3g}",
            _number(100 * max(one["clipped_share"] for one in maps)),
            _number(worst["weights_sqnr_db"], 1),
            _number(min((one["sqnr_db"] for one in alone), default=None), 1),
            _number(min((one["channel_sqnr_db"] for one in alone), default=None), 1),
            _number(worst["accumulated"]["sqnr_db"], 1),
            _number(worst["accumulated"]["cosine"], 4),
            *("-" if row[name] is None else f"{-100 * row[name]:+.1f}" for name in GAINS),
        )
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for row in result["layers"]:
        if row["reason"]:
            reasons.setdefault(row["reason"], []).append(row["layer"])
    if reasons:
        table = Table("layers", "why", title="Layers that were not tried alone, or could not be measured")
        for reason, layers in reasons.items():
            table.add_row(_cell(layers[0] if len(layers) == 1 else str(len(layers))), _cell(reason))
        console.print(table)
    table = Table("left in float", "AP", title=f"AP on {ap['images']} training images, to compare with each other only")
    for name, value in (("everything", ap["float"]), ("as in the file", ap["int8"])):
        table.add_row(name, _number(value))
    for trial in ap["trials"]:
        table.add_row(_cell(", ".join(trial["float_layers"])), _number(trial["AP"]))
    console.print(table)
    say(result["reason"])


def _cell(text: str) -> str:
    """Returns a text of a file as a cell of a table, where rich would take `[red]` for a colour."""
    from rich.markup import escape

    return escape(printable(text))


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def exit_by_gate(result: VerifyResult) -> None:
    """Ends with status 1 when a file failed or was not run."""
    if not result.gate.passed:
        raise typer.Exit(1)
