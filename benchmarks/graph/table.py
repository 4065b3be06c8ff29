"""The results of `choice.py` as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
MEGA = 1e6


def measure_table(rows: Sequence[Row]) -> str:
    """Returns one line a variant; AP is the mean over seeds, everything else that of the first seed."""
    lines = [
        "| graph | int8 AP / AP50 | float32 AP / AP50 | XNNPACK float32: operators, partitions | int8 | "
        "Edge TPU: mapped, subgraphs | multiply-adds | int8 size |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        by_kind = {kind: [row for row in mine if row["kind"] == kind] for kind in ("int8", "float32")}
        first = {kind: min(found, key=lambda row: row["seed"]) for kind, found in by_kind.items()}
        edgetpu = first["int8"]["edgetpu"]
        cells = [
            variant,
            precision(by_kind["int8"]),
            precision(by_kind["float32"]),
            delegated(first["float32"]),
            delegated(first["int8"]),
            f"{edgetpu['mapped']} of {edgetpu['operators']}, {edgetpu['subgraphs']} ({edgetpu['verdict']})",
            f"{first['int8']['multiply_adds'] / MEGA:.0f} M",
            f"{first['int8']['size_bytes'] / MEGA:.2f} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def precision(rows: Sequence[Row]) -> str:
    """Returns `48.1 / 85.2`, with the AP of each seed behind it when there are several."""
    means = " / ".join(f"{statistics.mean(row[name] for row in rows):.1f}" for name in ("AP", "AP50"))
    each = ", ".join(f"{row['AP']:.1f}" for row in rows)
    return f"{means} ({each})" if len(rows) > 1 else means


def delegated(row: Row) -> str:
    """Returns `98 of 98, 1`."""
    left = ", ".join(f"{count} {name}" for name, count in row["left"].items())
    return f"{row['delegated']} of {row['operators']}, {row['partitions']}" + (f" (left: {left})" if left else "")


def latency_table(latency: dict[str, Any]) -> str:
    """Returns one line a variant: median milliseconds and the share of the first variant's time with its interval."""
    columns = [(kind, threads) for kind in ("float32", "int8") for threads in (1, 2)]
    heads = [f"{kind}, {threads} thread{'s' if threads > 1 else ''}" for kind, threads in columns]
    lines = [
        f"{latency['machine']}, {latency['date']}, {latency['rounds']} rounds in turns, median ms; share of the first",
        "",
        f"| graph | {' | '.join(heads)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    rows = {(row["variant"], row["kind"], row["threads"]): row for row in latency["rows"]}
    variants = list(dict.fromkeys(variant for variant, _, _ in rows))
    for variant in variants:
        mine = [rows[variant, kind, threads] for kind, threads in columns]
        cells = [_time(row, is_first=variant == variants[0]) for row in mine]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _time(row: Row, is_first: bool) -> str:
    share = "" if is_first else f"; {row['share']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['median_ms']:.2f}{share}"
