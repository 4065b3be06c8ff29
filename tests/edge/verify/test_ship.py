"""`run` ends with the file that one should ship, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.verify.rows import Row
from edge.verify.ship import row_to_ship, ship_line


def row(file, kind, ap, size_bytes, multiply_adds=100, status="verified", model="float", **more):
    known = {"AP": ap, "AP50": None}
    return Row(file, kind, model, ap=known, size_bytes=size_bytes, multiply_adds=multiply_adds, status=status, **more)


KERAS = row("model.keras", "keras", 50.0, None)
FLOAT = row("a_float32.tflite", "float32", 50.0, 2_100_000)
DYNAMIC = row("a_dynamic.tflite", "dynamic", 49.8, 650_000)
INT8 = row("a_int8.tflite", "int8", 49.9, 700_000)
INT8_RAW = row("a_int8_raw.tflite", "int8", 49.9, 690_000)
HALF = row("a_int8_half.tflite", "int8", 49.6, 400_000, 47, model="half")
HALF_QAT = row("a_int8_half_qat.tflite", "int8_qat", 49.7, 410_000, 47, model="half_qat")


def shipped(*rows):
    found = row_to_ship([KERAS, *rows])
    return found and found.file


def test_the_int8_file_is_shipped_though_others_are_smaller():
    assert shipped(FLOAT, DYNAMIC, INT8, INT8_RAW) == "a_int8.tflite"


def test_of_smaller_models_the_one_of_least_work_and_then_of_the_best_ap_is_shipped():
    assert shipped(FLOAT, DYNAMIC, INT8, HALF) == "a_int8_half.tflite"
    assert shipped(FLOAT, INT8, HALF, HALF_QAT) == "a_int8_half_qat.tflite"


@pytest.mark.parametrize("status", ["failed", "not run"])
def test_what_did_not_pass_is_not_shipped(status):
    assert shipped(FLOAT, INT8, replace(HALF, status=status)) == "a_int8.tflite"
    assert shipped(FLOAT, DYNAMIC, replace(INT8, status=status)) == "a_dynamic.tflite"
    assert shipped(replace(INT8, status=status)) is None


def test_a_file_that_ends_in_boxes_comes_before_one_of_heads():
    builtin = replace(INT8, file="a_int8_builtin.tflite")
    assert shipped(INT8_RAW, FLOAT) == "a_float32.tflite"
    assert shipped(INT8_RAW, builtin) == "a_int8_builtin.tflite"
    assert shipped(INT8_RAW, builtin, INT8) == "a_int8.tflite"
    assert shipped(INT8_RAW) == "a_int8_raw.tflite"


def test_a_file_of_others_is_never_shipped():
    assert shipped(INT8, replace(HALF, also=True)) == "a_int8.tflite"


def test_the_line_says_what_the_file_has_and_why_it_is_the_one():
    folder = Path("runs/a/export")
    all_rows = [KERAS, FLOAT, DYNAMIC, INT8, INT8_RAW, HALF]
    assert ship_line(folder, all_rows) == (
        "ship: runs/a/export/a_int8_half.tflite: AP 49.60, 0.992 x the AP of the float model, 0.40 MB; "
        "the fewest multiply-adds of 2 int8 files that passed the gate"
    )
    assert ship_line(folder, [KERAS, INT8, INT8_RAW]).endswith("; the int8 file, which passed the gate")
    sparse = replace(INT8, file="a_int8_sparse.tflite", ap={"AP": 49.95})
    assert ship_line(folder, [KERAS, INT8, sparse]).endswith("; the best AP of 2 int8 files that passed the gate")
    assert ship_line(folder, [KERAS, FLOAT]).endswith("; the smallest file that passed the gate")
    failed = [KERAS, FLOAT, replace(INT8, status="failed")]
    lost = "; the best int8 file, a_int8.tflite, has AP 49.90, 0.998 x"
    assert ship_line(folder, failed).endswith(f"; the smallest file that passed the gate, which no int8 file did{lost}")
    assert ship_line(folder, [KERAS, failed[-1]]) == f"ship: nothing, since no file passed the gate{lost}"
    unmeasured = [KERAS, replace(FLOAT, status="not run")]
    assert ship_line(folder, unmeasured) == "ship: nothing, since no file passed the gate"


def test_nothing_is_shipped_of_a_model_that_finds_almost_nothing():
    rows = [replace(KERAS, ap={"AP": 0.03}), replace(INT8, ap={"AP": 0.04})]
    assert row_to_ship(rows) is None
    line = ship_line(Path("export"), rows)
    assert line == "ship: nothing yet, since the float model finds almost nothing (AP 0.03). Train it longer."
