"""The rows of verify.json, checked: one exported file each, with its AP, size, latency and verdict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from edge.report.charts import kind_slot
from keras_retina.foundation.errors import InputError


def number(value: Any) -> float | None:
    """Returns a finite float, or None for anything that is not one."""
    return float(value) if is_number(value) and math.isfinite(value) else None


def ap_value(value: Any) -> float | None:
    """Returns an AP in percent; None for the -1 with which pycocotools says that nothing was labelled."""
    found = number(value)
    return None if found is None or found < 0 else found


def read_text(path: Path) -> str | None:
    """Returns the text of a file, or None when it does not exist."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text. Received: {error}. Restore the file.") from error


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file, or None when it does not exist."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected complete JSON. Received: {error}. Run `keras-retina verify` or `export` again."
        ) from error


def read_mapping(path: Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file, or None when it does not exist."""
    value = read_json(path)
    if value is not None and not isinstance(value, dict):
        raise unexpected(path, "a JSON object", value)
    return value


def plain(value: Any, default: str = "") -> str:
    """Returns a scalar as text; anything nested, which YAML aliases can make endless, as `default`."""
    return str(value) if isinstance(value, (str, int, float, date)) else default


def is_number(value: Any) -> bool:
    """Tells a float, or an integer that a float can hold, from anything else; True and False are no numbers."""
    return isinstance(value, float) or is_id(value)


def is_id(value: Any) -> bool:
    """Tells an integer of at most 64 bits from anything else."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_box(value: Any) -> bool:
    """Tells a list of four numbers from anything else."""
    return isinstance(value, list) and len(value) == 4 and all(is_number(side) for side in value)


def unexpected(where: Path | str, expected: str, received: Any) -> InputError:
    """Returns the error for a field of a run folder that has another type than its writer gives it."""
    shown = repr(received)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return InputError(f"{where}: expected {expected}. Received: {shown}. Run the command that wrote the file again.")


AP_KEYS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
STATUSES = ("verified", "failed", "not run")
KIND_NAMES = {
    "keras": "Keras",
    "float32": "float32",
    "float16": "float16",
    "dynamic": "dynamic range",
    "int8": "int8",
    "int16": "int16",
    "int8_qat": "int8 QAT",
    "edgetpu": "Edge TPU",
}


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one `invoke`, and where they were measured."""

    median: float
    p95: float | None
    threads: int | None
    machine: str


@dataclass(frozen=True)
class Row:
    """One line of verify.json; a value that was not measured, or has no meaning (-1 of pycocotools), is None."""

    file: str
    kind: str
    raw: bool
    status: str
    reason: str
    sha256: str
    ap: dict[str, float | None]
    per_class: dict[str, float | None]
    size_bytes: int | None
    gzip_bytes: int | None
    latency: Latency | None
    model: str = "float"
    multiply_adds: int | None = None
    also: bool = False
    builtin: bool = False

    @property
    def label(self) -> str:
        """Short name for legends and tables, e.g. `int8`, `int8 · raw heads` or `half int8`; of others their file's."""
        if self.also:
            return self.model
        model = "" if self.model == "float" else f"{self.model} "
        form = " · raw heads" if self.raw else " · builtin operators" if self.builtin else ""
        return model + KIND_NAMES.get(self.kind, self.kind) + form

    @property
    def other_form(self) -> bool:
        """Whether the same network usually has a file with the post-process too, which then stands for it."""
        return self.raw or self.builtin

    @property
    def slot(self) -> int:
        """The colour slot that the file has in every table and chart."""
        return kind_slot(self.kind)

    @property
    def verified(self) -> bool:
        """Only a row that was measured and is inside its limits counts."""
        return self.status == "verified"

    @property
    def measured(self) -> bool:
        """An AP exists, whatever the gate says about it."""
        return self.status != "not run" and self.ap["AP"] is not None


def verify_rows(verify: dict[str, Any], path: Path) -> tuple[Row, ...]:
    """Returns the rows in the order of the file.

    Raises:
        InputError: a field has another type, an unknown status or an impossible value.
    """
    rows = verify.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise unexpected(path, "a list of rows in the field `rows`", rows)
    return tuple(_row(row, f"{path} rows[{index}]") for index, row in enumerate(rows))


def _row(fields: dict[str, Any], where: str) -> Row:
    for key in ("file", "kind", "status"):
        if not isinstance(fields.get(key), str):
            raise unexpected(f"{where}.{key}", "a text", fields.get(key))
    if not 0 < len(fields["file"].encode("utf-8", "surrogatepass")) <= 200:
        raise unexpected(f"{where}.file", "a file name of at most 200 bytes", fields["file"])
    if fields["status"] not in STATUSES:
        raise unexpected(f"{where}.status", f"one of {', '.join(STATUSES)}", fields["status"])
    numeric = {key: fields.get(key) for key in (*AP_KEYS, "size_bytes", "gzip_bytes", "multiply_adds")}
    per_class = fields.get("per_class") or {}
    latency = fields.get("latency_ms") or {}
    for name, group in (("per_class", per_class), ("latency_ms", latency)):
        if not isinstance(group, dict):
            raise unexpected(f"{where}.{name}", "an object", group)
    numeric |= {f"per_class[{name!r}]": value for name, value in per_class.items()}
    numeric |= {f"latency_ms.{name}": latency.get(name) for name in ("median", "p95", "threads")}
    for key, value in numeric.items():
        if value is not None and not is_number(value):
            raise unexpected(f"{where}.{key}", "a number or null", value)
        if key.startswith(("AP", "per_class")) and value is not None and value > 100:
            raise unexpected(f"{where}.{key}", "an AP in percent, at most 100", value)
    size, gzip, work = (number(numeric[key]) for key in ("size_bytes", "gzip_bytes", "multiply_adds"))
    median, threads = number(latency.get("median")), number(latency.get("threads"))
    machine = str(latency.get("machine") or "machine not recorded")
    return Row(
        file=fields["file"],
        kind=fields["kind"].removesuffix("_raw"),
        builtin=Path(fields["file"]).stem.endswith("_builtin"),
        raw=fields["kind"].endswith("_raw") or Path(fields["file"]).stem.endswith("_raw"),
        status=fields["status"],
        reason=str(fields.get("reason") or ""),
        sha256=str(fields.get("sha256") or ""),
        ap={key: ap_value(fields.get(key)) for key in AP_KEYS},
        per_class={name: ap_value(value) for name, value in per_class.items()},
        size_bytes=None if size is None else int(size),
        gzip_bytes=None if gzip is None else int(gzip),
        model=str(fields.get("model") or "float"),
        multiply_adds=None if work is None else int(work),
        also=fields.get("also") is True,
        latency=None
        if median is None
        else Latency(median, number(latency.get("p95")), None if threads is None else int(threads), machine),
    )
