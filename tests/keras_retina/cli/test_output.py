"""What the verbs print of measurements."""

from __future__ import annotations

import pytest

from edge.verify.result import Gate, Split, VerifyResult
from edge.verify.rows import Row
from keras_retina.cli.output import show_rows


@pytest.mark.parametrize(
    ("statuses", "passed", "line"),
    [
        (("verified", "verified"), True, "gate passed: the rule"),
        (("verified", "failed"), False, "gate FAILED for 1 of 2 files: the rule"),
        (("verified", "verified"), False, "gate FAILED: the rule"),  # the raw heads differ
    ],
)
def test_a_failed_gate_says_how_many_files_failed(statuses, passed, line, capsys):
    rows = tuple(Row(f"{number}.tflite", "int8", status=status) for number, status in enumerate(statuses))
    show_rows(VerifyResult(Split(), Gate("the rule", passed), None, rows))
    assert capsys.readouterr().out.splitlines()[-1] == line
