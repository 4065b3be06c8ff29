"""Speed on a device, from the log of LiteRT's own tools: `benchmark_model` (adb, logcat) and `litert-benchmark`.

Source: tflite/tools/benchmark/benchmark_model.cc and litert/python/tools/benchmark_litert_model.py of LiteRT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes

UNSTEADY, SLOWER = 0.2, 1.1  # a deviation of a fifth of the mean; a mean a tenth over that of the warm-up

NUMBER = r"(\d{1,15}(?:\.\d*)?(?:e[+-]?\d{1,2})?)"
PREFIX = re.compile(
    r"^(?:(?:\d\d-\d\d [\d:.]+ +\d+ +\d+ )?[VDIWEF][ /][\w.-]+ *(?:\( *\d+\))?: |(?:INFO|WARNING|ERROR): )"
    r"(?:\[[\w.]+:\d+\] )?",
    re.MULTILINE,
)  # of adb logcat, TFLite and LiteRT
START = re.compile(r"^STARTING!", re.MULTILINE)
GRAPH = re.compile(
    r"^(?:Graph: \[(.+)\]|Loaded model (.+?)|.*(?:Loading model from|Model): +(\S.*?))\s*$", re.MULTILINE
)
THREADS = re.compile(r"(?:#threads used for CPU inference|Num threads|Threads): *\[?(\d{1,9})\]?")
SIZE = re.compile(rf"(?:The input model file size \(MB\)|Model size): +{NUMBER}")
COUNT = re.compile(rf"^count=(\d{{1,15}}) (?:first={NUMBER} )?curr={NUMBER}(.*)$", re.MULTILINE)
FIELD = re.compile(rf"(\w+)={NUMBER}")
TIMINGS = re.compile(
    rf"Inference timings in us: Init: {NUMBER}, First inference: {NUMBER}, Warmup \(avg\): {NUMBER}, "
    rf"Inference \(avg\): {NUMBER}"
)
PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {NUMBER}")
DELTA = re.compile(
    rf"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): init={NUMBER} "
    rf"overall={NUMBER}"
)
DELEGATE = re.compile(
    r"(?:Explicitly applied (\w+) delegate|Replacing \d+ out of \d+ node\(s\) with delegate \((\w+)\)|"
    r"Created TensorFlow Lite (\w+) delegate|Accelerators: +(.+))"
)
REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate")
RESULT = re.compile(
    rf"^(Model initialization|Warmup|Inference)(?: \((\w+)\))?: +{NUMBER}(?: ms)?(?: \((\d{{1,15}}) runs\))?",
    re.MULTILINE,
)
FOOTPRINT = re.compile(rf"^(?:Peak memory|Overall footprint): +{NUMBER} MB", re.MULTILINE)
BLOCK = re.compile(r"Inference timings in us|BENCHMARK RESULTS")


@dataclass(frozen=True)
class DeviceRun:
    """One file on one device, milliseconds of the network alone; None for what the log does not say.

    Attributes:
        file: name of the model on the device.
        accelerator: delegate that took operators, `delegated` how many and of how many.
        memory_mib: what the tool needed, its own memory included where it says only that.
        notes: what makes the figures doubtful.
    """

    device: str
    log: str
    tool: str
    file: str
    mean_ms: float
    runs: int | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    warmup_ms: float | None = None
    threads: int | None = None
    size_mb: float | None = None
    memory_mib: float | None = None
    accelerator: str = ""
    delegated: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns what `--json` writes."""
        return asdict(self)


def read_device_log(path: Path, device: str) -> list[DeviceRun]:
    """Returns the runs in a log, in order; a log may hold several.

    Raises:
        InputError: the file cannot be read, or has no result of these tools.
    """
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(
            f"--import: expected a log. Received: {printable(path)}, {error}. Correct the path."
        ) from error
    text = PREFIX.sub("", text.replace("\r", ""))
    runs = [run for part in _parts(text) if (run := _one(part, device=device, log=path.name)) is not None]
    if not runs:
        raise InputError(
            f"--import: expected what benchmark_model or litert-benchmark prints, with 'Inference timings in us' or "
            f"'BENCHMARK RESULTS'. Received: {printable(path)}, without either. Save all that the tool printed."
        )
    return [replace(run, notes=_notes(run)) for run in runs]


