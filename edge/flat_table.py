"""Tables of a flatbuffer by slot number, for schemas whose generated modules would be a dependency of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flatbuffers import encode, packer
from flatbuffers.table import Table


def root(data: bytes) -> Table:
    """Returns the root table; wrong offsets in damaged data raise whatever Python makes of them."""
    return Table(data, encode.Get(packer.uoffset, data, 0))


def child(table: Table | None, slot: int) -> Table | None:
    """Returns the table in a field, None when it is absent."""
    place = 0 if table is None else _place(table, slot)
    return Table(table.Bytes, table.Indirect(place)) if table is not None and place else None


def tables(table: Table, slot: int) -> Iterator[Table]:
    """Yields the tables of a vector."""
    offset = table.Offset(4 + 2 * slot)
    if offset:
        start = table.Vector(offset)
        for position in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * position))


def vector(table: Table, slot: int, kind: type[np.generic]) -> np.ndarray:
    """Returns a vector of numbers, empty when it is absent."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return np.zeros(0, kind)
    return np.frombuffer(table.Bytes, np.dtype(kind).newbyteorder("<"), table.VectorLen(offset), table.Vector(offset))


def text(table: Table, slot: int) -> str:
    """Returns a string, empty when it is absent."""
    place = _place(table, slot)
    return table.String(place).decode("utf-8") if place else ""


def number(table: Table, slot: int, kind: type[np.generic] = np.float32) -> float:
    """Returns a number, 0 when it is absent."""
    place = _place(table, slot)
    return np.frombuffer(table.Bytes, np.dtype(kind).newbyteorder("<"), 1, place)[0].item() if place else 0


def flag(table: Table, slot: int) -> bool:
    """Returns a bool, False when it is absent."""
    return bool(number(table, slot, np.uint8))


def _place(table: Table, slot: int) -> int:
    offset = table.Offset(4 + 2 * slot)
    return table.Pos + offset if offset else 0
