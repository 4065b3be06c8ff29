"""What an input of the fuzz may cost, what became of it, and the table of all of them."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE = 2_500
GOOD = ("refused", "accepted")
OUTCOMES = (*GOOD, "traceback", "hang", "blow-up", "death", "raw")
_RAW = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Limits:
    """What one input may cost; more is a defect.

    Attributes:
        seconds: of the processor.
        most_seconds: in all, since a machine may be busy.
        mebibytes: of memory, more than at its start.
    """

    seconds: float = 10.0
    most_seconds: float = 60.0
    mebibytes: float = 1024.0


@dataclass(frozen=True)
class Result:
    """What became of one input: `place` tells kinds apart, such as the line of a traceback."""

    index: int
    surface: str
    outcome: str
    seconds: float
    mebibytes: float
    place: str
    words: list[str]
    size: int


def read_results(out: Path) -> list[Result]:
    """Returns the results that are there, by their index."""
    lines = [line for file in sorted(out.glob("results-*.jsonl")) for line in file.read_text().splitlines()]
    return sorted((Result(**json.loads(line)) for line in lines if line.endswith("}")), key=lambda one: one.index)


def told(ended: str, code: int, *, shown: str) -> tuple[str, str]:
    """Returns the outcome and what tells its kind from others of it."""
    if ended:
        return ended, ""
    if code < 0:
        return "death", signal.Signals(-code).name
    if "Traceback (most recent call last)" in shown or code not in (0, 1, 2):
        lines = shown.splitlines()
        frames = [line.strip() for line in lines if re.match(r'\s+File ".*", line \d+, in ', line)]
        own = [frame for frame in frames if "keras_retina" in frame or "/edge/" in frame]
        error = "MemoryError" if "MemoryError" in shown else (lines[-1] if lines else f"exit {code}")[:80]
        return "blow-up" if error == "MemoryError" else "traceback", f"{(own or frames or [''])[-1]}: {error}"
    if _RAW.search(shown) or max(map(len, shown.splitlines()), default=0) > LONGEST_LINE:
        return "raw", "long line" if not _RAW.search(shown) else "control character"
    return ("refused" if code == 2 else "accepted"), ""


def table(results: list[Result], out: Path) -> list[str]:
    """Returns the counts of each surface, and the smallest input of each kind of defect."""
    names = sorted({result.surface for result in results})
    lines = [f"{'surface':<16}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES) + f"{'slowest s':>11}{'MiB':>8}"]
    for name in [*names, "all"]:
        own = [result for result in results if name in (result.surface, "all")]
        counts = Counter(result.outcome for result in own)
        slowest, most = (max((getattr(one, field) for one in own), default=0) for field in ("seconds", "mebibytes"))
        row = "".join(f"{counts[outcome]:>10}" for outcome in OUTCOMES)
        lines.append(f"{name:<16}{row}{slowest:>11.1f}{most:>8.0f}")
    kinds: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.outcome not in GOOD:
            shared = result.outcome in ("traceback", "blow-up") and result.place
            kinds.setdefault((result.outcome, result.place if shared else result.surface), []).append(result)
    for (outcome, place), own in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        least = min(own, key=lambda result: result.size)
        lines.append(f"{len(own):>5} x {outcome}: {place or least.surface}")
        lines.append(f"        {out / outcome / f'{least.surface}-{least.index}'}")
    return lines