def beside(run: DeviceRun, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the row of the same file on this machine, on as many threads where there is one; None without any."""
    same = [row for row in rows if Path(row["file"]).name == run.file and row["status"] == "measured"]
    return next((row for row in same if row["threads"] == run.threads), same[0] if same else None)


def _parts(text: str) -> list[str]:
    """Splits a log into runs: at STARTING!, or where a model is named behind a block of results."""
    starts = [match.start() for match in START.finditer(text)]
    if not starts:
        blocks = [match.start() for match in BLOCK.finditer(text)]
        named = [GRAPH.search(text, start) for start in blocks[:-1]]
        starts = [0, *(match.start() if match else start for match, start in zip(named, blocks[1:], strict=True))]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _one(text: str, *, device: str, log: str) -> DeviceRun | None:
    timings = TIMINGS.search(text)
    run = _benchmark_model(text, timings, device=device, log=log) if timings else _litert(text, device=device, log=log)
    if run is None:
        return None
    graph, threads, size = GRAPH.search(text), THREADS.search(text), SIZE.search(text)
    delegate, replaced, peak, delta = (
        DELEGATE.search(text),
        REPLACED.search(text),
        PEAK.search(text),
        DELTA.search(text),
    )
    footprints = [float(value) for value in FOOTPRINT.findall(text)]
    memory = peak.group(1) if peak else delta.group(2) if delta else max(footprints, default=None)
    path = next((group for group in graph.groups() if group), "") if graph else ""
    return replace(
        run,
        file=PurePosixPath(path.replace("\\", "/")).name or "unnamed",
        threads=int(threads.group(1)) if threads else None,
        size_mb=float(size.group(1)) if size else None,
        memory_mib=None if memory is None else float(memory),
        accelerator=next((group for group in delegate.groups() if group), "") if delegate else "",
        delegated=f"{replaced.group(1)}/{replaced.group(2)}" if replaced else "",
    )


def _benchmark_model(text: str, timings: re.Match[str], *, device: str, log: str) -> DeviceRun:
    load, first, warmup, mean = (float(value) / 1000 for value in timings.groups())
    run = DeviceRun(device, log, "benchmark_model", "", mean, load_ms=load, first_ms=first, warmup_ms=warmup)
    return _with_counts(run, text)


def _with_counts(run: DeviceRun, text: str) -> DeviceRun:
    """Adds what the last line of counts says; the one before it is the warm-up."""
    counts = list(COUNT.finditer(text))
    if not counts:
        return run
    fields = {name: float(value) / 1000 for name, value in FIELD.findall(counts[-1].group(4))}
    return replace(
        run,
        runs=int(counts[-1].group(1)),
        median_ms=fields.get("median"),
        p95_ms=fields.get("p95"),
        min_ms=fields.get("min"),
        max_ms=fields.get("max"),
        std_ms=fields.get("std"),
    )


def _litert(text: str, *, device: str, log: str) -> DeviceRun | None:
    found = {(name, kind): (float(value), count) for name, kind, value, count in RESULT.findall(text)}
    if ("Inference", "avg") not in found:
        return None
    mean, runs = found["Inference", "avg"]

    def value(name: str, kind: str = "") -> float | None:
        return found[name, kind][0] if (name, kind) in found else None

    tool = "litert-benchmark" if "benchmark_litert_model: " in text else "benchmark_model of LiteRT"
    run = DeviceRun(
        device, log, tool, "", mean,
        runs=int(runs) if runs else None,
        median_ms=value("Inference", "median"),
        p95_ms=value("Inference", "p95"),
        min_ms=value("Inference", "min"),
        max_ms=value("Inference", "max"),
        std_ms=value("Inference", "std"),
        load_ms=value("Model initialization"),
        first_ms=value("Warmup", "first"),
        warmup_ms=value("Warmup", "avg"),
    )  # fmt: skip
    return _with_counts(run, text)


def _notes(run: DeviceRun) -> tuple[str, ...]:
    notes = []
    if run.std_ms is not None and run.std_ms > UNSTEADY * run.mean_ms:
        notes.append(f"unsteady: the deviation is {100 * run.std_ms / run.mean_ms:.0f} % of the mean; run it again")
    if run.warmup_ms and run.mean_ms > SLOWER * run.warmup_ms:
        notes.append(f"slower than its own warm-up ({run.warmup_ms:.2f} ms): the device may have slowed down from heat")
    return tuple(notes)
