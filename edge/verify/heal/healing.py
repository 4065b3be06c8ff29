"""What was tried on an int8 file that missed its gate, as values: one row for each try, and the whole of one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edge.verify.rows import FLOAT_MODEL, Row, ap_value
from keras_retina.foundation.json_values import count_of, mapping_of, number_of, read_mapping, text_of, unexpected
from keras_retina.recipe.formats import FormatName

AP_NAMES = ("AP", "AP50", "AP75")

Outcome = Literal["kept", "healed", "not healed", "not judged"]
"""`kept`: the file passed as it was. `not judged`: nothing was tried, and the reason says why."""

TryStatus = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Try:
    """One row: a file that was tried in the place of the int8 file, measured on the validation split.

    Attributes:
        step: `plain` is the file as it was exported.
        changed: what is different from that file, in words.
        seconds: it took to make and to measure the file.
        head_error: of its heads on training images, a share of how much they vary (`head_error`).
        ap: AP, AP50 and AP75 in percent.
        ratio: AP as a share of that of the float model.
        latency: milliseconds of one invoke, the median.
        reason: which limits it misses, or why it was not run.
        kind: `int8_qat` where it was trained.
    """

    step: str
    changed: str
    status: TryStatus
    seconds: float
    reason: str = ""
    head_error: float | None = None
    ap: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(AP_NAMES))
    ratio: float | None = None
    size_bytes: int | None = None
    latency: float | None = None
    kind: FormatName = "int8"
    float_layers: tuple[str, ...] = ()

    @classmethod
    def of_row(cls, step: str, changed: str, *, row: Row, parent: Row, seconds: float, head_error: float | None) -> Try:
        """Returns the row of a measured file."""
        status: TryStatus = "not run" if row.status == "not run" else "passed" if row.is_verified else "failed"
        parent_ap = parent.ap["AP"]
        return cls(
            step,
            changed,
            status,
            round(seconds, 1),
            row.reason,
            head_error,
            {name: row.ap[name] for name in AP_NAMES},
            None if row.ap["AP"] is None or not parent_ap else round(row.ap["AP"] / parent_ap, 4),
            row.size_bytes,
            row.latency.median if row.latency else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns one object of `tries`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Any, where: str) -> Try:
        """Checks a row that was read; `where` is named in errors."""
        if not isinstance(fields, dict):
            raise unexpected(where, "an object", received=fields)
        status: Any = fields.get("status")
        if status not in get_args(TryStatus):
            raise unexpected(f"{where}.status", f"one of {', '.join(get_args(TryStatus))}", received=status)
        found = mapping_of(fields, "ap", where=where)
        return cls(
            text_of(fields, "step", where=where),
            text_of(fields, "changed", where=where),
            status,
            number_of(fields, "seconds", where=where) or 0.0,
            text_of(fields, "reason", where=where),
            number_of(fields, "head_error", where=where),
            {name: ap_value(number_of(found, name, where=f"{where}.ap")) for name in AP_NAMES},
            number_of(fields, "ratio", where=where),
            count_of(fields, "size_bytes", where=where),
            number_of(fields, "latency", where=where),
            "int8_qat" if text_of(fields, "kind", where=where) == "int8_qat" else "int8",
            _texts(fields, "float_layers", where=where),
        )


@dataclass(frozen=True)
class Healing:
    """Everything that was tried on the int8 file of one model.

    Attributes:
        model: the smaller model, `float` for the model of the run.
        split, images, boxes: what the files were judged on.
        float_ap: AP of the float model there, in percent.
        least_ratio: share of it that a file must keep.
        spread: 5 % and 95 % of the ratio of the plain file when the images are drawn anew; None where it passed.
        tries: in the order in which they were made.
        finished: the steps that are over; a repeated call goes on behind them.
        chosen: place in `tries` of the file that is exported now.
        judged: SHA-256 of the plain file, or of the file that stands in its place now.
    """

    model: str = FLOAT_MODEL
    outcome: Outcome = "not judged"
    reason: str = ""
    split: str = ""
    images: int = 0
    boxes: int = 0
    float_ap: float | None = None
    least_ratio: float | None = None
    spread: tuple[float, float] | None = None
    tries: tuple[Try, ...] = ()
    finished: tuple[str, ...] = ()
    chosen: int | None = None
    judged: tuple[str, ...] = ()

    @property
    def best(self) -> int | None:
        """The place of the try that keeps most AP; of equals the first."""
        measured = [place for place, one in enumerate(self.tries) if one.ratio is not None]
        return max(measured, key=lambda place: (self.tries[place].ratio or 0.0, -place), default=None)

    @property
    def line(self) -> str:
        """One line for the terminal."""
        return f"heal {self.model}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """What came of it, for a person."""
        if self.outcome == "not judged" or self.chosen is None or self.float_ap is None:
            return f"not judged: {self.reason}"
        one = self.tries[self.chosen]
        found = f"AP {one.ap['AP'] or 0.0:.2f} of {self.float_ap:.2f} on {self.split}, {one.ratio or 0.0:.3f} x"
        after = {"kept": "int8 holds", "healed": f"int8 holds with {one.changed}", "not healed": "int8 misses the gate"}
        best = f"; the best file of {len(self.tries)} tries is the one with {one.changed}: {one.reason}"
        return f"{after[self.outcome]}: {found}{best if self.outcome == 'not healed' else ''}"

    def to_json(self) -> dict[str, Any]:
        """Returns what `healing.json` holds, and one object of `healing` in verify.json."""
        return dataclasses.asdict(self) | {"tries": [one.to_json() for one in self.tries]}

    @classmethod
    def from_json(cls, fields: Any, where: str) -> Healing:
        """Checks what was read; `where` is named in errors.

        Raises:
            InputError: a field has another type, or an unknown outcome.
        """
        if not isinstance(fields, dict):
            raise unexpected(where, "an object", received=fields)
        outcome: Any = fields.get("outcome")
        tries, spread = fields.get("tries"), fields.get("spread")
        if outcome not in get_args(Outcome):
            raise unexpected(f"{where}.outcome", f"one of {', '.join(get_args(Outcome))}", received=outcome)
        if not isinstance(tries, list):
            raise unexpected(f"{where}.tries", "a list", received=tries)
        if spread is not None and not (isinstance(spread, list) and [type(side) for side in spread] == [float, float]):
            raise unexpected(f"{where}.spread", "two numbers", received=spread)
        rows = tuple(Try.from_json(one, f"{where}.tries[{place}]") for place, one in enumerate(tries))
        chosen = count_of(fields, "chosen", where=where)
        if chosen is not None and chosen >= len(rows):
            raise unexpected(f"{where}.chosen", f"a place in {len(rows)} tries", received=chosen)
        return cls(
            model=text_of(fields, "model", where=where) or FLOAT_MODEL,
            outcome=outcome,
            reason=text_of(fields, "reason", where=where),
            split=text_of(fields, "split", where=where),
            images=count_of(fields, "images", where=where) or 0,
            boxes=count_of(fields, "boxes", where=where) or 0,
            float_ap=number_of(fields, "float_ap", where=where),
            least_ratio=number_of(fields, "least_ratio", where=where),
            spread=None if spread is None else (spread[0], spread[1]),
            tries=rows,
            finished=_texts(fields, "finished", where=where),
            chosen=chosen,
            judged=_texts(fields, "judged", where=where),
        )


def read_healing(path: Path) -> Healing | None:
    """Returns what a `healing.json` holds, or None when it does not exist.

    Raises:
        InputError: it is damaged.
    """
    fields = read_mapping(path)
    return None if fields is None else Healing.from_json(fields, str(path))


def _texts(fields: dict[str, Any], name: str, *, where: str) -> tuple[str, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise unexpected(f"{where}.{name}", "a list of texts", received=values)
    return tuple(values)
