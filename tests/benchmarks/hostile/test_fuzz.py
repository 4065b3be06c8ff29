"""The fuzz tells a refusal from a defect, and makes the same input of the same numbers again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fuzz
import fuzz_text
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("ended", "code", "shown", "outcome"),
    [
        ("", 2, "keras-retina: a.json: expected x.", "refused"),
        ("", 0, "next: keras-retina plan", "accepted"),
        ("", 1, "1 problem", "accepted"),
        ("", 2, "Traceback (most recent call last):\n  File \"a.py\", line 3, in b\nKeyError: 1", "traceback"),
        ("", 99, "", "traceback"),
        ("", 99, "Traceback (most recent call last):\nMemoryError", "blow-up"),
        ("", -11, "", "death"),
        ("hang", 0, "", "hang"),
        ("", 2, "keras-retina: \x1b[2J", "raw"),
        ("", 2, "x" * 3_000, "raw"),
    ],
)  # fmt: skip
def test_an_outcome_is_told_by_status_and_output(ended, code, shown, outcome):
    assert fuzz.told(ended, code, shown=shown)[0] == outcome


@pytest.mark.parametrize("surface", fuzz_text.surfaces())
def test_the_same_numbers_make_the_same_input(surface, tmp_path):
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        words = fuzz_text.surfaces()[surface](np.random.default_rng([3, 5]), folder)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        made.append(([word.replace(str(folder), "") for word in words], files))
    assert made[0] == made[1]


def test_a_command_that_hangs_or_fills_the_memory_is_ended(tmp_path, monkeypatch):
    def outcome(limits: fuzz.Limits) -> str:
        return fuzz.judged(0, "s", [], folder=tmp_path, limits=limits)[0].outcome

    monkeypatch.setattr(fuzz, "_command", lambda *_: time.sleep(60))
    assert outcome(fuzz.Limits(most_seconds=0.3)) == "hang"
    monkeypatch.setattr(fuzz, "_command", lambda *_: (np.ones(1 << 25), time.sleep(60)))
    assert outcome(fuzz.Limits(mebibytes=50)) == "blow-up"
    monkeypatch.setattr(fuzz, "_command", lambda *_: os.kill(os.getpid(), 11))
    assert outcome(fuzz.Limits()) == "death"


def test_a_defect_is_kept_and_results_are_read_back(tmp_path, monkeypatch):
    def surface(rng: np.random.Generator, folder: Path) -> list[str]:
        (folder / "a.txt").write_text("x")
        return ["verb", str(folder / "a.txt")]

    monkeypatch.setattr(fuzz, "_command", lambda *_: 1 / 0)
    result, shown = fuzz.run_input(7, {"made": surface}, seed=1, out=tmp_path)
    assert result.outcome == "traceback" and "ZeroDivisionError" in shown
    assert (tmp_path / "traceback" / "made-7" / "input" / "a.txt").read_text() == "x"
    fuzz._work([7], {"made": surface}, 1, tmp_path, 0)
    assert [one.index for one in fuzz.read_results(tmp_path)] == [7]
    assert "made-7" in "\n".join(fuzz.table(fuzz.read_results(tmp_path), tmp_path))
