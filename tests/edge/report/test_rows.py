"""Rows of verify.json as the report reads them: each form of a file has its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.report.rows import _row
from edge.verify.expected import row_name
from edge.verify.rows import kind_in_name


@pytest.mark.parametrize(
    ("file", "label", "name", "other_form"),
    [
        ("x_int8.tflite", "int8", "int8", False),
        ("x_int8_raw.tflite", "int8 · raw heads", "int8_raw", True),
        ("x_int8_builtin.tflite", "int8 · builtin operators", "int8_builtin", True),
    ],
)
def test_each_form_of_a_file_has_its_own_name(file, label, name, other_form):
    fields = {"file": file, "kind": "int8", "status": "verified"}
    row = _row(fields, "verify.json rows[0]")
    assert (row.label, row.other_form) == (label, other_form)
    assert row_name(fields) == name
    assert kind_in_name(Path(file)) == "int8"
