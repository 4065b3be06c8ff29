from __future__ import annotations

import json

from keras_retina.data.checks.dataset import DataReport, SplitReport
from keras_retina.data.checks.duplicates import DuplicatePair
from keras_retina.data.checks.report import format_report, report_to_dict
from keras_retina.data.records import Problem

MORE = "(all of them with --json)"


def data_report(*, problems=(), classes=("cat",), pairs=(), warnings=(), errors=()) -> DataReport:
    split = SplitReport(
        split="train",
        images=3,
        images_without_objects=0,
        usable_boxes=len(classes),
        boxes={name: {"small": 1, "medium": 0, "large": 0} for name in classes},
        modes={"RGB": 3},
        exif_rotated=0,
        problems=tuple(problems),
        coverage=None,
    )
    return DataReport(
        data_dir="data",
        format="csv",
        kind="CSV",
        splits=(split,),
        other_splits=(),
        unread=(),
        duplicates=tuple(pairs),
        errors=tuple(errors),
        unusable=(),
        warnings=tuple(warnings),
    )


def pairs_among(keys: list[str], exact: bool) -> list[DuplicatePair]:
    return [DuplicatePair(one, two, exact) for index, one in enumerate(keys) for two in keys[index + 1 :]]


def test_many_look_alikes_are_one_line_and_all_in_the_json():
    keys = [f"train/{number}.jpg" for number in range(231)]
    pairs = [*pairs_among(keys, exact=False), DuplicatePair("train/a.jpg", "val/a.jpg", True)]
    report = data_report(pairs=pairs)
    lines = format_report(report).splitlines()
    start = lines.index("pictures that are there more than once: 2, in 233 files")
    assert lines[start + 1 : start + 4] == [
        "  231 nearly identical: train/0.jpg, train/1.jpg, train/2.jpg, train/3.jpg and 227 more",
        "  identical: train/a.jpg and val/a.jpg",
        "",
    ]
    assert len(json.loads(json.dumps(report_to_dict(report)))["duplicates"]) == 231 * 230 // 2 + 1


def test_a_group_of_three_or_four_is_named_in_full():
    for count in (3, 4):
        keys = [f"train/{number}.jpg" for number in range(count)]
        assert f"  {count} identical: {', '.join(keys)}\n" in format_report(data_report(pairs=pairs_among(keys, True)))


def test_twenty_lines_of_each_kind_are_printed_and_the_rest_counted():
    pairs = [DuplicatePair(f"train/{number}", f"val/{number}", False) for number in range(25)]
    problems = [Problem("invalid_box", f"f: line {number}", "bad", fixed=False) for number in range(21)]
    problems += [Problem("outside_box", f"f: line {number}", "clipped", fixed=True) for number in range(4)]
    report = data_report(
        pairs=pairs,
        problems=problems,
        warnings=[f"warning {number}" for number in range(7025)],
        errors=[f"error {number}" for number in range(20)],
    )
    text = format_report(report)
    assert f"  nearly identical: train/19 and val/19\n  and 5 more {MORE}\n" in text
    assert f"    f: line 19: bad\n    and 1 more {MORE}\n" in text
    assert f"    f: line 2: clipped\n    and 1 more {MORE}\n" in text
    assert "warnings: 7025\n  warning 0\n" in text and f"  warning 19\n  and 7005 more {MORE}\n" in text
    assert "errors: 20\n" in text and "  error 19\n\nfailed" in text
    content = report_to_dict(report)
    assert len(content["warnings"]) == 7025 and len(content["splits"]["train"]["problems"]) == 25
    assert content["splits"]["train"]["usable_boxes"] == 1


def test_of_a_thousand_classes_a_hundred_are_printed():
    report = data_report(classes=[f"class {number}" for number in range(1000)])
    text = format_report(report)
    assert "class 99 " in text and "class 100 " not in text and f"  and 900 more {MORE}" in text
    assert len(report_to_dict(report)["splits"]["train"]["boxes"]) == 1000
