"""Speed and size of any `.tflite` files on this machine, measured side by side, with what the time is spent on.

LiteRT runs in processes of their own only (`edge.detectors.open_file`, `edge.benchmark.interleave`,
`edge.benchmark.operators`): a file that crashes it is a row that says so.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.benchmark.comparison import UNMEASURED, against_first, by_operator, latency_statistics, throughput
from edge.benchmark.interleave import detection_split, interleaved_latency
from edge.benchmark.matrix_peak import float32_peak
from edge.benchmark.operators import operator_profile
from edge.detectors.child import ChildError
from edge.detectors.open_file import opened
from edge.runtime import ModelFileError
from edge.tflite.graph import graph_work, read_graphs
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.machine import machine_name

logger = logging.getLogger(__name__)

ROUNDS = 20
OPENINGS = 3


def benchmark(
    paths: Sequence[Path],
    threads: Sequence[int] = (1, 2),
    *,
    rounds: int = ROUNDS,
    image: Path | None = None,
    openings: int = OPENINGS,
    head: str | None = None,
) -> dict[str, Any]:
    """Returns `machine`, `date`, `litert`, `peak_gmacs` by threads, `rows` and `profiles`.

    A row is one file on one number of threads: docs/how_it_works/benchmark.md has the meaning of every field. A file
    that cannot be measured has rows with `status` `not run` and a `reason`. Profiles are taken on the first number of
    threads. `head` is how outputs are read that can be read in two ways (`edge.detectors.heads.recognise`).

    Raises:
        InputError: no file, the same file twice, or a number of threads or rounds under 1.
    """
    paths = [Path(path) for path in paths]
    _check(paths, threads, rounds=rounds)
    rows: dict[tuple[Path, int], dict[str, Any]] = {}
    machine = machine_name()
    for path in paths:
        facts = _static_facts(path)
        for count in threads:
            rows[path, count] = {"file": str(path), "threads": count, "machine": machine, **facts}
    placed = {count: _open_all(paths, count, rows=rows, image=image, openings=openings) for count in threads}
    good = [path for path in paths if all(rows[path, count]["status"] == "measured" for count in threads)]
    peaks = {
        count: _time_all(good, count, rounds=rounds, rows=rows, image=image, head=head) for count in threads if good
    }
    return {
        "machine": machine,
        "date": datetime.date.today().isoformat(),
        "litert": importlib.metadata.version("ai-edge-litert"),
        "image": None if image is None else str(image),
        "peak_gmacs": {str(count): peak for count, peak in peaks.items()},
        "rows": list(rows.values()),
        "profiles": [_profile(path, threads[0], taken=placed[threads[0]][path], image=image) for path in good],
    }


def refused(result: dict[str, Any]) -> list[str]:
    """Returns the reason for each file that was not measured, once."""
    return list(dict.fromkeys(row["reason"] for row in result["rows"] if row["status"] != "measured"))


def _check(paths: Sequence[Path], threads: Sequence[int], *, rounds: int) -> None:
    if not paths:
        raise InputError("FILE: expected at least one .tflite file. Received: none. Name the files.")
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        again = next(path for index, path in enumerate(paths) if resolved[index] in resolved[:index])
        raise InputError(f"FILE: expected each file once. Received: {again} twice. Copy it to compare it with itself.")
    if not threads or min(threads) < 1 or len(set(threads)) < len(threads):
        raise InputError(f"--threads: expected whole numbers from 1, each once. Received: {list(threads)}.")
    if rounds < 1:
        raise InputError(f"--rounds: expected at least 1. Received: rounds={rounds}.")


def _static_facts(path: Path) -> dict[str, Any]:
    """Returns what a row holds before anything runs: size, multiply-adds, and whether the file can be parsed."""
    facts = {"status": "not run", "reason": "", "size_bytes": None, **UNMEASURED}
    try:
        work = graph_work(read_graphs(path)[0])
    except InputError as error:
        return {**facts, "reason": str(error)}
    size = path.stat().st_size
    facts |= {"size_bytes": size, "multiply_adds": work.total, "uncounted": work.uncounted}
    return facts | {"status": "measured"}


def _open_all(
    paths: Sequence[Path],
    threads: int,
    *,
    rows: dict[tuple[Path, int], dict],
    image: Path | None,
    openings: int,
) -> dict[Path, set[int]]:
    """Fills in the medians of a few openings in new processes; returns the operators that were delegated, by file."""
    placed: dict[Path, set[int]] = {}
    for path in paths:
        row = rows[path, threads]
        if row["status"] != "measured":
            continue
        logger.info(f"opening {path.name}, threads {threads}")
        try:
            found = [opened(path, threads, image=image) for _ in range(openings)]
        except ModelFileError as error:
            for (other, _), affected in rows.items():
                if other == path:
                    affected |= {"status": "not run", "reason": str(error)}
            continue
        for name in ("load_ms", "first_ms", "peak_mib", "base_mib"):
            values = [one[name] for one in found if one[name] is not None]
            row[name] = statistics.median(values) if values else None
        row |= {name: found[0][name] for name in ("operators", "partitions", "left")}
        placed[path] = set(found[0]["delegated"])
        row["delegated"] = len(placed[path])
    return placed


def _time_all(
    paths: Sequence[Path],
    threads: int,
    *,
    rounds: int,
    rows: dict[tuple[Path, int], dict],
    image: Path | None,
    head: str | None,
) -> float:
    """Times the files in turns, fills their rows in and returns the float32 peak, the better of before and after."""
    peak = float32_peak(threads)
    logger.info(f"timing {len(paths)} files in turns, threads {threads}, {rounds} rounds")
    try:
        times = interleaved_latency(paths, threads, rounds=rounds, image=image)
        splits = [detection_split(path, threads, runs=rounds, image=image, head=head) for path in paths]
    except ChildError as error:
        for path in paths:
            rows[path, threads] |= {"status": "not run", "reason": f"{path}: timing on {threads} threads: {error}"}
        return peak
    peak = max(peak, float32_peak(threads))
    for path, mine, (split, problem) in zip(paths, times, splits, strict=True):
        row = rows[path, threads]
        row |= latency_statistics(mine)
        row |= throughput(row["multiply_adds"], row["median_ms"], peak=peak)
        row |= {f"{name}_ms": value for name, value in (split or {}).items()} | {"detect_problem": problem}
        if path != paths[0]:
            row["against_first"] = {"file": str(paths[0]), **against_first(times[0], mine)}
    return peak


def _profile(path: Path, threads: int, *, taken: set[int], image: Path | None) -> dict[str, Any]:
    logger.info(f"profiling {path.name}, threads {threads}")
    entry: dict[str, Any] = {"file": str(path), "threads": threads, "reason": ""}
    try:
        found = operator_profile(path, threads, image=image)
    except ChildError as error:
        return {**entry, "reason": str(error), "operators": [], "by_operator": [], "sum_ms": None, "whole_ms": None}
    work = graph_work(read_graphs(path)[0]).multiply_adds
    for one in found["operators"]:
        one |= {"multiply_adds": work[one["index"]], "delegated": one["index"] in taken}
    return {**entry, **found, "by_operator": by_operator(found["operators"])}
