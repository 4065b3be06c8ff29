"""The report of `check_dataset` as text and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from keras_retina.data.checks.coverage import POOR_IOU
from keras_retina.data.checks.dataset import SIZES, DataReport, SplitReport
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import printable

_FIXED_SHOWN = 3  # of each kind; those that stop a training are nearly always all shown
_UNFIXED_SHOWN = 20


def report_to_dict(report: DataReport) -> dict[str, Any]:
    """Returns the report as plain values for JSON, every problem included, the worst covered boxes too."""
    return {
        "data": report.data_dir,
        "format": report.format,
        "passed": not report.errors,
        "errors": list(report.errors),
        "warnings": list(report.warnings),
        "duplicates": [asdict(pair) for pair in report.duplicates],
        "splits": {split.split: _split_to_dict(split) for split in report.splits},
    }


def format_report(report: DataReport) -> str:
    """Returns the report as text for a terminal; names from the labels cannot contain control characters."""
    lines = [f"{printable(report.data_dir)} ({report.format})"]
    for split in report.splits:
        lines += ["", *_split_lines(split)]
    if report.duplicates:
        lines += ["", f"images that are there twice: {len(report.duplicates)}"]
        for pair in report.duplicates:
            kind = "identical" if pair.exact else "nearly identical"
            lines.append(f"  {kind}: {printable(pair.first)} and {printable(pair.second)}")
    for title, texts in (("warnings", report.warnings), ("errors", report.errors)):
        if texts:
            lines += ["", f"{title}: {len(texts)}", *(f"  {text}" for text in texts)]
    lines += ["", "failed" if report.errors else "passed"]
    return "\n".join(lines)


def _split_lines(split: SplitReport) -> list[str]:
    lines = [f"{split.split}: {split.images} images, {split.images_without_objects} without objects"]
    lines.append(f"  {'class':<20} {'boxes':>7} {'small':>7} {'medium':>7} {'large':>7}")
    if split.coverage:
        lines[-1] += f"   no anchor of IoU {POOR_IOU}"
    for name, sizes in split.boxes.items():
        row = f"  {printable(name):<20.20} {sum(sizes.values()):>7}" + "".join(f" {sizes[size]:>7}" for size in SIZES)
        if split.coverage:
            row += f"   {split.coverage.poor[name]} ({split.coverage.poor_share(name):.1%})"
        lines.append(row)
    modes = ", ".join(f"{count} {mode}" for mode, count in split.modes.items())
    lines.append(f"  pixel modes: {modes or 'none'}; EXIF-rotated: {split.exif_rotated}")
    for kind, items in _by_kind(split.problems).items():
        fixed = items[0].fixed
        lines.append(f"  {kind}: {len(items)} {'fixed' if fixed else 'NOT FIXED'}")
        shown = items[: _FIXED_SHOWN if fixed else _UNFIXED_SHOWN]
        lines += [f"    {item.where}: {item.detail}" for item in shown]
        if len(items) > len(shown):
            lines.append(f"    and {len(items) - len(shown)} more (all of them with --json)")
    return lines


def _split_to_dict(split: SplitReport) -> dict[str, Any]:
    content: dict[str, Any] = {
        "images": split.images,
        "images_without_objects": split.images_without_objects,
        "boxes": split.boxes,
        "modes": split.modes,
        "exif_rotated": split.exif_rotated,
        "problem_counts": {kind: len(items) for kind, items in _by_kind(split.problems).items()},
        "problems": [asdict(item) for item in split.problems],
    }
    if split.coverage:
        coverage = split.coverage
        content["anchor_coverage"] = {
            "iou": POOR_IOU,
            "poor_share": coverage.poor_share(),
            "classes": {
                name: {"boxes": coverage.boxes[name], "poor": coverage.poor[name], "share": coverage.poor_share(name)}
                for name in coverage.boxes
            },
            "worst": [
                {
                    "file_name": item.record.file_name,
                    "class": item.class_name,
                    "iou": item.iou,
                    "box": item.box.tolist(),
                    "anchor": item.anchor.tolist(),
                }
                for item in coverage.worst
            ],
        }
    return content


def _by_kind(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Groups problems by kind, those that are not fixed first."""
    kinds: dict[str, list[Problem]] = {}
    for item in sorted(problems, key=lambda item: (item.fixed, item.kind)):
        kinds.setdefault(item.kind, []).append(item)
    return kinds
