"""Hostile text of every surface ends in success or in one printable line; a bad place to write is refused first."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "hostile"))

import fuzz_text

from keras_retina.cli.app import app, error_line, main
from keras_retina.cli.output import any_character, say

# `outputs` and `special_files` have tests of their own below and in foundation; `show-batch` and files need TensorFlow.
SURFACES = (
    "recipe",
    "recipe_yaml",
    "coco",
    "voc",
    "yolo",
    "data_yaml",
    "csv_file",
    "other_formats",
    "run_folder",
    "logs",
)
WITHOUT_TENSORFLOW = ("check-data", "fit-anchors", "report", "benchmark", "plan")


@pytest.mark.parametrize("surface", SURFACES)
@settings(
    max_examples=8, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip
@given(seed=st.integers(0, 2**32 - 1))
def test_hostile_text_is_read_or_refused_in_one_line(surface, seed):
    with tempfile.TemporaryDirectory() as folder:
        words = fuzz_text.surfaces()[surface](np.random.default_rng(seed), Path(folder))
        if words[0] not in WITHOUT_TENSORFLOW:
            return
        before = os.getcwd()
        os.chdir(folder)
        try:
            app([word.replace("\0", "") for word in words], standalone_mode=False)
        except Exception as error:
            line = error_line(error)
            assert line is not None, words
            assert line.isprintable() and len(line) <= 2_000
        finally:
            os.chdir(before)


@pytest.fixture
def command(monkeypatch, capsys):
    """A function that runs a command line and returns its exit status and standard error."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["keras-retina", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("check-data --data DATA --picture worst.unknown", "--picture: expected a file that ends in .png"),
        ("check-data --data DATA --picture /dev/full", "--picture: expected a file that can be written"),
        ("check-data --data DATA --json /dev/full", "--json: expected a file that can be written"),
        ("check-data --data DATA --json DATA/annotations/train.json", "--json: expected a place outside of the data"),
        ("check-data --data DATA --picture DATA/images/train_0.png", "--picture: expected a place outside of the data"),
        ("fit-anchors demo --data DATA --json DATA/annotations/val.json", "--json: expected a place outside"),
        ("show-batch demo --data DATA --out DATA/images/train_0.png", "--out: expected a place outside of the data"),
        ("benchmark x.tflite --chart a.unknown", "--chart: expected a .png file"),
        ("benchmark x.tflite --json /dev/full", "--json: expected a file that can be written"),
        ("detect x.tflite DATA/images --out DATA/images", "--out: expected another folder than that of the images"),
        ("train demo --data DATA --out DATA --overwrite", "--out: expected another folder than that of the data"),
        ("plan DATA --threads 3000000000", "--threads: expected a number up to 1024"),
        ("plan DATA --seed 99999999999", "--seed: expected a number from 0 to 4294967295"),
        ("plan DATA --minutes inf", "--minutes: expected a finite number"),
        ("plan DATA --latency 1e300", "--latency: expected a number up to 1e9"),
        ("detect x.tflite DATA --score nan", "'--score': "),
        ("detect x.tflite DATA --reconnect inf", "--reconnect: expected a finite number"),
        ("tune demo --data DATA --minutes inf", "--minutes: expected a finite number"),
        ("detect x.tflite DATA --threads 3000000000", "--threads"),
        ("benchmark x.tflite --threads 1,3000000000", "each from 1 to 1024"),
        ("check-data --data DATA --set verification.threads=3000000000", "verification.threads"),
    ],
)
def test_a_bad_place_or_number_is_refused_before_the_work(words, told, command, tiny_coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tiny_coco.rglob("*")}
    status, error = command(*(word.replace("DATA", str(tiny_coco)) for word in words.split()))
    assert status == 2 and told in error, error
    assert {path: path.stat().st_mtime_ns for path in tiny_coco.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_many_characters_is_told_in_one_short_printable_line(command):
    status, error = command("check-data", "--data", "x" * 100_000, "--format", "\x1b[2J" * 10_000)
    assert status == 2 and len(error) < 2_100 and "\x1b" not in error
    status, error = command("report", "\x1b[31m\u202e")
    assert status == 2 and "\\x1b[31m\\u202e: expected a run folder" in error


def test_a_terminal_without_emoji_gets_them_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    any_character()
    say("class \U0001f600 and caf\xe9")
    assert written.getvalue() == b"class \\U0001f600 and caf\xe9" + os.linesep.encode()


def test_a_full_disk_behind_the_output_is_one_line_and_status_2(tiny_coco):
    import subprocess

    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "keras_retina", "check-data", "--data", str(tiny_coco)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("keras-retina: expected output that can be written. Received: No space left")
    assert ended.stderr.count("\n") == 1


def test_a_report_of_hostile_values_is_still_written(tmp_path, command, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: r\n")
    metrics = {"split": "\u202eval\x1b", "AP": 1.0, "per_class": {"<script>": 1.0}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.chdir(tmp_path)
    status, error = command("report", run)
    assert status in (0, 2) and "Traceback" not in error
    (run / "run.json").write_text("[" * 100_000)
    status, error = command("evaluate", run)
    assert status == 2 and "run.json: expected the facts of the run as JSON. Received: more than 100" in error
