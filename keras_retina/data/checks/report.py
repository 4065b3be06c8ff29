"""The report of `check_dataset` as text and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from keras_retina.data.checks.dataset import SIZES, DataReport, SplitReport
from keras_retina.data.checks.duplicates import DuplicateGroup, groups
from keras_retina.data.checks.fit_anchors import POOR_IOU
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import printable

_FIXED_SHOWN = 3  # of each kind; those that stop a training are nearly always all shown
_SHOWN = 20  # of everything else
_CLASSES_SHOWN = 100
_NAMES_SHOWN = 4  # of a group of equal images


def report_to_dict(report: DataReport) -> dict[str, Any]:
    """Returns the report as plain values for JSON, every problem included, the worst covered boxes too."""
    return {
        "data": report.data_dir,
        "format": report.format,
        "layout": report.kind,
        "passed": not report.errors,
        "other_splits": list(report.other_splits),
        "unread": [asdict(item) for item in report.unread],
        "errors": list(report.errors),
        "warnings": list(report.warnings),
        "duplicates": [asdict(pair) for pair in report.duplicates],
        "splits": {split.split: _split_to_dict(split) for split in report.splits},
    }


def format_report(report: DataReport) -> str:
    """Returns the report as text for a terminal; names from the labels cannot contain control characters."""
    lines = [f"{printable(report.data_dir)}: {printable(report.kind)}"]
    if report.other_splits:
        lines.append(f"also there, not looked at: the splits {printable(', '.join(report.other_splits))}")
    for split in report.splits:
        lines += ["", *_split_lines(split)]
    if report.unread:
        lines += ["", f"files in no split: {len(report.unread)}"]
        lines += _capped(
            [f"{kind}: {len(items)}, such as {items[0].where}" for kind, items in _by_kind(report.unread).items()]
        )
    joined = groups(report.duplicates)
    if joined:
        images = sum(len(group.keys) for group in joined)
        lines += ["", f"pictures that are there more than once: {len(joined)}, in {images} files"]
        lines += _capped([_group_line(group) for group in joined])
    for title, texts in (("warnings", report.warnings), ("errors", report.errors)):
        if texts:
            lines += ["", f"{title}: {len(texts)}", *_capped(texts)]
    lines += ["", "failed" if report.errors else "passed"]
    return "\n".join(lines)


def _group_line(group: DuplicateGroup) -> str:
    names = [printable(key) for key in group.keys]
    kind = "identical" if group.exact else "nearly identical"
    if len(names) == 2:
        return f"{kind}: {names[0]} and {names[1]}"
    shown, more = names[:_NAMES_SHOWN], len(names) - _NAMES_SHOWN
    return f"{len(names)} {kind}: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")


def _capped(lines: Sequence[str], most: int = _SHOWN, *, indent: str = "  ") -> list[str]:
    """Returns the first lines, and how many more there are."""
    more = len(lines) - most
    last = [f"{indent}and {more} more (all of them with --json)"] if more > 0 else []
    return [*(f"{indent}{line}" for line in lines[:most]), *last]


def _split_lines(split: SplitReport) -> list[str]:
    lines = [f"{split.split}: {split.images} images, {split.images_without_objects} without objects"]
    lines.append(f"  {'class':<20} {'boxes':>7} {'small':>7} {'medium':>7} {'large':>7}")
    if split.coverage:
        lines[-1] += f"   no anchor of IoU {POOR_IOU}"
    rows = []
    for name, sizes in split.boxes.items():
        row = f"{printable(name):<20.20} {sum(sizes.values()):>7}" + "".join(f" {sizes[size]:>7}" for size in SIZES)
        if split.coverage:
            row += f"   {split.coverage.poor[name]} ({split.coverage.poor_share(name):.1%})"
        rows.append(row)
    lines += _capped(rows, _CLASSES_SHOWN)
    modes = ", ".join(f"{count} {mode}" for mode, count in split.modes.items())
    lines.append(f"  pixel modes: {modes or 'none'}; EXIF-rotated: {split.exif_rotated}")
    for kind, items in _by_kind(split.problems).items():
        fixed = items[0].fixed
        lines.append(f"  {kind}: {len(items)} {'fixed' if fixed else 'NOT FIXED'}")
        texts = [f"{item.where}: {item.detail}" for item in items]
        lines += _capped(texts, _FIXED_SHOWN if fixed else _SHOWN, indent="    ")
    return lines


def _split_to_dict(split: SplitReport) -> dict[str, Any]:
    content: dict[str, Any] = {
        "images": split.images,
        "images_without_objects": split.images_without_objects,
        "usable_boxes": split.usable_boxes,
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
