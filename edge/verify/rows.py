"""One row of `verify.json`: what a Keras model or an exported file has, and whether it is good enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edge.export.artifact import form_in_name, key
from keras_retina.evaluate.coco import STATISTICS, Metrics
from keras_retina.foundation.json_values import count_of, mapping_of, number, number_of, text_of, unexpected
from keras_retina.recipe.formats import FORMS, KERAS, Form, Format, format_of

FLOAT_MODEL = "float"
LONGEST_NAME = 200  # bytes; file systems end at 255

Status = Literal["verified", "failed", "not run"]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one `invoke`, and from the decoded image to the boxes, with where they were measured."""

    median: float
    p95: float | None
    threads: int | None
    machine: str
    end_to_end_median: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of `verify.json`; a value that was not measured, or that a file of its kind does not have, is None.

    Attributes:
        file: its name, of a smaller Keras model with its place in the run folder.
        kind: a number format, `keras`, or `other` for a file of others.
        model: the smaller model, `float`, or the stem of a file of others.
        ap: in percent, by the names of `STATISTICS`. None where the split has no such object.
        also: a file of others, without a vote in the gate; `read_as` says how it was read.
        zeros: share of the weights of a smaller model's file.
        values_per_channel: different weights of an output channel there, the largest number.
    """

    file: str
    kind: str
    model: str = FLOAT_MODEL
    sha256: str | None = None
    ap: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(STATISTICS))
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    latency: Latency | None = None
    status: Status = "not run"
    reason: str = ""
    nms: str | None = None
    also: bool = False
    read_as: Mapping[str, Any] | None = None
    multiply_adds: int | None = None
    parameters: int | None = None
    zeros: float | None = None
    values_per_channel: int | None = None

    @property
    def format(self) -> Format:
        """The number format, with the label and the colour that all tables and charts use."""
        return format_of(self.kind)

    @property
    def smaller_model(self) -> str | None:
        """The smaller model that the row is of, None for the float model."""
        return None if self.model == FLOAT_MODEL else self.model

    @property
    def form(self) -> Form:
        """How the file ends."""
        return form_in_name(Path(self.file), self.smaller_model)

    @property
    def other_form(self) -> bool:
        """Whether the same network usually has a file with the post-process too, which then stands for it."""
        return self.form != "postprocess"

    @property
    def key(self) -> str:
        """The name in an `expected:` block: `keras`, `int8`, `int8_raw`, `half_int8` .."""
        return key(self.kind, self.smaller_model, form=self.form)

    @property
    def label(self) -> str:
        """Short name for legends and tables, e.g. `int8`, `int8 · raw heads` or `half int8`; of others their file's."""
        if self.also:
            return self.model
        model = f"{self.smaller_model} " if self.smaller_model else ""
        return model + self.format.label + (f" · {FORMS[self.form]}" if self.other_form else "")

    @property
    def results_name(self) -> str:
        """The stem of the file of its detections in `verify/`."""
        if self.kind != KERAS.name:
            return Path(self.file).stem
        return KERAS.name if self.smaller_model is None else f"{KERAS.name}_{self.model}"

    @property
    def is_verified(self) -> bool:
        """Only a row that was measured and is inside its limits counts."""
        return self.status == "verified"

    @property
    def is_measured(self) -> bool:
        """An AP exists, whatever the gate says about it."""
        return self.status != "not run" and self.ap["AP"] is not None

    def with_metrics(self, metrics: Metrics) -> Row:
        """Returns the row with what `coco_metrics` found."""
        ap = {name: metrics[name] for name in STATISTICS}
        return dataclasses.replace(self, ap=ap, per_class=metrics["per_class"])

    def judged(self, reasons: list[str]) -> Row:
        """Returns the row as `verified`, or as `failed` with what is wrong."""
        return dataclasses.replace(self, status="failed" if reasons else "verified", reason="; ".join(reasons))

    def not_run(self, reason: str) -> Row:
        """Returns the row with the reason why nothing was measured."""
        return dataclasses.replace(self, status="not run", reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Returns the row as it stands in `verify.json`; what not every kind of row has, only where it is there."""
        some = {
            "nms": self.nms,
            "also": self.also or None,
            "read_as": None if self.read_as is None else dict(self.read_as),
            "multiply_adds": self.multiply_adds,
            "parameters": self.parameters,
            "zeros": self.zeros,
            "values_per_channel": self.values_per_channel,
        }
        return {
            "file": self.file,
            "kind": self.kind,
            "model": self.model,
            "sha256": self.sha256,
            **self.ap,
            "per_class": dict(self.per_class),
            "size_bytes": self.size_bytes,
            "gzip_bytes": self.gzip_bytes,
            "latency_ms": None if self.latency is None else dataclasses.asdict(self.latency),
            "status": self.status,
            "reason": self.reason,
            **{name: value for name, value in some.items() if value is not None},
        }

    @classmethod
    def from_json(cls, fields: Any, where: str) -> Row:
        """Checks a row that was read; `where` is named in errors.

        AP values that have no meaning (the -1 of pycocotools), and numbers that are not finite, become None.

        Raises:
            InputError: a field has another type, an unknown status or an impossible value.
        """
        if not isinstance(fields, dict):
            raise unexpected(where, "an object", received=fields)
        for name in ("file", "kind", "status"):
            if not isinstance(fields.get(name), str):
                raise unexpected(f"{where}.{name}", "a text", received=fields.get(name))
        if not 0 < len(fields["file"].encode("utf-8", "surrogatepass")) <= LONGEST_NAME:
            raise unexpected(f"{where}.file", f"a file name of at most {LONGEST_NAME} bytes", received=fields["file"])
        if fields["status"] not in get_args(Status):
            raise unexpected(f"{where}.status", f"one of {', '.join(get_args(Status))}", received=fields["status"])
        per_class = mapping_of(fields, "per_class", where=where)
        return cls(
            file=fields["file"],
            kind=fields["kind"],
            model=text_of(fields, "model", where=where) or FLOAT_MODEL,
            sha256=text_of(fields, "sha256", where=where) or None,
            ap={name: _ap(fields, name, where=where) for name in STATISTICS},
            per_class={name: _ap(per_class, name, where=f"{where}.per_class") for name in per_class},
            size_bytes=count_of(fields, "size_bytes", where=where),
            gzip_bytes=count_of(fields, "gzip_bytes", where=where),
            latency=_latency(mapping_of(fields, "latency_ms", where=where), f"{where}.latency_ms"),
            status=fields["status"],
            reason=text_of(fields, "reason", where=where),
            nms=text_of(fields, "nms", where=where) or None,
            also=fields.get("also") is True,
            read_as=None if fields.get("read_as") is None else mapping_of(fields, "read_as", where=where),
            multiply_adds=count_of(fields, "multiply_adds", where=where),
            parameters=count_of(fields, "parameters", where=where),
            zeros=number_of(fields, "zeros", where=where),
            values_per_channel=count_of(fields, "values_per_channel", where=where),
        )


def ap_value(value: Any) -> float | None:
    """Returns an AP in percent; None for the -1 with which pycocotools says that nothing was labelled."""
    found = number(value)
    return None if found is None or found < 0 else found


def _ap(fields: dict[str, Any], name: str, *, where: str) -> float | None:
    value = ap_value(number_of(fields, name, where=where))
    if value is not None and value > 100:
        raise unexpected(f"{where}.{name}", "an AP in percent, at most 100", received=value)
    return value


def _latency(fields: dict[str, Any], where: str) -> Latency | None:
    median, p95 = number_of(fields, "median", where=where), number_of(fields, "p95", where=where)
    threads, end_to_end = count_of(fields, "threads", where=where), number_of(fields, "end_to_end_median", where=where)
    machine = text_of(fields, "machine", where=where) or "machine not recorded"
    return None if median is None else Latency(median, p95, threads, machine, end_to_end)
