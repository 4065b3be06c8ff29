"""Which file of a verified run is the one to ship, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.verify.rows import Row
from keras_retina.recipe.formats import FORMATS, KERAS

FORMS = ("postprocess", "builtin", "raw")  # the better one first
LEAST_AP = 5.0
"""A float model below it finds almost nothing, whatever its files keep of that."""


def row_to_ship(rows: Sequence[Row]) -> Row | None:
    """Returns the row of the file to ship, None when no file passed the gate or the float model finds almost nothing.

    A file that ends in boxes comes before one that ends in heads, and int8, which every device computes fastest, before
    the other formats. Of the int8 files the one with the fewest multiply-adds is taken, of equals the one of the best
    AP; of other formats the smallest.
    """
    if _float_ap(rows) < LEAST_AP:
        return None
    passed = [row for row in rows if _is_candidate(row)]
    return min(passed, key=_rank, default=None)


def ship_line(folder: Path, rows: Sequence[Row]) -> str:
    """Returns one line: the file to ship, its figures, and why this one.

    Args:
        folder: of the files.
        rows: of verify.json.
    """
    parent, row = _float_ap(rows), row_to_ship(rows)
    if parent < LEAST_AP:
        return f"ship: nothing yet, since the float model finds almost nothing (AP {parent:.2f}). Train it longer."
    lost = _best_int8(rows, parent)
    if row is None:
        return f"ship: nothing, since no file passed the gate{lost}"
    found, size = row.ap["AP"] or 0.0, (row.size_bytes or 0) / 1e6
    share = f"{found / parent:.3f} x the AP of the float model"
    line = f"ship: {folder / row.file}: AP {found:.2f}, {share}, {size:.2f} MB; {_reason(row, rows)}"
    return line if _is_int8(row) else line + lost


def _best_int8(rows: Sequence[Row], parent: float) -> str:
    """Returns what the int8 file of the best AP lost, as the end of a line; nothing where none was measured."""
    int8 = [row for row in rows if row.kind in FORMATS and _is_int8(row) and not row.also]
    measured = [row for row in int8 if row.ap["AP"] is not None]
    if not measured:
        return ""
    best = max(measured, key=lambda row: row.ap["AP"] or 0.0)
    found = best.ap["AP"] or 0.0
    return f"; the best int8 file, {best.file}, has AP {found:.2f}, {found / parent:.3f} x"


def _float_ap(rows: Sequence[Row]) -> float:
    return next((row.ap["AP"] or 0.0 for row in rows if row.key == KERAS.name), 0.0)


def _reason(row: Row, rows: Sequence[Row]) -> str:
    if not _is_int8(row):
        made = any(_is_int8(one) for one in rows)
        return "the smallest file that passed the gate" + (", which no int8 file did" if made else "")
    alike = [one for one in rows if _is_candidate(one) and _is_int8(one) and one.form == row.form]
    if len(alike) == 1:
        return "the int8 file, which passed the gate"
    work = [one.multiply_adds or 0 for one in alike]
    best = "the fewest multiply-adds" if (row.multiply_adds or 0) < max(work) else "the best AP"
    return f"{best} of {len(alike)} int8 files that passed the gate"


def _is_candidate(row: Row) -> bool:
    return row.is_verified and row.kind in FORMATS and not row.also


def _is_int8(row: Row) -> bool:
    return row.format.all_int8


def _rank(row: Row) -> tuple[int, bool, int, float]:
    found, size = row.ap["AP"] or 0.0, row.size_bytes or 0
    return FORMS.index(row.form), not _is_int8(row), row.multiply_adds or 0, -found if _is_int8(row) else size
