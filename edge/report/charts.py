"""Charts of the report as inline SVG: no scripts, text is escaped, colours are CSS variables so that dark mode works.

All charts are drawn in a small view box with text of 11 units, so that they stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from edge.report.labels import CHARACTER_WIDTH, MARKER, place_names

LEFT, RIGHT, TOP, BOTTOM = 40, 12, 42, 34
NAME_LENGTH = 44  # characters of the names of points on one spot; the tooltips have all of them


@dataclass(frozen=True)
class Series:
    """One line; `points` are (x, y), `mark` a point to emphasise, `dots` draws every point."""

    name: str
    slot: int
    points: Sequence[tuple[float, float]]
    dots: bool = False
    dashed: bool = False
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Point:
    """One artefact in a scatter chart; `hollow` marks a file that did not pass."""

    label: str
    slot: int
    x: float
    y: float
    hollow: bool = False


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about `count` round numbers (1, 2, 2.5 or 5 times a power of ten) inside `[low, high]`, ends included."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def padded_range(values: Sequence[float], from_zero: bool = False, *, share: float = 0.08) -> tuple[float, float]:
    """Returns an axis range with room around the values; never empty, and not below zero for values that are not."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * 0.1 or 1.0
    bottom = 0.0 if from_zero and low >= 0 else low - room
    return (max(0.0, bottom) if low >= 0 else bottom), high + room


