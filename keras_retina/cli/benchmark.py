"""The verb `benchmark`, and how its result is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_retina.cli.options import HeadOption, JsonOption, check_choice, heads, output_file
from keras_retina.cli.output import note, plain, say, write_json
from keras_retina.foundation.errors import InputError, one_line, shown
from keras_retina.foundation.machine import MOST_THREADS

if TYPE_CHECKING:
    from edge.benchmark.device_log import DeviceRun

SHOWN_KINDS, SHOWN_OPERATORS = 6, 5


def benchmark(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Any .tflite files; the first is what the others are held against.")
    ] = None,
    threads: Annotated[str, typer.Option("--threads", help="Numbers of threads, with commas.")] = "1,2",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each file, 5 invokes a turn.")] = 20,
    image: Annotated[Path | None, typer.Option("--image", help="What the files see. Default: noise.")] = None,
    head: HeadOption = None,
    imported: Annotated[
        list[Path] | None,
        typer.Option(
            "--import", help="What benchmark_model or litert-benchmark printed on a device; repeat it for more."
        ),
    ] = None,
    devices: Annotated[
        list[str] | None, typer.Option("--device", help="The name of that device, one for each --import.")
    ] = None,
    json_: JsonOption = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", help="Draw latency and operators to this .png.", callback=output_file)
    ] = None,
) -> None:
    """Measure speed, memory and operators of any .tflite files side by side; exit 2 if one could not be measured."""
    from edge.benchmark.benchmark import benchmark as measure
    from edge.benchmark.benchmark import refused
    from edge.benchmark.chart import write_chart

    if chart is not None and chart.suffix.lower() != ".png":
        raise InputError(f"--chart: expected a .png file. Received: {chart}. Correct the ending.")
    if chart is not None and not files:
        raise InputError("--chart: expected files to draw. Received: none. Name the files; a log has no operators.")
    if image is not None:
        check_image(image)
    check_choice("--head", head, choices=heads())
    runs = device_runs(imported or [], devices or [])
    if not files and runs:
        result: dict[str, Any] = {"rows": []}
    else:
        result = measure(files or [], parse_threads(threads), rounds=rounds, image=image, head=head)
        show_benchmark(result)
    for line in device_lines(runs, result["rows"]):
        say(line)
    if runs:
        result["devices"] = [run.to_json() for run in runs]
    write_json(json_, result)
    if chart is not None:
        write_chart(chart, result)
        say(f"wrote {chart}")
    reasons = refused(result)
    for reason in reasons:
        note(f"keras-retina: {one_line(' '.join(reason.split()))}")
    if reasons:
        raise typer.Exit(2)


def device_runs(logs: list[Path], names: list[str]) -> list[DeviceRun]:
    """Returns the runs of every log, each with the name of its device."""
    from edge.benchmark.device_log import read_device_log

    if len(logs) != len(names) or not all(name.strip() for name in names):
        raise InputError(
            f"--import: expected as many --device as --import, with a name. Received: {len(logs)} logs and "
            f"devices={names}. Example: --import phone.txt --device 'Pixel 8'"
        )
    return [run for log, name in zip(logs, names, strict=True) for run in read_device_log(log, name.strip())]


def device_lines(runs: list[DeviceRun], rows: list[dict[str, Any]]) -> list[str]:
    """Returns a line for each run on a device, with the time of the same file here, and what makes it doubtful."""
    from edge.benchmark.device_log import beside

    lines = [""] if runs else []
    for run in runs:
        middle = f"mean {run.mean_ms:.2f} ms" if run.median_ms is None else f"median {run.median_ms:.2f} ms"
        places = (("p95", run.p95_ms), ("load", run.load_ms), ("first", run.first_ms))
        more = [f"{name} {value:.2f}" for name, value in places if value is not None]
        about = [
            f"{run.runs} runs" if run.runs else "",
            f"{run.threads} thread{'s' if run.threads != 1 else ''}" if run.threads else "",
        ]
        about += [" ".join(part for part in (run.accelerator, run.delegated) if part)]
        about += [f"{run.memory_mib:.1f} MiB" if run.memory_mib else ""]
        facts = ", ".join(plain(one) for one in about if one)
        line = f"{plain(run.device)}: {plain(run.file)}: {', '.join([middle, *more])} ({facts or run.tool})"
        lines.append(line + _beside_line(run, beside(run, rows)))
        lines += [f"  note: {note}" for note in run.notes]
    if runs:
        lines.append("Of devices, what their logs say: other programs, rounds and clocks than here.")
    return lines


def _beside_line(run: DeviceRun, row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    share = (run.median_ms or run.mean_ms) / row["median_ms"]
    threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}"
    return f"; {share:.2f} x of here, {row['median_ms']:.2f} ms on {threads}"


def parse_threads(text: str) -> list[int]:
    """Returns the numbers of `1,2`."""
    try:
        numbers = [int(part) for part in text.split(",")]
        if not all(1 <= number <= MOST_THREADS for number in numbers):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"--threads: expected whole numbers with commas, like 1,2, each from 1 to {MOST_THREADS}. "
            f"Received: {shown(text)}."
        ) from error
    return numbers


def check_image(path: Path) -> None:
    """Raises InputError for a file that is no image of 8 bits."""
    from keras_retina.data.images import read_image

    read_image(path)


def show_benchmark(result: dict[str, Any]) -> None:
    """Prints the latency of each file, what it is compared with the first, and where the time goes."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = [row for row in result["rows"] if row["status"] == "measured"]
    if not rows:
        return
    peaks = ", ".join(f"{peak:.1f} on {threads}" for threads, peak in result["peak_gmacs"].items())
    place = f"{result['machine']}, {result['date']}, LiteRT {result['litert']}"
    table = Table(title=f"{place}, float32 peak in 10^9 multiply-adds/s by threads: {peaks}")
    names = ("thr.", "median\nms", "p95", "min", "IQR", "load\nms", "first\nms", "peak\nMiB", "of that\nbefore")
    table.add_column("file", overflow="fold")
    for name in (*names, "M mul-\nadds", "10^9/s", "% of\npeak", "XNNPACK", "parts", "against the first"):
        table.add_column(name, justify="right", no_wrap=name != "against the first")
    for row in rows:
        times = ("median_ms", "p95_ms", "min_ms", "iqr_ms")
        table.add_row(
            escape(ascii(Path(row["file"]).name)[1:-1]),
            str(row["threads"]),
            *(f"{row[name]:.2f}" for name in times),
            *(
                "-" if row[name] is None else f"{row[name]:.1f}"
                for name in ("load_ms", "first_ms", "peak_mib", "base_mib")
            ),
            f"{row['multiply_adds'] / 1e6:.1f}{'+' if row['uncounted'] else ''}",
            f"{row['gmacs']:.2f}",
            f"{100 * row['peak_share']:.0f}",
            f"{row['delegated']}/{row['operators']}",
            str(row["partitions"]),
            escape(against_line(row["against_first"])),
        )
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    for line in (*split_lines(rows), *profile_lines(result["profiles"])):
        say(line)


