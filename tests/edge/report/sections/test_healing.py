"""What the report shows of tries on int8 files."""

from __future__ import annotations

from dataclasses import replace

from edge.report.run import Run
from edge.report.sections.healing import healing_section
from edge.verify.heal.healing import Healing, Try
from edge.verify.result import Gate, Split, VerifyResult
from keras_retina.foundation.run_paths import RunPaths

PLAIN = Try("plain", "no change", "failed", 1.0, "AP 19.30 is under 19.80", 0.004, ratio=0.965)
TRAINED = Try("training", "weights trained", "passed", 90.0, "", None, ratio=1.01, kind="int8_qat")
HEALED = Healing(
    "float", "healed", "", "val", 40, 300, 20.0, 0.99, (0.93, 0.99), (PLAIN, TRAINED), ("ranges",), 1, ("ab",)
)


def section(tmp_path, *healings: Healing) -> list:
    result = VerifyResult(Split(), Gate("", True), None, (), healings)
    return healing_section(Run(RunPaths(tmp_path), None, {}, (), None, result, None, {}))


def test_every_try_is_a_row_and_the_exported_one_is_marked(tmp_path):
    (table,) = section(tmp_path, HEALED)
    assert [(row["step"], row["chosen"], row["status"]) for row in table["rows"]] == [
        ("plain", False, "failed"),
        ("training", True, "verified"),
    ]
    assert table["judged"] == (
        "Judged on 40 images and 300 boxes of val. AP of the float model there: 20.00. When the images are drawn anew, "
        "the plain file keeps 0.930 to 0.990 x of it nine times of ten."
    )


def test_a_file_that_passed_as_it_was_has_no_table(tmp_path):
    assert section(tmp_path, replace(HEALED, outcome="kept", chosen=0, tries=(PLAIN,))) == []
    assert healing_section(Run(RunPaths(tmp_path), None, {}, (), None, None, None, {})) == []


def test_a_model_that_was_not_judged_says_why(tmp_path):
    (table,) = section(tmp_path, Healing("small", reason="the split is too small"))
    assert (table["title"], table["line"], table["rows"]) == (
        "The model small",
        "not judged: the split is too small",
        [],
    )