def line_chart(
    name: str,
    title: str,
    *,
    description: str,
    series: Sequence[Series],
    x_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    size: tuple[int, int] = (360, 230),
    whole_x: bool = False,
    legend: bool = True,
    y_label: str = "",
) -> Markup:
    """Draws lines with a legend under the title.

    Args:
        name: unique id of the chart in the page, letters and digits.
        description: what a reader who cannot see the chart is told.
        whole_x: the x values are counts, so ticks fall on whole numbers.
        legend: the names are drawn; else the page names them.
    """
    axes = _Axes(size, x_range, y_range=y_range)
    parts = [axes.grid(x_label, whole_x, y_label=y_label), _legend(series, size[0]) if legend else ""]
    for line in series:
        finite = [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
        points = [axes.place(x, y) for x, y in finite]
        style = f"--c:var(--k{int(line.slot)})"
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dash = ' stroke-dasharray="5 3"' if line.dashed else ""
            parts.append(f'<polyline class="line" style="{style}"{dash} points="{path}"/>')
        if line.dots or len(points) == 1:
            for place, value in zip(points, finite, strict=True):
                parts.append(_circle("dot", line, place=place, value=value, radius=2.6, x_label=x_label))
        if line.mark is not None:
            parts.append(
                _circle("mark", line, place=axes.place(*line.mark), value=line.mark, radius=4.2, x_label=x_label)
            )
    return _svg(name, title, description=description, size=size, parts=parts)


def scatter_chart(
    name: str,
    title: str,
    *,
    description: str,
    points: Sequence[Point],
    x_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    size: tuple[int, int] = (400, 260),
    y_label: str = "",
) -> Markup:
    """Draws labelled points; points on the same spot share one label."""
    axes = _Axes(size, x_range, y_range=y_range)
    parts = [axes.grid(x_label, False, y_label=y_label), *_names(points, axes)]
    for point in points:
        x, y = axes.place(point.x, point.y)
        kind = "dot hollow" if point.hollow else "dot"
        tip = escape(f"{point.label}: {point.y:.1f} at {point.x:.3g} {x_label}")
        parts.append(
            f'<circle class="{kind}" style="--c:var(--k{int(point.slot)})" cx="{x:.1f}" cy="{y:.1f}" r="{MARKER:g}">'
            f"<title>{tip}</title></circle>"
        )
    return _svg(name, title, description=description, size=size, parts=parts)


class _Axes:
    """The linear map from values to the view box, and the grid that goes with it."""

    def __init__(self, size: tuple[int, int], x_range: tuple[float, float], *, y_range: tuple[float, float]) -> None:
        self.width, self.height = size
        self.x_range, self.y_range = x_range, y_range

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns the position of a value pair in the view box."""
        across = (x - self.x_range[0]) / ((self.x_range[1] - self.x_range[0]) or 1.0)
        up = (y - self.y_range[0]) / ((self.y_range[1] - self.y_range[0]) or 1.0)
        return (
            LEFT + across * (self.width - LEFT - RIGHT),
            self.height - BOTTOM - up * (self.height - TOP - BOTTOM),
        )

    def grid(self, x_label: str, whole_x: bool, *, y_label: str) -> str:
        """Draws horizontal lines, the numbers and the names of both axes."""
        parts = [f'<text class="label" x="0" y="28">{escape(y_label)}</text>'] if y_label else []
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        y_ticks = nice_ticks(*self.y_range, 4)
        for tick, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
            y = self.place(0.0, tick)[1]
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{text}</text>')
        x_ticks = [tick for tick in nice_ticks(*self.x_range, 5) if not whole_x or tick == round(tick)]
        for tick, text in zip(x_ticks, tick_texts(x_ticks), strict=True):
            x = self.place(tick, 0.0)[0]
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 15}">{text}</text>')
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle = (LEFT + right) / 2
        parts.append(
            f'<text class="label" text-anchor="middle" x="{middle:.1f}" y="{self.height - 4}">{escape(x_label)}</text>'
        )
        return "".join(parts)


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Writes ticks with the same number of decimals, or as powers of ten when they are very small."""
    largest = max((abs(tick) for tick in ticks), default=0.0)
    if 0 < largest < 0.01:
        return ["0" if tick == 0 else f"{tick:.1e}".replace(".0e", "e").replace("e-0", "e-") for tick in ticks]
    decimals = max((len(f"{tick:.6f}".rstrip("0").split(".")[1]) for tick in ticks), default=0)
    return [f"{tick:.{decimals}f}" for tick in ticks]


def shortened(text: str, limit: int) -> str:
    """Cuts a text that would leave the chart; the tooltip has all of it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _circle(
    css: str, line: Series, *, place: tuple[float, float], value: tuple[float, float], radius: float, x_label: str
) -> str:
    tip = escape(f"{line.name}: {value[1]:.4g} at {x_label} {value[0]:.4g}")
    return (
        f'<circle class="{css}" style="--c:var(--k{int(line.slot)})" cx="{place[0]:.1f}" cy="{place[1]:.1f}"'
        f' r="{radius}"><title>{tip}</title></circle>'
    )


def _legend(series: Sequence[Series], width: int) -> str:
    if len(series) < 2:
        return ""
    parts, x = [], float(width - RIGHT)
    for line in reversed(series):
        x -= min(len(line.name), 24) * CHARACTER_WIDTH
        parts.append(f'<text class="name" x="{x:.1f}" y="13">{escape(shortened(line.name, 24))}</text>')
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        style = f"--c:var(--k{int(line.slot)})"
        parts.append(f'<line class="line" style="{style}"{dash} x1="{x - 18:.1f}" x2="{x - 4:.1f}" y1="9" y2="9"/>')
        x -= 28
    return "".join(parts)


def _names(points: Sequence[Point], axes: _Axes) -> list[str]:
    """Draws the names of points beside them; where the chart is full a name is left to the tooltip and the table."""
    groups = _joined_labels(points, axes)
    texts = [shortened(", ".join(names), NAME_LENGTH) for names, _, _ in groups]
    inside = (LEFT + 2, TOP - 18, axes.width, axes.height - BOTTOM - 2)
    markers = [axes.place(point.x, point.y) for point in points]
    parts = []
    for text, place in zip(
        texts, place_names([(x, y) for _, x, y in groups], texts, markers=markers, inside=inside), strict=True
    ):
        if place is None:
            continue
        left, top, right, _ = place.box
        if place.line:
            x1, y1, x2, y2 = place.line
            parts.append(f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        x = {"start": left, "middle": (left + right) / 2, "end": right}[place.anchor]
        parts.append(
            f'<text class="name" text-anchor="{place.anchor}" x="{x:.1f}" y="{top + 10:.1f}">{escape(text)}</text>'
        )
    return parts


def _joined_labels(points: Sequence[Point], axes: _Axes) -> list[tuple[list[str], float, float]]:
    """Groups points closer than a marker, in the order given."""
    groups: list[tuple[list[str], float, float]] = []
    for point in points:
        x, y = axes.place(point.x, point.y)
        near = next((group for group in groups if abs(group[1] - x) < 6 and abs(group[2] - y) < 6), None)
        if near is None:
            groups.append(([point.label], x, y))
        else:
            near[0].append(point.label)
    return groups


def _svg(name: str, title: str, *, description: str, size: tuple[int, int], parts: Sequence[str]) -> Markup:
    width, height = size
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{escape(name)}-t '
        f'{escape(name)}-d"><title id="{escape(name)}-t">{escape(title)}</title>'
        f'<desc id="{escape(name)}-d">{escape(description)}</desc>'
        f'<text class="title" x="0" y="13">{escape(shortened(title, 40))}</text>{"".join(parts)}</svg>'
    )
