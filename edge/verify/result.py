"""`verify.json` as a whole: the data, the gate, the comparison of the raw heads, and a row for each file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.verify.heal.healing import Healing
from edge.verify.rows import Row
from keras_retina.foundation.json_values import count_of, mapping_of, number_of, read_mapping, text_of, unexpected


@dataclass(frozen=True)
class Split:
    """The images that everything was measured on; `sha256` is of their labels and bytes. Empty where not recorded."""

    name: str = ""
    split: str = ""
    images: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Gate:
    """What every row must reach, as a sentence, and whether all do."""

    rule: str
    passed: bool


@dataclass(frozen=True)
class Parity:
    """The raw heads of the float32 file against Keras: the largest scaled difference of each, None where unknown."""

    rule: str
    file: str
    images: int = 0
    classes: float | None = None
    boxes: float | None = None
    passed: bool = True
    reason: str = ""


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found. `parity` is None in a file that does not have it.

    `healing` is what was tried on the validation split when an int8 file missed its gate there.
    """

    dataset: Split
    gate: Gate
    parity: Parity | None
    rows: tuple[Row, ...]
    healing: tuple[Healing, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns what `verify.json` holds."""
        return {
            "dataset": dataclasses.asdict(self.dataset),
            "gate": dataclasses.asdict(self.gate),
            **({} if self.parity is None else {"parity": dataclasses.asdict(self.parity)}),
            "rows": [row.to_json() for row in self.rows],
            **({"healing": [one.to_json() for one in self.healing]} if self.healing else {}),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any], where: str) -> VerifyResult:
        """Checks a result that was read; `where` is named in errors. Only a gate that says so has passed.

        Raises:
            InputError: a field has another type, an unknown status or an impossible value.
        """
        rows = fields.get("rows")
        if not isinstance(rows, list):
            raise unexpected(where, "a list of rows in the field `rows`", received=rows)
        healing = fields.get("healing", [])
        if not isinstance(healing, list):
            raise unexpected(f"{where}.healing", "a list", received=healing)
        data, gate = mapping_of(fields, "dataset", where=where), mapping_of(fields, "gate", where=where)
        return cls(
            Split(
                text_of(data, "name", where=f"{where}.dataset"),
                text_of(data, "split", where=f"{where}.dataset"),
                count_of(data, "images", where=f"{where}.dataset"),
                text_of(data, "sha256", where=f"{where}.dataset"),
            ),
            Gate(text_of(gate, "rule", where=f"{where}.gate"), gate.get("passed") is True),
            _parity(mapping_of(fields, "parity", where=where), f"{where}.parity"),
            tuple(Row.from_json(row, f"{where} rows[{index}]") for index, row in enumerate(rows)),
            tuple(Healing.from_json(one, f"{where} healing[{index}]") for index, one in enumerate(healing)),
        )


def read_result(path: Path) -> VerifyResult | None:
    """Returns what a `verify.json` holds, or None when it does not exist.

    Raises:
        InputError: it is damaged.
    """
    fields = read_mapping(path)
    return None if fields is None else VerifyResult.from_json(fields, str(path))


def _parity(fields: dict[str, Any], where: str) -> Parity | None:
    if not fields:
        return None
    return Parity(
        text_of(fields, "rule", where=where),
        text_of(fields, "file", where=where),
        count_of(fields, "images", where=where) or 0,
        number_of(fields, "classes", where=where),
        number_of(fields, "boxes", where=where),
        fields.get("passed") is True,
        text_of(fields, "reason", where=where),
    )