def against_line(against: dict[str, Any] | None) -> str:
    """Returns `0.81 x (0.80 to 0.83), faster`, or nothing for the first file."""
    if against is None:
        return ""
    return f"{against['share']:.3f} x ({against['low']:.3f} to {against['high']:.3f}), {against['verdict']}"


def split_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Returns what a whole `detect` is made of, for the rows of detectors."""
    return [
        f"{_name(row)}: detect = prepare {row['prepare_ms']:.2f} + invoke {row['invoke_ms']:.2f} + "
        f"post-processing {row['postprocess_ms']:.2f} ms"
        for row in rows
        if row["prepare_ms"] is not None
    ] + [f"{_name(row)}: detect is not timed: {row['detect_problem']}" for row in rows if row["detect_problem"]]


def profile_lines(profiles: list[dict[str, Any]]) -> list[str]:
    """Returns the kinds of operators and the single operators that take longest, for each file."""
    lines = []
    for profile in profiles:
        lines.append("")
        if profile["reason"]:
            lines.append(f"{_name(profile)}: no profile: {profile['reason']}")
            continue
        lines.append(
            f"{_name(profile)}: operators run alone add up to {profile['sum_ms']:.2f} ms, the file in the same process "
            f"took {profile['whole_ms']:.2f}"
        )
        lines += [
            f"  {kind['ms']:8.3f} ms  {100 * kind['share']:5.1f} %  {kind['count']:4} x {ascii(kind['op'])[1:-1]}"
            for kind in profile["by_operator"][:SHOWN_KINDS]
        ]
        longest = sorted(profile["operators"], key=lambda one: -(one["ms"] or 0.0))[:SHOWN_OPERATORS]
        lines += [
            f"  {one['ms'] or 0:8.3f} ms  operator {one['index']} {ascii(one['op'])[1:-1]}, "
            f"{ascii(one['output'])[1:-1][:70]}{'' if one['delegated'] else ', not delegated'}"
            for one in longest
        ]
    return lines


def _name(entry: dict[str, Any]) -> str:
    threads = entry["threads"]
    return f"{ascii(Path(entry['file']).name)[1:-1]}, {threads} thread{'s' if threads != 1 else ''}"
