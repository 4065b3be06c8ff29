"""How numbers look in the report: as many digits as mean something, a real minus sign, `–` for what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date
from importlib import metadata
from typing import Any

from markupsafe import Markup, escape

from keras_retina.foundation.machine import package_version

PACKAGES = ("tensorflow", "tf_keras", "ai-edge-litert", "numpy", "pycocotools", "Pillow")
UNKNOWN = "–"


_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(value: Any) -> Any:
    """Returns what a template prints with control characters escaped: a name that turns the direction of writing would
    look like another one. Ready-made markup stays markup.
    """
    if not isinstance(value, str):
        return value
    return type(value)(_CONTROLS.sub(lambda found: repr(found[0])[1:-1], str(value)))


def plain(value: Any, default: str = "") -> str:
    """Returns a scalar as text; anything nested, which YAML aliases can make endless, as `default`."""
    return str(value) if isinstance(value, (str, int, float, date)) else default


def ap(value: float | None) -> str:
    """One decimal: the noise of an AP on a hundred images is larger than that."""
    return UNKNOWN if value is None else f"{value:.1f}"


def signed(value: float | None) -> str:
    """A difference of AP with its sign; what rounds to zero has none."""
    if value is None:
        return UNKNOWN
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def ratio(value: float | None) -> str:
    """A share in percent with one decimal, rounded down: 98.96 % must not look like the 99 % that a gate asks for."""
    return UNKNOWN if value is None else f"{math.floor(1000.0 * value + 1e-6) / 10:.1f} %"


def megabytes(value: int | None) -> str:
    """Bytes as MB (10^6), or kB under a tenth of one."""
    if value is None:
        return UNKNOWN
    return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def millions(value: int | None) -> str:
    """Multiply-adds in millions, three significant digits."""
    return UNKNOWN if value is None else f"{value / 1e6:.3g} M" if value < 1e9 else f"{value / 1e6:.0f} M"


def milliseconds(value: float | None) -> str:
    """Three significant digits up to 100 ms."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def code(text: str) -> Markup:
    """Sets `commands` between backticks in the code font; everything is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def breakable(name: str) -> Markup:
    """Lets a long file name break after `_` and before the suffix; everything is escaped."""
    return Markup(str(escape(name)).replace("_", "_<wbr>").replace(".tflite", "<wbr>.tflite"))


def duration(seconds: float) -> tuple[str, str]:
    """Returns value and unit: seconds under two minutes, minutes under two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f}", "s"
    return (f"{seconds / 60:.0f}", "min") if seconds < 7200 else (f"{seconds / 3600:.1f}", "h")


def short(value: float) -> str:
    """The shortest way to write a setting."""
    return f"{value:g}"


def diff_class(value: float, maximum_drop: float) -> str:
    """The style of a difference from float: `drop` beyond the limit, `loss` and `gain` from half a point on."""
    if value < -maximum_drop:
        return "drop"
    return "loss" if value <= -0.5 else "gain" if value >= 0.5 else ""


def package_versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the numbers, as installed here."""
    versions = {"keras-retina": package_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


FILTERS: dict[str, Callable[..., str]] = {
    "ap": ap,
    "breakable": breakable,
    "code": code,
    "signed": signed,
    "ratio": ratio,
    "megabytes": megabytes,
    "millions": millions,
    "milliseconds": milliseconds,
    "short": short,
    "diff_class": diff_class,
}
