"""Which file of a verified run is the one to ship, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

INT8 = ("int8", "int8_qat")


def row_to_ship(rows: Sequence[Row]) -> Row | None:
    """Returns the row of the file to ship, None when no file passed the gate.

    A file that ends in boxes comes before one that ends in heads, and int8, which every device computes fastest, before
    the other formats. Of the int8 files the one with the fewest multiply-adds is taken, of equals the one of the best
    AP; of other formats the smallest.
    """
    passed = [row for row in rows if _is_candidate(row)]
    return min(passed, key=_rank, default=None)


def ship_line(folder: Path, rows: Sequence[Row]) -> str:
    """Returns one line: the file to ship, its figures, and why this one.

    Args:
        folder: of the files.
        rows: of verify.json.
    """
    row = row_to_ship(rows)
    if row is None:
        return "ship: nothing, since no file passed the gate"
    parent = next(one for one in rows if one["kind"] == "keras" and one["model"] == "float")
    size = row["size_bytes"] / 1e6
    share = f", {row['AP'] / parent['AP']:.3f} x its float parent" if parent["AP"] else ""
    return f"ship: {folder / row['file']}: AP {row['AP']:.2f}, {size:.2f} MB{share}; {_reason(row, rows)}"


def _reason(row: Row, rows: Sequence[Row]) -> str:
    if row["kind"] not in INT8:
        made = any(one["kind"] in INT8 for one in rows)
        return "the smallest file that passed the gate" + (", which no int8 file did" if made else "")
    alike = [one for one in rows if _is_candidate(one) and one["kind"] in INT8 and _form(one) == _form(row)]
    if len(alike) == 1:
        return "the int8 file, which passed the gate"
    work = [one["multiply_adds"] for one in alike]
    best = "the fewest multiply-adds" if row["multiply_adds"] < max(work) else "the best AP"
    return f"{best} of {len(alike)} int8 files that passed the gate"


def _is_candidate(row: Row) -> bool:
    return row["status"] == "verified" and row["file"].endswith(".tflite") and not row.get("also", False)


def _form(row: Row) -> int:
    """Returns 0 for a file that ends in boxes, 1 when it does so without the usual operator, 2 for heads."""
    stem = Path(row["file"]).stem
    return 2 if stem.endswith("_raw") else int(stem.endswith("_builtin"))


def _rank(row: Row) -> tuple[int, bool, int, float]:
    is_int8 = row["kind"] in INT8
    return _form(row), not is_int8, row["multiply_adds"], -row["AP"] if is_int8 else row["size_bytes"]
