"""FlatBuffers tables by slot number, written and read: the few of TFLite metadata need no generated code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flatbuffers
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table


def table(
    builder: flatbuffers.Builder,
    offsets: dict[int, int] | None = None,
    *,
    small: dict[int, int] | None = None,
    integers: dict[int, int] | None = None,
    floats: dict[int, float] | None = None,
) -> int:
    """Writes a table of {slot: offset of a finished child}, {slot: byte}, {slot: int32} and {slot: float32}."""
    offsets, small, integers, floats = offsets or {}, small or {}, integers or {}, floats or {}
    builder.StartObject(1 + max([-1, *offsets, *small, *integers, *floats]))
    for slot, value in integers.items():
        builder.PrependInt32Slot(slot, value, 0)
    for slot, number in floats.items():
        builder.PrependFloat32Slot(slot, number, 0.0)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in small.items():
        builder.PrependInt8Slot(slot, value, 0)
    return builder.EndObject()


def vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    """Writes a vector of finished children."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def aligned_bytes(builder: flatbuffers.Builder, data: bytes) -> int:
    """Writes a byte vector aligned to 16 bytes, as a flatbuffer inside another one has to be."""
    builder.StartVector(1, len(data), 16)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    builder.vectorNumElems = len(data)
    return builder.EndVector()


class Reader:
    """A table of a finished flatbuffer. Absent fields read as nothing; wrong offsets raise, or read nonsense."""

    def __init__(self, data: bytes, position: int | None = None) -> None:
        start = encode.Get(packer.uoffset, data, 0) if position is None else position
        if not 0 <= start < len(data):  # Python would read on from the end
            raise ValueError(f"a table at byte {start} of {len(data)}")
        self.table = Table(data, start)

    def text(self, slot: int) -> str | None:
        place = self._place(slot)
        return self.table.String(place).decode("utf-8", "replace") if place else None

    def child(self, slot: int) -> Reader | None:
        place = self._place(slot)
        return Reader(self.table.Bytes, self.table.Indirect(place)) if place else None

    def children(self, slot: int) -> Iterator[Reader]:
        offset = self.table.Offset(4 + 2 * slot)
        if offset:
            start = self.table.Vector(offset)
            for index in range(self.table.VectorLen(offset)):
                yield Reader(self.table.Bytes, self.table.Indirect(start + 4 * index))

    def byte(self, slot: int) -> int:
        return self._number(slot, number_types.Uint8Flags) or 0

    def integer(self, slot: int) -> int:
        return self._number(slot, number_types.Int32Flags) or 0

    def number(self, slot: int) -> float:
        return float(self._number(slot, number_types.Float32Flags) or 0.0)

    def bytes(self, slot: int) -> bytes | None:
        values = self._array(slot, number_types.Uint8Flags)
        return None if values is None else values.tobytes()

    def floats(self, slot: int) -> list[float] | None:
        values = self._array(slot, number_types.Float32Flags)
        return None if values is None else values.tolist()

    def integers(self, slot: int) -> list[int] | None:
        values = self._array(slot, number_types.Uint32Flags)
        return None if values is None else values.tolist()

    def _place(self, slot: int) -> int:
        offset = self.table.Offset(4 + 2 * slot)
        return self.table.Pos + offset if offset else 0

    def _number(self, slot: int, flags: Any) -> Any:
        place = self._place(slot)
        return self.table.Get(flags, place) if place else None

    def _array(self, slot: int, flags: Any) -> Any:
        offset = self.table.Offset(4 + 2 * slot)
        return self.table.GetVectorAsNumpy(flags, offset) if offset else None
