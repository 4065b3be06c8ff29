"""What `edgetpu_compiler` prints and logs, as values: with `-s`, `-d`, `-a` and `-n` too."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edge.edgetpu.operators import MAPPED
from edge.edgetpu.predict import Prediction
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes

ROW = re.compile(r"^([A-Za-z][\w-]*)[ \t]+(\d{1,9})[ \t]+(\S.*?)\s*$", re.MULTILINE)
FACT = re.compile(r"^([A-Z][\w /()-]*?):[ \t]+(\S.*?)\s*$", re.MULTILINE)
RELEASE = re.compile(r"Edge TPU Compiler version (\S+)")
ATTEMPT = re.compile(r"^Try to compile segment with (\d{1,9}) ops\s*?(?:\nIntermediate tensors: (.*))?$", re.MULTILINE)
HEADER = re.compile(r"^Operator[ \t]+Count[ \t]+Status[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Attempt:
    """A try of `-d`: how many operators, and the tensors at which the part for the Edge TPU ended (all: none)."""

    operators: int
    ends_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompilerLog:
    """`operators` are rows of (operator, count, status text), those of all segments and tables together."""

    version: str
    facts: dict[str, str]
    operators: tuple[tuple[str, int, str], ...]
    attempts: tuple[Attempt, ...]
    failure: str


def read_log(text: str) -> CompilerLog:
    """Reads a `.log` file, or what was on the screen; parts that are missing stay empty."""
    release = RELEASE.search(text)
    tries = [
        Attempt(int(count), tuple(ends.strip().split(",")) if ends else ()) for count, ends in ATTEMPT.findall(text)
    ]
    return CompilerLog(
        version=release.group(1) if release else "",
        facts=dict(FACT.findall(text)),
        operators=_operators(text),
        attempts=tuple(tries),
        failure=_failure(text),
    )


def read_log_file(path: Path) -> CompilerLog:
    """Reads a saved log.

    Raises:
        InputError: it cannot be read, or has neither a table of operators nor a failure.
    """
    try:
        found = read_log(read_bytes(path).decode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"--log: expected a log of edgetpu_compiler. Received: {printable(path)}, {error}.") from error
    if not found.operators and not found.failure:
        raise InputError(
            f"--log: expected the table 'Operator  Count  Status' of edgetpu_compiler. Received: {printable(path)}, "
            "which has none. Take the .log file, or the screen of edgetpu_compiler -s."
        )
    return found


def set_differences(prediction: Prediction, log: CompilerLog) -> list[str]:
    """Returns a line for every operator of which another number is on the Edge TPU than predicted."""
    predicted, compiled = _counts(prediction), Counter[tuple[str, str]]()
    for name, count, text in log.operators:
        compiled[name, text] += count
    lines = []
    for name in sorted({name for name, _ in (*predicted, *compiled)}):
        mapped = [counts[name, MAPPED] for counts in (predicted, compiled)]
        total = [
            sum(count for (other, _), count in counts.items() if other == name) for counts in (predicted, compiled)
        ]
        if mapped[0] != mapped[1] or total[0] != total[1]:
            lines.append(
                f"{name}: predicted {mapped[0]} of {total[0]} on the Edge TPU, compiled {mapped[1]} of {total[1]}"
            )
    return lines


def reason_notes(prediction: Prediction, log: CompilerLog) -> list[str]:
    """Returns a line for every operator that stays on the CPU with another reason than predicted."""
    predicted, compiled = _counts(prediction), Counter[tuple[str, str]]()
    for name, count, text in log.operators:
        compiled[name, text] += count
    return [
        f"{name}: {compiled[name, text]} with '{text}', predicted {predicted[name, text]}"
        for name, text in sorted(compiled)
        if text != MAPPED and predicted[name, text] != compiled[name, text]
    ]


def search_notes(log: CompilerLog) -> list[str]:
    """Returns what `-d` had to leave out, nothing where the first try compiled."""
    if len(log.attempts) < 2:
        return []
    first, last = log.attempts[0], log.attempts[-1]
    return [
        f"-d tried {len(log.attempts)} times and left the last {first.operators - last.operators} operators to the "
        f"CPU; the part for the Edge TPU ends at {', '.join(last.ends_at)}"
    ]


def _operators(text: str) -> tuple[tuple[str, int, str], ...]:
    start = HEADER.search(text)
    return (
        tuple((name, int(count), status) for name, count, status in ROW.findall(text[start.end() :])) if start else ()
    )


def _failure(text: str) -> str:
    """Returns the lines that say what went wrong, as one; those of a try before the one that compiled do not count."""
    last = text[[match.start() for match in ATTEMPT.finditer(text)][-1] :] if ATTEMPT.search(text) else text
    starts = ("ERROR:", "Compilation failed", "Invalid model", "Model could not", "Internal compiler error")
    lines = [line.strip() for line in last.splitlines() if line.strip().startswith(starts)]
    return "; ".join(dict.fromkeys(lines))


def _counts(prediction: Prediction) -> Counter[tuple[str, str]]:
    """Returns how many of each (operator, status text); a table calls every custom operator CUSTOM."""
    return Counter(
        ("CUSTOM" if operator.op.upper() != operator.op else operator.op, operator.reason)
        for operator in prediction.operators
        if operator.subgraph == 0
    )
